/** Cutting a list of stages into runs whose groups of features stay small. @module */
import { blockOf, type Stage } from "../core/ir/mod.ts";

/** Consecutive stages that run as one op. */
export interface StageRun {
  /** First stage in the list, and the one after the last. */
  readonly from: number;
  readonly to: number;
  /** By how much all strides are divided: the axis [d/(by·piece), by, piece] is turned to [by, d/(by·piece), piece]. */
  readonly by: number;
  /** The stages on the turned axis. */
  readonly stages: readonly Stage[];
}

/**
 * Features that one run may mix. A kernel keeps a whole group of them in workgroup memory, of which WebGPU guarantees
 * 16 KiB: two arrays of a group for the cotangent of the blocks, and 4 KiB for the sums of up to 1024 invocations. The CPU
 * keeps 8 rows of a group in its first caches for the same limit.
 */
export const MAX_GROUP = 1536;

/** Features that the stages mix among themselves. */
export function groupOf(stages: readonly Stage[]): number {
  return stages.map((s) => blockOf(s) * s.stride).reduce(leastMultiple, 1);
}

/**
 * The fewest runs, taken greedily, that mix at most {@linkcode MAX_GROUP} features each. Stages of large strides mix
 * features that lie far apart, but few of them: with the axis turned they are neighbours. One run, unturned, where the
 * whole list is small enough; a block that is too large by itself is left as it is.
 */
export function stageRuns(list: readonly Stage[]): StageRun[] {
  const runs: StageRun[] = [];
  for (let from = 0; from < list.length;) {
    let run = runOf(list, from, from + 1), to = from + 2;
    for (; to <= list.length; to++) {
      const longer = runOf(list, from, to);
      if (groupOf(longer.stages) > MAX_GROUP) break;
      run = longer;
    }
    runs.push(run);
    from = run.to;
  }
  return runs;
}

function runOf(list: readonly Stage[], from: number, to: number): StageRun {
  const stages = list.slice(from, to), piece = stages[0]!.piece;
  if (groupOf(stages) <= MAX_GROUP || stages.some((s) => s.piece !== piece)) {
    return { from, to, by: 1, stages };
  }
  const by = stages.map((s) => s.stride).reduce(greatestDivisor);
  return { from, to, by, stages: stages.map((s) => ({ ...s, stride: s.stride / by })) };
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

function leastMultiple(a: number, b: number): number {
  return a / greatestDivisor(a, b) * b;
}
