/** Where low-rank adapters start: at zero, or at factors of the weight or of its gradient. @module */
import { mul, reshape, slice, sqrt, transpose } from "../ops/mod.ts";
import type { Tensor } from "../core/ir/mod.ts";
import type { Ask, LinearDims, Site } from "./adapter.ts";

/** Start of a low-rank adapter. */
export type LowRankStart =
  /** A random, B zero. */
  | "zero"
  /** Singular vectors of the loss's gradient, so that the first step goes where full fine-tuning would. */
  | "lora-ga"
  /** Principal singular triples of the weight. */
  | "pissa"
  /** First columns of Q and rows of R of the weight. */
  | "olora";

/** What a start needs, and makes of it. */
export interface StartRules {
  readonly asks: (dims: LinearDims) => readonly Ask[];
  /** A and B as they start; null where no factors are needed. */
  readonly factors: (site: Site) => { readonly a: Tensor; readonly b: Tensor } | null;
}

/** Options of {@linkcode startFrom}: those of `lowRank`, and its scale s. */
export interface StartOptions {
  readonly start: LowRankStart;
  readonly rank: number;
  readonly scale: number;
  readonly gamma?: number;
  readonly variant?: "paper" | "peft";
}

/**
 * Rules of a start, for rank r and scale s. With the gradient's U, S, V:
 * "lora-ga" A = V₁..ᵣᵀ·c, B = Uᵣ₊₁..₂ᵣ·c, c = out^¼/√γ (arXiv:2407.05000, Algorithm 1; PEFT: A without c, B·S). With the
 * weight's: "pissa" A = √(S/s)·Vᵀ, B = U·√(S/s) (arXiv:2404.02948, eq. 2–3). "olora" A = R₁..ᵣ, B = Q₁..ᵣ
 * (arXiv:2406.01775).
 */
export function startFrom(
  { start, rank, scale, gamma = 16, variant = "paper" }: StartOptions,
): StartRules {
  const columns = (x: Tensor, from: number): Tensor =>
    slice(x, { start: [0, from], stop: [x.shape[0]!, from + rank] });
  switch (start) {
    case "zero":
      return { asks: () => [], factors: () => null };
    case "lora-ga":
      return {
        asks: () => [{ of: "gradient", by: "svd", columns: 2 * rank }],
        factors: ({ outDim, factors: [found] }) => {
          const { u, s, v } = found!;
          const c = outDim ** 0.25 / Math.sqrt(gamma);
          const a = transpose(columns(v, 0)), b = mul(columns(u, rank), c);
          if (variant === "paper") return { a: mul(a, c), b };
          return { a, b: mul(b, reshape(slice(s, { start: [rank], stop: [2 * rank] }), [1, rank])) };
        },
      };
    case "pissa":
      return {
        asks: () => [{ of: "weight", by: "svd", columns: rank }],
        factors: ({ factors: [found] }) => {
          const { u, s, v } = found!;
          const root = sqrt(mul(s, 1 / scale));
          return { a: mul(transpose(v), reshape(root, [rank, 1])), b: mul(u, reshape(root, [1, rank])) };
        },
      };
    case "olora":
      return {
        asks: () => [{ of: "weight", by: "qr", columns: rank }],
        factors: ({ factors: [found] }) => ({ a: transpose(found!.v), b: found!.u }),
      };
  }
}
