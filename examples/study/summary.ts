/** What the runs of a study say together: means and spreads over seeds. Pure. @module */
import type { LinePoint, RunResult } from "../../train/mod.ts";
import type { RunRecord } from "./runs.ts";

/** A number over seeds. */
export interface Stat {
  readonly mean: number;
  /** Sample standard deviation; 0 for one run. */
  readonly sd: number;
  readonly low: number;
  readonly high: number;
  readonly n: number;
}

/** A run with what it belongs to. */
export interface SeedRun {
  readonly method: string;
  readonly seed: number;
  readonly record: RunRecord;
}

/** How soon a method's training loss was as low as full fine-tuning's at its end, with the same seed. */
export interface Reach {
  /** Of how many seeds it was. */
  readonly reached: number;
  readonly of: number;
  /** Over the seeds that reached it. */
  readonly steps: Stat | null;
  /** Steps times the time of a step: without compiling and measuring. */
  readonly seconds: Stat | null;
  /** Those seconds ÷ full fine-tuning's with the same seed. */
  readonly ratio: Stat | null;
}

/** A method over its seeds. Null: not measured, or no run ended well. */
export interface MethodSummary {
  readonly method: string;
  readonly lr: number;
  /** Rate of orthogonal parameters. */
  readonly orthogonalLr: number;
  readonly trainable: number | null;
  readonly seeds: readonly number[];
  /** Seeds whose gradients were not finite again and again. */
  readonly failed: readonly number[];
  readonly heldOutLoss: Stat | null;
  readonly exact: Stat | null;
  /** Mean training loss over the last window. */
  readonly trainLoss: Stat | null;
  readonly stepSeconds: Stat | null;
  readonly wallSeconds: Stat | null;
  readonly reach: Reach | null;
  /** Bytes of a training step by kind: the same for every seed. */
  readonly stepBytes: RunResult["step_bytes"];
  readonly peakBytes: Stat | null;
  /** Smoothed training loss over seeds, by step. */
  readonly curve: readonly LinePoint[];
}

/** Mean, sample standard deviation and range; null without numbers. */
export function statOf(values: readonly number[]): Stat | null {
  const n = values.length;
  if (n === 0) return null;
  const mean = values.reduce((a, b) => a + b) / n;
  const sd = n < 2 ? 0 : Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / (n - 1));
  return { mean, sd, low: Math.min(...values), high: Math.max(...values), n };
}

/** Steps that the training loss is averaged over: a tenth of all, at least one. */
export function windowOf(steps: number): number {
  return Math.max(1, Math.round(steps / 10));
}

/** Mean of each value and those before it, `window` at most. */
export function trailingMean(values: readonly number[], window: number): number[] {
  return values.map((_, i) => {
    const part = values.slice(Math.max(0, i + 1 - window), i + 1);
    return part.reduce((a, b) => a + b) / part.length;
  });
}

/** Steps of a block whose mean time is taken: queued steps come back in bursts. */
const BLOCK = 8;

/**
 * Seconds of a step: the median over blocks of eight steps of their mean, so that shapes compiled on the way and
 * bursts of results count little. `seconds` are times since the end of the first step. Null below two steps.
 */
export function stepTime(seconds: readonly number[]): number | null {
  if (seconds.length < 2) return null;
  const size = Math.min(BLOCK, seconds.length - 1), means: number[] = [];
  for (let end = size; end < seconds.length; end += size) {
    means.push((seconds[end]! - seconds[end - size]!) / size);
  }
  means.sort((a, b) => a - b);
  const half = means.length >> 1;
  return means.length % 2 === 1 ? means[half]! : (means[half - 1]! + means[half]!) / 2;
}

/** The first step, from 1, at which the smoothed loss is at most `target`, whole windows alone; null: never. */
export function stepsTo(losses: readonly number[], target: number): number | null {
  const window = windowOf(losses.length);
  const at = trailingMean(losses, window).findIndex((loss, i) => i + 1 >= window && loss <= target);
  return at < 0 ? null : at + 1;
}

/** All methods in the order in which they first occur. */
export function summarise(runs: readonly SeedRun[]): MethodSummary[] {
  const targets = new Map(
    runs.filter((r) => r.method === "full" && r.record.result).map(
      ({ seed, record: { losses, seconds } }) => {
        const loss = trailingMean(losses, windowOf(losses.length)).at(-1)!;
        return [seed, { loss, seconds: stepsTo(losses, loss)! * (stepTime(seconds) ?? NaN) }];
      },
    ),
  );
  return [...Map.groupBy(runs, (r) => r.method)].map(([method, all]) => {
    const good = all.flatMap(({ seed, record }) =>
      record.result ? [{ seed, record, result: record.result }] : []
    );
    const over = (value: (run: typeof good[number]) => number | null): Stat | null =>
      statOf(good.map(value).filter((v) => v !== null));
    return {
      method,
      lr: all[0]!.record.settings.lr as number,
      orthogonalLr: all[0]!.record.settings.orthogonalLr as number,
      trainable: good[0]?.result.trainable ?? null,
      seeds: all.map((r) => r.seed),
      failed: all.filter((r) => !r.record.result).map((r) => r.seed),
      heldOutLoss: over((r) => r.result.eval_after),
      exact: over((r) => r.result.exact_after),
      trainLoss: over(({ record: { losses } }) => trailingMean(losses, windowOf(losses.length)).at(-1)!),
      stepSeconds: over((r) => stepTime(r.record.seconds)),
      wallSeconds: over((r) => r.record.wall),
      reach: reachOf(all, targets),
      stepBytes: good[0]?.result.step_bytes ?? null,
      peakBytes: over((r) => r.result.peak_bytes),
      curve: curveOf(good.map((r) => r.record.losses)),
    };
  });
}

function reachOf(
  runs: readonly SeedRun[],
  targets: ReadonlyMap<number, { readonly loss: number; readonly seconds: number }>,
): Reach | null {
  const comparable = runs.filter((r) => targets.has(r.seed));
  if (comparable.length === 0) return null;
  const reached = comparable.flatMap(({ seed, record }) => {
    const target = targets.get(seed)!;
    const steps = record.result ? stepsTo(record.losses, target.loss) : null;
    if (steps === null) return [];
    const seconds = steps * (stepTime(record.seconds) ?? NaN);
    return [{ steps, seconds, ratio: seconds / target.seconds }];
  });
  return {
    reached: reached.length,
    of: comparable.length,
    steps: statOf(reached.map((r) => r.steps)),
    seconds: statOf(reached.map((r) => r.seconds)),
    ratio: statOf(reached.map((r) => r.ratio)),
  };
}

/** Smoothed losses over seeds: mean, least and greatest at each step that all of them have. */
function curveOf(losses: readonly (readonly number[])[]): LinePoint[] {
  if (losses.length === 0) return [];
  const length = Math.min(...losses.map((l) => l.length));
  const smooth = losses.map((l) => trailingMean(l, windowOf(l.length)));
  return Array.from({ length }, (_, i) => {
    const { mean, low, high } = statOf(smooth.map((l) => l[i]!))!;
    return { x: i + 1, mean, low, high };
  });
}
