/** `merge.ts` from the outside: the model that it writes says what the adapted one says; exit codes and messages. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { exportPeft, namedBase, peftForms, saveAdapter } from "../train/adapter_directory.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { batches } from "../train/batches.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { loadDataset } from "../train/data.ts";
import { AdapterError, OptionError } from "../train/errors.ts";
import { weightShapes } from "../train/decoder.ts";
import { mergeHelp, parseMergeFlags } from "../train/merge_options.ts";
import { decoderLayout, methodClasses } from "../train/methods.ts";
import { adamW } from "../train/optimiser.ts";
import { openSession } from "../train/session.ts";
import { loadTokenizer } from "../train/tokenizer.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
const base = `${root}examples/base`;
const { examples } = loadDataset(`${root}examples/data/train.jsonl`, loadTokenizer(base), 64);
const few = [...batches(examples, { batch: 4, seq: 64, seed: 0, epochs: 1 })].slice(0, 3);

async function merge(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--allow-read", "--allow-write", `${root}merge.ts`, ...args],
    stdout: "piped",
    stderr: "piped",
  }).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

Deno.test("merge: Gyre's and PEFT's directory become the adapted model, in any element type", async () => {
  const device = await openCpu({ threads: 1 }), dir = await Deno.makeTempDir();
  try {
    const { config, weights } = loadCheckpoint(base, { dtype: "f32", shapes: weightShapes });
    const options = { ...DEFAULT_SETTINGS, method: "hybrid", target: "all-linear" } as const;
    const shared = { device, optimiser: adamW({ clip: 1 }), accumulate: 1, seed: 3, maxLength: 64 };
    const classes = methodClasses(options, config);
    const session = await openSession({
      ...shared,
      subject: { config, classes },
      weights,
      startBatches: few,
    });
    const before = (await session.evaluate(few)).loss;
    for (const batch of few) await session.step(batch, { plain: 2e-3, orthogonal: 2e-3 });
    const { loss } = await session.evaluate(few);
    assert(Math.abs(loss - before) > 1e-2);
    const layout = decoderLayout(config);
    const saved = { model: base, layout, classes, trained: await session.trained() };
    saveAdapter(`${dir}/adapter`, options, saved);
    exportPeft(`${dir}/peft`, peftForms(options, layout)!, saved);
    assertEquals([namedBase(`${dir}/adapter`), namedBase(`${dir}/peft`)], [base, base]);

    for (
      const [adapter, dtype, bound] of [["adapter", "f32", 1e-5], ["peft", "f32", 1e-5], [
        "adapter",
        "bf16",
        1e-2,
      ], ["adapter", "f16", 2e-3]] as const
    ) {
      const out = `${dir}/${adapter}-${dtype}`;
      const run = await merge("--adapter", `${dir}/${adapter}`, "--out", out, "--dtype", dtype, "--json");
      assertEquals(run.code, 0, run.err);
      const { bytes, ...said } = JSON.parse(run.out);
      assertEquals(said, { out, model: base, merged: 35, infinite: 0 });
      assertEquals(bytes, (await Deno.stat(`${out}/model.safetensors`)).size);
      const merged = loadCheckpoint(out, { dtype: "f32", shapes: weightShapes });
      const plain = await openSession({
        ...shared,
        subject: { config, classes: [] },
        weights: merged.weights,
      });
      const found = (await plain.evaluate(few)).loss;
      assert(Math.abs(found / loss - 1) < bound, `${adapter} ${dtype}: ${found}, the adapted model ${loss}`);
      assertEquals(loadTokenizer(out).vocabSize, loadTokenizer(base).vocabSize);
    }
    const again = await merge("--adapter", `${dir}/adapter`, "--out", `${dir}/adapter-f32`);
    assertEquals(again.code, 2);
    assertEquals(
      again.err.trim(),
      `--out ${dir}/adapter-f32: ${dir}/adapter-f32/config.json is there already; give a new or empty directory.`,
    );
    const file = `${dir}/adapter-f32/config.json`;
    const within = await merge("--adapter", `${dir}/adapter`, "--out", `${file}/merged`);
    assertEquals([within.code, within.err.trim().split("\n").length], [2, 1]);
    assertStringIncludes(within.err, `mkdir '${file}'`);
    assertEquals([...Deno.readDirSync(dir)].filter(({ name }) => name.includes("partial")), []);
  } finally {
    await device.close();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("merge: what is missing is named", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const wrong = (argv: readonly string[]): string =>
      assertThrows(() => parseMergeFlags(argv), OptionError).message;
    assertStringIncludes(wrong([]), "--adapter DIR");
    assertStringIncludes(wrong(["--adapter", "a"]), "--out DIR");
    assertStringIncludes(wrong(["--adapter", "a", "--out", "b", "--dtype", "f8"]), "f32, f16, bf16");
    assertEquals(parseMergeFlags(["-h"]), null);
    for (const flag of ["--adapter DIR", "--model DIR", "--dtype NAME", "Examples:"]) {
      assertStringIncludes(mergeHelp(), flag);
    }
    assertStringIncludes(assertThrows(() => namedBase(dir), AdapterError).message, "is no adapter");
    await Deno.writeTextFile(`${dir}/adapter_config.json`, '{"base_model_name_or_path": "some/model"}');
    const run = await merge("--adapter", dir, "--out", `${dir}/out`);
    // Which the program may not look up.
    assertEquals(run.code, 2);
    assertStringIncludes(run.err, `${dir}: belongs to some/model: as a path, there is no such directory;`);
    await Deno.writeTextFile(`${dir}/adapter_config.json`, '{"base_model_name_or_path": "model"}');
    assertEquals(
      (await merge("--adapter", dir, "--out", `${dir}/out`)).err.trim(),
      `${dir}: belongs to model, which is no directory here; give --model DIR.`,
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
