/** The examples run as documented and say what they promise. @module */
import { assert, assertEquals, assertLess } from "@std/assert";

Deno.test("examples/new_adapter.ts learns, and its adapter obeys the laws", async () => {
  const path = new URL("../examples/new_adapter.ts", import.meta.url);
  const source = await Deno.readTextFile(path);
  assert(source.trimEnd().split("\n").length < 40, "the example is no longer under 40 lines.");
  assertEquals(/ as (?!const)/.test(source), false, "the example casts.");
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", path.pathname],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  });
  const { code, stdout, stderr } = await command.output();
  const text = new TextDecoder().decode(stdout);
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const losses = [...text.matchAll(/loss (\S+)/g)].map((m) => Number(m[1]));
  assert(losses.length >= 4, `losses are missing in:\n${text}`);
  losses.slice(1).forEach((loss, i) => assertLess(loss, losses[i]!));
  assertLess(losses.at(-1)!, 1e-3 * losses[0]!);
  for (const law of ["identity", "merge law"]) {
    const found = new RegExp(`^${law} (\\S+)$`, "m").exec(text);
    assert(found, `${law} is missing in:\n${text}`);
    assertLess(Number(found[1]), 1e-20);
  }
});
