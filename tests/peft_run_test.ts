/** The program goes on with an adapter of PEFT and writes one again. @module */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { modulesOf, weightShapes } from "../train/decoder.ts";
import { adamW } from "../train/optimiser.ts";
import { loadedClasses, loadPeft, withSaved } from "../train/peft/load.ts";
import { openSession } from "../train/session.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
const base = `${root}examples/base`;

async function program(...args: readonly string[]): Promise<{ code: number; err: string }> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "--allow-read",
      "--allow-write",
      "--allow-env",
      `${root}train.ts`,
      "--device",
      "cpu",
      "--eval",
      "none",
      "--seq",
      "64",
      ...args,
    ],
    stdout: "null",
    stderr: "piped",
  }).output();
  return { code, err: new TextDecoder().decode(stderr) };
}

/** Logits of the bundled model with a directory's adapters. */
async function logitsWith(dir: string): Promise<Float32Array> {
  const { config, weights } = loadCheckpoint(base, { dtype: "f32", shapes: weightShapes });
  const loaded = loadPeft(dir, modulesOf(config), { training: false });
  const device = await openCpu();
  try {
    const session = await openSession({
      device,
      subject: { config, classes: loadedClasses(loaded, modulesOf(config)) },
      weights: withSaved(weights, loaded, dir),
      values: loaded.values,
      optimiser: adamW({ clip: 0 }),
      accumulate: 1,
      seed: 0,
      maxLength: 16,
    });
    return await session.logits([5, 6, 7, 8, 9, 10]);
  } finally {
    await device.close();
  }
}

Deno.test("the program goes on with an adapter of PEFT, weights trained whole included, and writes it as it came", async () => {
  const out = await Deno.makeTempDir();
  try {
    const first = await program(
      "--method",
      "lora",
      "--save-modules",
      "norm",
      "--steps",
      "4",
      "--out",
      `${out}/a`,
    );
    assertEquals(first.code, 0, first.err);
    const dir = `${out}/a/peft`;
    assert(!await Deno.stat(`${dir}/gyre.json`).then(() => true, () => false));

    const next = await program("--adapter", dir, "--steps", "4", "--lr", "1e-3", "--out", `${out}/b`);
    assertEquals(next.code, 0, next.err);
    assertStringIncludes(next.err, "method: peft");
    const again = `${out}/b/adapter`;
    const settings = (at: string): Record<string, unknown> =>
      JSON.parse(Deno.readTextFileSync(`${at}/adapter_config.json`));
    assertEquals(settings(again), settings(dir));
    assertEquals(settings(again)["modules_to_save"], ["model.norm"]);
    const [before, after] = [await logitsWith(dir), await logitsWith(again)];
    assert(before.some((v, i) => Math.abs(v - after[i]!) > 1e-3), "nothing was trained");

    // A rate below all rounding: what comes out is what went in.
    const still = await program("--adapter", again, "--steps", "1", "--lr", "1e-30", "--out", `${out}/c`);
    assertEquals(still.code, 0, still.err);
    assertEquals(await logitsWith(`${out}/c/adapter`), after);

    const over = await program("--adapter", dir, "--steps", "1", "--out", `${out}/b`);
    assertEquals(over.code, 2);
    assertStringIncludes(over.err, "is there from an earlier run");
  } finally {
    await Deno.remove(out, { recursive: true });
  }
});
