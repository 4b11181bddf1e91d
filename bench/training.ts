/** The training step as a measurement: models, batches of real rows, times and bytes of one method. @module */
import type { Device, Plan } from "../core/mod.ts";
import {
  adamW,
  countTrainable,
  type HostBatch,
  type HostTensor,
  type LlamaConfig,
  loadCheckpoint,
  loadDataset,
  loadTokenizer,
  methodClasses,
  openSession,
  parseOptions,
  type Session,
  type TrainOptions,
  weightShapes,
} from "../train/mod.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");

/** A model to be trained. */
export interface Subject {
  readonly name: string;
  readonly config: LlamaConfig;
  readonly weights: ReadonlyMap<string, HostTensor>;
}

/** The model that ships with the repository. */
export function bundledModel(): Subject {
  return { name: "bundled", ...loadCheckpoint(`${root}/examples/base`, { dtype: "f32", shapes: weightShapes }) };
}

/** Batches f32[rows, length] without padding: the bundled rows one after the other, cut into rows of that length. */
export function packedBatches(count: number, rows: number, length: number): HostBatch[] {
  const { examples } = loadDataset(
    `${root}/examples/data/train.jsonl`,
    loadTokenizer(`${root}/examples/base`),
    length,
  );
  const stream = examples.flatMap((e) => e.ids), size = rows * length;
  if (stream.length < count * (size + rows)) {
    throw new RangeError(`${count} batches of ${rows}×${length} need more than ${stream.length} tokens.`);
  }
  return Array.from({ length: count }, (_, i) => {
    const ids = new Int32Array(size), labels = new Int32Array(size);
    for (let r = 0; r < rows; r++) {
      const from = (i * rows + r) * (length + 1);
      ids.set(stream.slice(from, from + length), r * length);
      labels.set(stream.slice(from + 1, from + length + 1), r * length);
    }
    return { ids, labels, rows, length };
  });
}

/** The options of a method as `train.ts` would have them. */
export function optionsFor(method: string, flags: readonly string[] = []): TrainOptions {
  return parseOptions(["--method", method, ...flags], { root, now: new Date(0) });
}

/** A session of a method on a device, without clipping's or the schedule's influence on what is compared. */
export async function sessionFor(
  device: Device,
  { config, weights }: Subject,
  options: TrainOptions,
  maxLength: number,
): Promise<{ readonly session: Session; readonly trainable: number }> {
  const classes = methodClasses(options, config);
  const session = await openSession({
    device,
    subject: { config, classes },
    weights,
    optimiser: adamW({ clip: options.clip }),
    accumulate: options.accumulate,
    seed: 0,
    maxLength,
  });
  return { session, trainable: countTrainable(classes) };
}

/** Learning rates of every measured step. */
export const RATES = { plain: 1e-3, orthogonal: 5e-4 } as const;

/** What one method costs. */
export interface StepCost {
  readonly method: string;
  readonly msPerStep: number;
  readonly bestMs: number;
  readonly tokensPerSecond: number;
  readonly compileSeconds: number;
  readonly peakBytes: number;
  readonly trainable: number;
  readonly losses: readonly number[];
}

/** Train `steps` steps on batches of one shape; the first two warm up and are not in the median. */
export async function measureMethod(
  device: Device,
  subject: Subject,
  method: string,
  batches: readonly HostBatch[],
  steps: number,
): Promise<StepCost> {
  const { rows, length } = batches[0]!;
  const { session, trainable } = await sessionFor(device, subject, optionsFor(method), length);
  const losses: number[] = [], times: number[] = [];
  for (let i = 0; i < steps + 2; i++) {
    const begin = performance.now();
    losses.push((await session.step(batches[i % batches.length]!, RATES)).loss);
    if (i >= 2) times.push(performance.now() - begin);
  }
  times.sort((a, b) => a - b);
  const msPerStep = times[Math.floor(times.length / 2)]!;
  return {
    method,
    msPerStep,
    bestMs: times[0]!,
    tokensPerSecond: rows * length / msPerStep * 1000,
    compileSeconds: session.stats().compileSeconds,
    peakBytes: device.memory().peakBytes,
    trainable,
    losses,
  };
}

/** Bytes of the largest buffer of a plan, and whose result or input it is. */
export function largestBuffer(plan: Plan): { readonly bytes: number; readonly of: string } {
  const bytes = Math.max(...plan.buffers.map((b) => b.bytes));
  const buffer = plan.buffers.findIndex((b) => b.bytes === bytes);
  const step = plan.steps.find((s) =>
    s.slots.some((p, i) => p.buffer === buffer && plan.kernels[s.kernel]!.slots[i]!.access !== "read")
  );
  const input = plan.inputs.find((x) => x.buffer === buffer);
  const of = input ? `input [${input.aval.shape.join()}]` : step ? plan.kernels[step.kernel]!.name : "?";
  return { bytes, of };
}
