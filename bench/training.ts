/** The training step as a measurement: models, batches of real rows, times and bytes of one method. @module */
import { openCpu } from "../core/cpu/mod.ts";
import type { Device, Plan } from "../core/mod.ts";
import {
  adamW,
  countTrainable,
  type DecoderConfig,
  type HostBatch,
  type HostTensor,
  loadCheckpoint,
  loadDataset,
  loadTokenizer,
  lossScaleOf,
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
  readonly config: DecoderConfig;
  readonly weights: ReadonlyMap<string, HostTensor>;
}

/** The model that ships with the repository. */
export function bundledModel(): Subject {
  return {
    name: "bundled",
    ...loadCheckpoint(`${root}/examples/base`, { dtype: "f32", shapes: weightShapes }),
  };
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

/** A session of a method on a device, for batches like these; adapters that start from gradients take them from the first. */
export async function sessionFor(
  device: Device,
  { config, weights }: Subject,
  options: TrainOptions,
  batches: readonly HostBatch[],
): Promise<{ readonly session: Session; readonly trainable: number }> {
  const classes = methodClasses(options, config);
  const session = await openSession({
    device,
    subject: { config, classes },
    weights,
    optimiser: adamW({ clip: options.clip, lossScale: lossScaleOf(options) }),
    accumulate: options.accumulate,
    seed: options.seed,
    maxLength: Math.max(...batches.map((b) => b.length)),
    startBatches: batches.slice(0, 1),
  });
  return { session, trainable: countTrainable(classes) };
}

/** Learning rates of every measured step. */
export const RATES = { plain: 1e-3, orthogonal: 5e-4 } as const;

/** What a trainer's device did and held so far. */
export interface Cost {
  /** Seconds before the first step: the upload, and what adapters compute before they start. */
  readonly startSeconds: number;
  readonly compileSeconds: number;
  readonly peakBytes: number;
  readonly trainable: number;
}

/** Something that trains step by step. */
export interface Trainer {
  readonly name: string;
  readonly threads: number;
  /** One step on a batch; resolves with its loss. */
  readonly step: (batch: HostBatch) => Promise<number>;
  /** What its device held and compiled so far; null where that is not known. */
  readonly cost: () => Cost | null;
  readonly close: () => Promise<void>;
}

/** A method on a CPU target of its own, so that peak bytes are its own. */
export async function openTrainer(
  subject: Subject,
  method: string,
  threads: number,
  batches: readonly HostBatch[],
): Promise<Trainer> {
  const device = await openCpu({ threads });
  const begin = performance.now();
  const { session, trainable } = await sessionFor(device, subject, optionsFor(method), batches);
  const startSeconds = (performance.now() - begin) / 1000;
  return {
    name: method,
    threads,
    step: async (batch) => (await session.step(batch, RATES)).loss,
    cost: () => ({
      startSeconds,
      compileSeconds: session.stats().compileSeconds,
      peakBytes: device.memory().peakBytes,
      trainable,
    }),
    close: () => device.close(),
  };
}

/** Times and losses of a trainer's measured steps, and of its first. */
export interface Steps {
  readonly trainer: Trainer;
  readonly firstMs: number;
  readonly times: readonly number[];
  readonly losses: readonly number[];
}

/** Let all take turns, so that other work on the machine slows all alike; two rounds warm up. */
export async function takeTurns(
  trainers: readonly Trainer[],
  batches: readonly HostBatch[],
  rounds: number,
): Promise<Steps[]> {
  const all = trainers.map((trainer) => ({
    trainer,
    firstMs: 0,
    times: [] as number[],
    losses: [] as number[],
  }));
  for (let round = -2; round < rounds; round++) {
    for (const entry of all) {
      const begin = performance.now();
      entry.losses.push(await entry.trainer.step(batches[(round + 2) % batches.length]!));
      const ms = performance.now() - begin;
      if (round === -2) entry.firstMs = ms;
      if (round >= 0) entry.times.push(ms);
    }
  }
  return all;
}

/** The middle one of some numbers. */
export function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
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
