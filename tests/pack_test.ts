/** Packed rows: every example once, and the same losses and gradients as in rows of its own. @module */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import * as fc from "fast-check";
import { openCpu } from "../core/cpu/mod.ts";
import type { Device } from "../core/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { batches, batchesPerEpoch, IGNORED, type TokenBatch } from "../train/batches.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import type { Example } from "../train/data.ts";
import { UserError } from "../train/errors.ts";
import { weightShapes } from "../train/decoder.ts";
import { methodClasses } from "../train/methods.ts";
import { adamW } from "../train/optimiser.ts";
import { checkpointSteps } from "../train/run_checkpoint.ts";
import { openSession, type Session } from "../train/session.ts";
import { fineTuned, inTempDir } from "./runs.ts";

const FIXTURES = decodeURIComponent(new URL("fixtures/models", import.meta.url).pathname);

function exampleOf(ids: readonly number[], trainedFrom: number): Example {
  return { ids, trained: ids.map((_, i) => i >= trainedFrom), promptLength: trainedFrom, prompt: "" };
}

const SEQ = 24;
const example = fc.tuple(
  fc.array(fc.integer({ min: 1, max: 52 }), { minLength: 2, maxLength: SEQ + 1 }),
  fc.nat(SEQ),
).map(([ids, from]) => exampleOf(ids, Math.min(ids.length - 1, 1 + from % ids.length)));

/** The examples of a packed batch, as far as a model sees them. */
function unpacked({ ids, labels, packing, rows, length }: TokenBatch): { ids: number[]; labels: number[] }[] {
  const all: { ids: number[]; labels: number[] }[] = [];
  for (let row = 0; row < rows; row++) {
    for (let t = 0, last = 0; t < length; t++) {
      const at = row * length + t, segment = packing!.segments[at]!;
      if (segment === 0) {
        assertEquals([ids[at], labels[at], packing!.positions[at]], [0, IGNORED, 0]);
        continue;
      }
      if (segment !== last) {
        assertEquals(
          [segment, packing!.positions[at]],
          [last + 1, 0],
          "segments follow each other from 0 on",
        );
        all.push({ ids: [], labels: [] });
        last = segment;
      }
      assertEquals(packing!.positions[at], all.at(-1)!.ids.length);
      all.at(-1)!.ids.push(ids[at]!);
      all.at(-1)!.labels.push(labels[at]!);
    }
  }
  return all;
}

Deno.test("packing: each example is there once an epoch, whole, and rows have no more than --seq positions", () => {
  fc.assert(
    fc.property(
      fc.array(example, { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 5 }),
      fc.nat(),
      (examples, batch, seed) => {
        const options = { batch, seq: SEQ, seed, pack: true };
        const all = [...batches(examples, { ...options, epochs: 2 })];
        const key = (x: { ids: readonly number[]; labels: readonly number[] }): string => JSON.stringify(x);
        const expected = examples.map(({ ids, trained }) =>
          key({
            ids: ids.slice(0, -1),
            labels: ids.slice(1).map((id, t) => trained[t + 1] ? id : IGNORED),
          })
        ).sort();
        for (const epoch of [0, 1]) {
          const own = all.filter((b) => b.epoch === epoch);
          assertEquals(own.flatMap(unpacked).map(key).sort(), expected);
          assertEquals(own.reduce((n, b) => n + b.examples, 0), examples.length);
        }
        assert(all.every((b) => b.rows === batch && b.length <= SEQ));
        assertEquals(all.filter((b) => b.epoch === 0).length, batchesPerEpoch(examples, options));
      },
    ),
    { numRuns: 200 },
  );
});

const EXAMPLES = [[3, 9, 12, 40, 7], [5, 5, 31], [20, 1, 2, 3, 4, 8, 6, 44, 9, 10, 11], [50, 2], [
  8,
  9,
  10,
  11,
  12,
]]
  .map((ids, i) => exampleOf(ids, 1 + i % 2));

function open(device: Device, model: string): Promise<Session> {
  const { config, weights } = loadCheckpoint(`${FIXTURES}/${model}`, { dtype: "f32", shapes: weightShapes });
  const options = { ...DEFAULT_SETTINGS, method: "lora", target: "all-linear", rank: 2, alpha: 4 } as const;
  return openSession({
    device,
    subject: { config, classes: methodClasses(options, config) },
    weights,
    optimiser: adamW({ clip: 1 }),
    accumulate: 1,
    seed: 1,
    maxLength: SEQ,
  });
}

for (const model of ["llama3", "mistral", "qwen2_window", "qwen3", "gpt2", "gemma2"]) {
  Deno.test(`packing: losses, gradients and steps of ${model} are those of rows with one example`, async () => {
    const device = await openCpu();
    try {
      const losses: number[][] = [];
      for (const pack of [false, true]) {
        const session = await open(device, model), own: number[] = [];
        const order = { seq: SEQ, seed: 0, epochs: 1, pack, shuffle: false };
        const rows = [...batches(EXAMPLES, { ...order, batch: pack ? 2 : EXAMPLES.length })];
        assertEquals(rows.length, 1);
        assertEquals(rows[0]!.rows, pack ? 2 : EXAMPLES.length);
        own.push((await session.evaluate(rows)).loss);
        for (let step = 0; step < 3; step++) {
          const { loss, gradNorm } = await session.step(rows[0]!, { plain: 3e-2, orthogonal: 3e-2 });
          own.push(loss, gradNorm);
        }
        own.push((await session.evaluate(rows)).loss);
        losses.push(own);
      }
      const [plain, packed] = losses as [number[], number[]];
      packed.forEach((x, i) =>
        assert(Math.abs(x - plain[i]!) < 1e-5 * Math.max(1, plain[i]!), `${i}: ${losses}`)
      );
      assert(plain[0]! - plain.at(-1)! > 1e-3, "nothing was learnt");
    } finally {
      await device.close();
    }
  });
}

Deno.test("packing: a run packs, goes on after an end bit for bit, and needs fewer steps for its epochs", () =>
  inTempDir(async (dir) => {
    const tiny = ["--device", "cpu", "--eval", "none", "--batch", "2", "--seq", "128", "--method", "lora"];
    const data = `${dir}/rows.jsonl`;
    const rows = Array.from(
      { length: 40 },
      (_, i) => JSON.stringify({ prompt: `Tom has ${i}`, completion: " balls." }),
    );
    Deno.writeTextFileSync(data, rows.join("\n"));
    const stepsOf = async (name: string, ...more: string[]): Promise<number> => {
      const { result } = await fineTuned(`${dir}/${name}`, [...tiny, "--data", data, ...more]);
      assert(!(result instanceof UserError), String(result));
      return result.steps;
    };
    const packed = await stepsOf("packed", "--pack", "--epochs", "2", "--accumulate", "2");
    assert(packed * 4 < await stepsOf("plain", "--epochs", "2"), `${packed} steps`);
    const six = ["--pack", "--steps", "6", "--save-every", "1"];
    await stepsOf("whole", ...six);
    const stopped = (): boolean => checkpointSteps(`${dir}/parts`).includes(3);
    await fineTuned(`${dir}/parts`, [...tiny, "--data", data, ...six], stopped);
    assertEquals(checkpointSteps(`${dir}/parts`).at(-1), 3);
    assertEquals(await stepsOf("parts", "--resume"), 6);
    const adapter = (name: string): Uint8Array =>
      Deno.readFileSync(`${dir}/${name}/adapter/adapter.safetensors`);
    assertEquals(adapter("parts"), adapter("whole"));
    const other = await fineTuned(`${dir}/packed`, ["--resume", "--pack", "--seq", "64"]);
    assert(other.result instanceof UserError);
    assertStringIncludes(other.result.message, "--seq was 128 and is 64");
  }));
