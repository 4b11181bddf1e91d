/** The hybrid: a low-rank and an orthogonal branch, mixed by their gradient norms. After arXiv:2507.18076. @module */
import type { Adapter } from "./adapter.ts";
import { butterfly, type ButterflyOptions, type ButterflyParams } from "./butterfly.ts";
import { lowRank, type LowRankOptions, type LowRankParams } from "./low_rank.ts";
import { gradNormShare, mix, type MixOptions, type MixParams } from "./mix.ts";

/** Parameters of {@linkcode hybrid}: the low-rank branch (0) and the orthogonal one (1). */
export type HybridParams = MixParams<readonly [LowRankParams, ButterflyParams]>;

/** Options of {@linkcode hybrid}. */
export interface HybridOptions extends LowRankOptions, ButterflyOptions, Omit<MixOptions, "outermost"> {
  /** What the low-rank branch reads: W' = (W + s·B·A)·R (default) or W' = W·R + s·B·A. */
  readonly input?: "rotated" | "raw";
}

/**
 * LoRA-GA (another start if asked) and BOFT, both at full strength: W' = (W + s·(B·A − B₀·A₀))·R. The steps of A and B
 * are multiplied by λ = g_L / (g_L + g_O), that of R by 1 − λ, for each adapted map (see {@linkcode mix}).
 */
export function hybrid({ input = "rotated", ...options }: HybridOptions): Adapter<HybridParams> {
  const branches = [lowRank({ start: "lora-ga", ...options }), butterfly(options)] as const;
  const outermost = input === "rotated" ? "last" : "first";
  return { ...mix(branches, gradNormShare, { ...options, outermost }), name: "hybrid" };
}
