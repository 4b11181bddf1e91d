/** `generate.ts` from the outside: texts, streaming, stops, seeds, files, exit codes. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { OptionError } from "../train/errors.ts";
import { GENERATE_FLAGS, generateHelp, parseGenerateFlags } from "../train/generate_options.ts";
import type { Generated } from "../train/generate_texts.ts";
import { cutAtStop, settledLength } from "../train/stop_texts.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
const QUESTION = "Tom has 38 balls. Finn has 19 fewer balls than Tom. How many balls do they have in all?";

function command(...args: string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "--allow-read",
      "--allow-env",
      `${root}generate.ts`,
      "--device",
      "cpu",
      ...args,
    ],
    stdout: "piped",
    stderr: "piped",
  });
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await command(...args).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

async function answers(...args: string[]): Promise<Generated[]> {
  const { code, out, err } = await run("--json", ...args);
  assertEquals(code, 0, err);
  return out.trim().split("\n").map((line) => JSON.parse(line) as Generated);
}

Deno.test("generate: a prompt's greedy text is the same streamed, as JSON and in a batch; stops cut it", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const file = `${dir}/prompts.jsonl`;
    const rows = [{ question: QUESTION }, { prompt: `${QUESTION}\n`, completion: "passed over" }, {
      messages: [{ role: "user", content: "2+2" }, { role: "assistant", content: "passed over" }],
    }];
    Deno.writeTextFileSync(file, rows.map((row) => JSON.stringify(row)).join("\n"));
    const [streamed, [one], [stopped], many] = await Promise.all([
      run("--prompt", `${QUESTION}\n`, "--max-new", "40"),
      answers("--prompt", `${QUESTION}\n`, "--max-new", "40"),
      answers("--prompt", `${QUESTION}\n`, "--max-new", "40", "--stop", "no such text", "--stop", "\n"),
      answers("--prompts", file, "--max-new", "40", "--batch", "2"),
    ]);
    assertEquals([streamed.code, streamed.out], [0, `${one!.text}\n`], streamed.err);
    assert(one!.text.includes("\n") && one!.tokens <= 40);
    assertEquals([stopped!.text, stopped!.finish], [one!.text.split("\n")[0], "stop"]);
    assertEquals(many.map((a) => a.index), [0, 1, 2]);
    assertEquals(many.slice(0, 2).map((a) => a.text), [one!.text, one!.text]);
    assertStringIncludes(many[2]!.prompt, "2+2");
    assert(!many[2]!.prompt.includes("passed over"));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("generate: a seed gives the same samples again, another seed others", async () => {
  const asked = ["--prompt", `${QUESTION}\n`, "--temperature", "1", "--max-new", "24", "--samples", "3"];
  const texts = async (...args: string[]) => (await answers(...asked, ...args)).map((a) => a.text);
  const [first, again, other, [greedy], likeliest] = await Promise.all([
    texts("--seed", "5"),
    texts("--seed", "5"),
    texts("--seed", "6"),
    answers("--prompt", `${QUESTION}\n`, "--max-new", "24"),
    texts("--top-k", "1"),
  ]);
  assertEquals(again, first);
  assertEquals(new Set([...first, ...other]).size, 6);
  assertEquals(likeliest, [greedy!.text, greedy!.text, greedy!.text]);
});

Deno.test("generate: what is wrong ends with one line and code 2", async () => {
  const cases: [string[], string][] = [
    [["--prompt", "x", "--model", `${root}nowhere`], "nowhere"],
    [["--prompts", `${root}nowhere.jsonl`], "nowhere.jsonl: not found"],
    [["--prompt", "x", "--adapter", `${root}docs`], "adapter_config.json"],
    [["--prompt", "word ".repeat(2000)], "prompt 1 has"],
  ];
  await Promise.all(cases.map(async ([args, message]) => {
    const { code, out, err } = await run(...args);
    assertEquals([code, out], [2, ""], err);
    assertStringIncludes(err.trim().split("\n").at(-1)!, message);
    assert(!err.includes("    at "), err);
  }));
});

Deno.test("generate: an interrupt ends it at once with code 130", async () => {
  const child = command("--prompts", `${root}examples/data/train.jsonl`, "--json").spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  child.kill("SIGINT");
  const killed = performance.now();
  const { code } = await child.status;
  assertEquals(code, 130);
  assert(performance.now() - killed < 1000);
  await reader.cancel();
  await child.stderr.cancel();
});

Deno.test("generate: flags that do not go together are refused, and the help names all", () => {
  const parse = (...argv: string[]) => parseGenerateFlags(argv, { root: "/gyre" });
  assertEquals(parse("--prompt", "x", "--stop", "a", "--stop=b").stop, ["a", "b"]);
  const { model, stop, topK, topP, temperature } = parse("--prompt", "x");
  assertEquals([model, stop, topK, topP, temperature], ["/gyre/examples/base", [], null, 1, 0]);
  const wrong: [string[], string][] = [
    [[], "There is nothing to go on from: give --prompt TEXT or --prompts FILE."],
    [
      ["--prompt", "x", "--prompts", "f"],
      "--prompts f takes the place of --prompt: give one of the two.",
    ],
    [["--prompt", "x", "--top-p", "1.5"], `--top-p is "1.5": give a number above 0 up to 1.`],
    [["--prompt", "x", "--top-k", "0"], `--top-k is "0": give a whole number from 1 on.`],
    [["--prompt", "x", "--stop="], "--stop needs a value: --stop TEXT."],
    [["--promt", "x"], "There is no flag --promt: did you mean --prompt?"],
    [
      ["--prompt", "x", "--top-k", "4"],
      "--top-k 4 changes nothing at --temperature 0, which always takes the likeliest token: give a --temperature above 0.",
    ],
  ];
  for (const [argv, message] of wrong) {
    assertEquals(assertThrows(() => parse(...argv), OptionError).message, message);
  }
  for (const key of Object.keys(GENERATE_FLAGS)) {
    assertStringIncludes(generateHelp(), `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} `);
  }
});

Deno.test("generate: what is shown early stands, whatever follows", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "\n"), maxLength: 12 });
  const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "\n"), minLength: 1, maxLength: 4 }), {
    maxLength: 3,
  });
  fc.assert(
    fc.property(text, text, stops, (before, after, stops) => {
      const early = cutAtStop(before, stops), whole = cutAtStop(before + after, stops);
      const shown = early.stopped ? early.text : before.slice(0, settledLength(before, stops));
      assert(whole.text.startsWith(shown), JSON.stringify({ shown, whole }));
      assert(stops.every((s) => !whole.text.includes(s)));
    }),
    { examples: [["baa", "b", ["baab", "a"]]], numRuns: 2000 },
  );
  assertEquals(settledLength("ab\uFFFD", []), 2);
});
