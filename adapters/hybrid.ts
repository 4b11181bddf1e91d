/** The hybrid: a low-rank and an orthogonal branch, mixed by their gradient norms. After arXiv:2507.18076. @module */
import type { Adapter } from "./adapter.ts";
import { butterfly, type ButterflyOptions, type ButterflyParams } from "./butterfly.ts";
import { lowRank, type LowRankOptions, type LowRankParams } from "./low_rank.ts";
import { gradNormShare, mix, type MixOptions } from "./mix.ts";

/** Parameters of {@linkcode hybrid}: the low-rank branch (0) and the orthogonal one (1). */
export type HybridParams = readonly [LowRankParams, ButterflyParams];

/**
 * W' = (W + s·B·A)·R: both branches at full strength, the low-rank one on the rotated input. The steps of A and B are
 * multiplied by λ = g_L / (g_L + g_O), that of R by 1 − λ, for each adapted layer (see {@linkcode mix}).
 */
export function hybrid(options: LowRankOptions & ButterflyOptions & MixOptions): Adapter<HybridParams> {
  return { ...mix([lowRank(options), butterfly(options)], gradNormShare, options), name: "hybrid" };
}
