/** Butterfly-orthogonal adapter (BOFT): W' = W·R, R orthogonal. arXiv:2311.06243; one factor is OFT, arXiv:2306.07280. @module */
import { fill, ShapeError, type Stage, type Tensor } from "../core/ir/mod.ts";
import { cayley, reshape, skewFromEntries, stages } from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";

/** Trainable leaf: `skew` f32[factors, in/block, block·(block−1)/2], the free entries of the skew blocks. */
export interface ButterflyParams {
  readonly skew: Tensor;
}

/** Options of {@linkcode butterfly}. */
export interface ButterflyOptions {
  /** Size of the orthogonal blocks; even when there are several factors. */
  readonly block: number;
  /** Number of butterfly factors m; features mix within groups of block·2^(m−1). */
  readonly factors: number;
}

/**
 * Rotate the input of a frozen linear map: y = base(x·M), M = Q_{m−1}⋯Q₀, where factor i turns pairs of pieces of
 * block/2 features at distance 2^i by one orthogonal block Cayley(S) each.
 *
 * S starts at zero, so the adapted map starts equal to the base. Norms and singular values stay as they are at any S.
 * Cost: 2·n·in·m·block flops; trains m·in·(block−1)/2 numbers. Throws ShapeError where `in` is not divisible by
 * block·2^(m−1), or the block is odd with several factors.
 */
export function butterfly({ block, factors }: ButterflyOptions): Adapter<ButterflyParams> {
  const list = butterflyStages(block, factors);
  // [factors, in/block, …] → the blocks Q one after the other, as `stages` wants them.
  const blocks = ({ skew }: ButterflyParams): Tensor => {
    const q = cayley(skewFromEntries(skew, block));
    return reshape(q, [q.shape.reduce((n, d) => n * d, 1)]);
  };
  return {
    name: factors === 1 ? "oft" : "boft",
    init: (_key, { inDim }) => {
      const group = block * 2 ** (factors - 1);
      if (inDim % group !== 0) {
        throw new ShapeError(
          `Cannot rotate ${inDim} features by ${factors} butterfly factors of ${block}×${block} blocks: ` +
            `${inDim} is not divisible by block·2^(factors−1) = ${group}. ${suggest(inDim, factors)}`,
        );
      }
      return { skew: fill(0, [factors, inDim / block, (block * (block - 1)) / 2]) };
    },
    // The transposed stages multiply a row by Q_{m−1} first and by Q₀ last.
    apply: (params, base) => (x) => base(stages(x, blocks(params), { stages: list, transposed: true })),
    merge: (params, weight) => stages(weight, blocks(params), { stages: list }),
    rate: () => "orthogonal",
  };
}

/** The stages of a butterfly: factor i mixes pairs of pieces of block/2 at distance 2^i; a single factor whole blocks. */
export function butterflyStages(block: number, factors: number): Stage[] {
  if (!Number.isInteger(block) || block < 2 || !Number.isInteger(factors) || factors < 1) {
    throw new ShapeError(
      `Cannot make ${factors} butterfly factors of ${block}×${block} blocks: use a block of at least 2 and at least 1 factor.`,
    );
  }
  if (factors === 1) return [{ radix: 1, stride: 1, piece: block }];
  if (block % 2 !== 0) {
    throw new ShapeError(
      `Cannot halve blocks of ${block}: with ${factors} factors the block must be even. Use an even block, or 1 factor.`,
    );
  }
  return Array.from({ length: factors }, (_, i) => ({ radix: 2, stride: 2 ** i, piece: block / 2 }));
}

/** Largest block that is suggested. */
const MAX_SUGGESTED = 64;

/** A way out for a map of `inDim` features: blocks that fit with these factors, or with fewer. */
function suggest(inDim: number, factors: number): string {
  for (let m = factors; m >= 1; m--) {
    const blocks = Array.from({ length: MAX_SUGGESTED - 1 }, (_, i) => i + 2)
      .filter((b) => (m === 1 || b % 2 === 0) && inDim % (b * 2 ** (m - 1)) === 0);
    if (blocks.length > 0) {
      return `With ${m} ${m === 1 ? "factor" : "factors"} a block of ${blocks.join(", ")} fits.`;
    }
  }
  return `No block up to ${MAX_SUGGESTED} fits: leave this map out of the adapter's pattern.`;
}
