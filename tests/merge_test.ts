/** Merging: the directory that a run leaves is a model that says what the adapted one says. */
import { assert, assertEquals } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { batches } from "../train/batches.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { loadDataset } from "../train/data.ts";
import { weightShapes } from "../train/decoder.ts";
import { methodClasses, type MethodName } from "../train/methods.ts";
import { writeModel } from "../train/model_directory.ts";
import { adamW } from "../train/optimiser.ts";
import { type HostBatch, openSession, type Session } from "../train/session.ts";
import type { HostTensor } from "../train/training.ts";
import { loadTokenizer } from "../train/tokenizer.ts";

const device = await openCpu({ threads: 1 });
const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
const base = `${root}examples/base`;
const { examples } = loadDataset(`${root}examples/data/train.jsonl`, loadTokenizer(base), 64);
const few: HostBatch[] = [...batches(examples, { batch: 4, seq: 64, seed: 0, epochs: 1 })].slice(0, 3);

async function session(method: MethodName, weights: ReadonlyMap<string, HostTensor>): Promise<Session> {
  const { config } = loadCheckpoint(base, { dtype: "f32", shapes: weightShapes });
  return await openSession({
    device,
    subject: {
      config,
      classes: methodClasses({ ...DEFAULT_SETTINGS, method, target: "all-linear" }, config),
    },
    weights,
    optimiser: adamW({ clip: 1 }),
    accumulate: 1,
    seed: 3,
    maxLength: 64,
    startBatches: few,
  });
}

for (const method of ["full", "lora-ga", "dora", "boft", "hybrid"] as const) {
  Deno.test(`${method}: the merged model directory has the adapted model's loss`, async () => {
    const { weights } = loadCheckpoint(base, { dtype: "f16", shapes: weightShapes });
    const trained = await session(method, weights);
    const before = (await trained.evaluate(few)).loss;
    for (const batch of few) await trained.step(batch, { plain: 2e-3, orthogonal: 2e-3 });
    const after = (await trained.evaluate(few)).loss;
    assert(Math.abs(after - before) > 1e-3, `training left the loss at ${before}`);
    const dir = Deno.makeTempDirSync();
    try {
      writeModel(dir, base, await trained.merged());
      const merged = loadCheckpoint(dir, { dtype: "f32", shapes: weightShapes });
      assertEquals(loadTokenizer(dir).vocabSize, loadTokenizer(base).vocabSize);
      const plain = await session("lora", merged.weights);
      const { loss } = await plain.evaluate(few);
      assert(
        Math.abs(loss / after - 1) < 1e-5,
        `the merged model's loss is ${loss}, the adapted one's ${after}.`,
      );
    } finally {
      Deno.removeSync(dir, { recursive: true });
    }
  });
}
