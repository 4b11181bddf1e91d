/** A Llama of the shape of 135 M parameters with random weights: bytes of its step's plan, and the time of a small one. @module */
import { openCpu } from "../core/cpu/mod.ts";
import { planBytes, showBytes } from "../core/mod.ts";
import { type HostTensor, type LlamaConfig, METHODS, showTable, weightShapes } from "../train/mod.ts";
import { planningDevice } from "./planning_device.ts";
import type { Record } from "./steps.ts";
import {
  largestBuffer,
  median,
  openTrainer,
  optionsFor,
  RATES,
  sessionFor,
  type Subject,
  takeTurns,
} from "./training.ts";

/** SmolLM-135M's sizes. */
const CONFIG: LlamaConfig = {
  vocabSize: 49152,
  hiddenSize: 576,
  intermediateSize: 1536,
  layers: 30,
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  tiedEmbeddings: true,
  maxPositions: 2048,
  bosId: null,
  eosIds: [],
};

/** Shapes of the batches: the first is also run. */
const SHAPES = [{ rows: 1, length: 64 }, { rows: 8, length: 512 }] as const;
const STEPS = 3;

/** Weights in ±1/√in, norms 1; without numbers where only the plan is asked for. */
function weights(filled: boolean): Map<string, HostTensor> {
  return new Map(
    [...weightShapes(CONFIG)].map(([name, aval]) => {
      const size = aval.shape.reduce((a, b) => a * b, 1), bound = 1 / Math.sqrt(aval.shape.at(-1)!);
      const value = aval.shape.length === 1 ? () => 1 : () => (2 * Math.random() - 1) * bound;
      return [name, { aval, data: Float32Array.from({ length: filled ? size : 0 }, value) }];
    }),
  );
}

function batch(rows: number, length: number) {
  const draw = (): Int32Array =>
    Int32Array.from({ length: rows * length }, () => Math.floor(Math.random() * CONFIG.vocabSize));
  return { ids: draw(), labels: draw(), rows, length };
}

/** Plans of each method, and the time of a small step where the CPU target holds it. */
export async function benchLarge(record: Record, methods: readonly string[] = METHODS): Promise<void> {
  const probe = await openCpu();
  const { capabilities } = probe;
  await probe.close();
  const table = [[
    "method",
    "rows",
    "length",
    "trainable",
    "inputs",
    "temporaries",
    "total",
    "largest buffer",
    "ms/step",
  ]];
  const filled = { name: "135M", config: CONFIG, weights: weights(true) };
  for (const method of methods) {
    for (const { rows, length } of SHAPES) {
      const { device, plans } = planningDevice({
        ...capabilities,
        maxBufferBytes: Infinity,
        maxTotalBytes: null,
      });
      const subject = { name: "135M", config: CONFIG, weights: weights(false) };
      const { session, trainable } = await sessionFor(device, subject, optionsFor(method), [
        batch(rows, length),
      ]);
      await session.step(batch(rows, length), RATES);
      const plan = plans.at(-1)!, bytes = planBytes(plan), largest = largestBuffer(plan);
      const runs = rows * length <= 64 && bytes.total < capabilities.maxTotalBytes! / 2;
      const ms = runs ? await time(method, filled, rows, length) : null;
      record({
        bench: "135M",
        method,
        rows,
        length,
        trainable,
        plan: bytes,
        largest,
        kernels: plan.kernels.length,
        msPerStep: ms,
      });
      table.push([
        method,
        String(rows),
        String(length),
        String(trainable),
        ...[bytes.inputs, bytes.temporaries, bytes.total].map(showBytes),
        `${showBytes(largest.bytes)} ${largest.of}`,
        ms === null ? "–" : ms.toFixed(0),
      ]);
    }
  }
  console.error(`\n135 M parameters, random weights, f32\n${showTable(table)}`);
}

async function time(method: string, filled: Subject, rows: number, length: number): Promise<number> {
  const batches = [batch(rows, length)];
  const trainer = await openTrainer(filled, method, navigator.hardwareConcurrency, batches);
  const [steps] = await takeTurns([trainer], batches, STEPS);
  await trainer.close();
  return median(steps!.times);
}
