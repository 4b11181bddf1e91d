/** Low-rank adapter (LoRA): W' = W + s·B·A. arXiv:2106.09685, eq. 3; rsLoRA: arXiv:2312.03732. @module */
import { ShapeError, type Tensor } from "../core/ir/mod.ts";
import { fill } from "../core/ir/mod.ts";
import { add, linear, matmul, mul, uniform } from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";

/** Trainable leaves: `a` f32[rank, in], `b` f32[out, rank]. */
export interface LowRankParams {
  readonly a: Tensor;
  readonly b: Tensor;
}

/** Options of {@linkcode lowRank}. */
export interface LowRankOptions {
  readonly rank: number;
  readonly alpha: number;
  /** rsLoRA: scale = alpha / √rank instead of alpha / rank. */
  readonly rankStabilised?: boolean;
}

/**
 * Add a rank-`rank` update to a frozen linear map.
 *
 * `a` starts uniform in ±1/√in (Kaiming-uniform, a = √5), `b` at zero, so the adapted map starts equal to the base.
 * Cost: 2·n·rank·(in + out) flops for x f32[n, in]. Trains rank·(in + out) numbers. B·A is formed only by `merge`.
 * Throws ShapeError for a rank that is not a whole number from 1 to min(in, out).
 */
export function lowRank({ rank, alpha, rankStabilised = false }: LowRankOptions): Adapter<LowRankParams> {
  const s = alpha / (rankStabilised ? Math.sqrt(rank) : rank);
  return {
    name: rankStabilised ? "rslora" : "lora",
    init: (key, { inDim, outDim }) => {
      if (!Number.isInteger(rank) || rank < 1 || rank > Math.min(inDim, outDim)) {
        throw new ShapeError(
          `Cannot adapt a map from ${inDim} to ${outDim} with rank ${rank}: use 1 to ${
            Math.min(inDim, outDim)
          }.`,
        );
      }
      const bound = 1 / Math.sqrt(inDim);
      return { a: uniform(key, [rank, inDim], -bound, bound), b: fill(0, [outDim, rank]) };
    },
    apply: ({ a, b }, base) => (x) => add(base(x), mul(linear(linear(x, a), b), s)),
    merge: ({ a, b }, weight) => add(weight, mul(matmul(b, a), s)),
  };
}
