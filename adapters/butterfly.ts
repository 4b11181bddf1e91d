/** Butterfly-orthogonal adapter (BOFT): W' = W·R, R orthogonal. arXiv:2311.06243; one factor is OFT, arXiv:2306.07280. @module */
import { fill, ShapeError, sizeOf, type Stage, type Tensor } from "../core/ir/mod.ts";
import {
  broadcastTo,
  cayley,
  cayleyNeumann,
  div,
  eye,
  type Key,
  le,
  mul,
  reshape,
  skewFromEntries,
  square,
  stages,
  uniform,
  where,
} from "../ops/mod.ts";
import { type Adapter, withRowSquares } from "./adapter.ts";

/** Parameters: `skew` f32[factors, in/block, block·(block−1)/2], the free entries of the skew blocks. */
export interface ButterflyParams {
  readonly skew: Tensor;
  /** f32[out]: multiplies the rows of the weight; starts at one. */
  readonly scale?: Tensor;
  /** Derived: the orthogonal blocks f32[factors·in·block], as `stages` reads them. */
  readonly blocks?: Tensor;
}

/** Options of {@linkcode butterfly}. */
export interface ButterflyOptions {
  /** Size of the orthogonal blocks, even when there are several factors; null or absent: the largest of 8, 4, 2 that fits. */
  readonly block?: number | null;
  /**
   * Number of butterfly factors m: features mix within groups of block·2^(m−1). Null or absent: 2 where they fit, else 1.
   */
  readonly factors?: number | null;
  /** Train a factor for each row of the weight too, as PEFT's BOFT does; then W' is no rotation of W. Default false. */
  readonly rowScale?: boolean;
  /** Multiplicative dropout: the share of blocks that a training step replaces by I. Default 0. */
  readonly dropout?: number;
  /**
   * How blocks come from skew matrices. "exact" (default) solves; a number is the count of terms of the Neumann series,
   * as PEFT's OFT has it: faster to write, but not orthogonal.
   */
  readonly cayley?: "exact" | number;
}

/**
 * Rotate the input of a frozen linear map: y = base(x·M), M = Q_{m−1}⋯Q₀, where factor i turns pairs of pieces of
 * block/2 features at distance 2^i by one orthogonal block Cayley(S) each.
 *
 * S starts at zero, so the adapted map starts equal to the base. Norms and singular values stay as they are at any S.
 * Cost: 2·n·in·m·block flops; trains m·in·(block−1)/2 numbers. Throws ShapeError where `in` is not divisible by
 * block·2^(m−1), or the block is odd with several factors.
 */
export function butterfly(options: ButterflyOptions = {}): Adapter<ButterflyParams> {
  const { rowScale = false, dropout = 0, cayley: mode = "exact" } = options;
  butterflyStages(options.block ?? 2, options.factors ?? 1);
  const list = ({ skew }: ButterflyParams): Stage[] => {
    const { block, factors } = sizesOf(skew);
    return butterflyStages(block, factors);
  };
  /** The blocks Q one after the other, as `stages` wants them: skew [..., m, in/b, b(b−1)/2] → [..., m·in·b]. */
  const orthogonal = (skew: Tensor): Tensor => {
    const s = skewFromEntries(skew, sizesOf(skew).block);
    const q = mode === "exact" ? cayley(s) : cayleyNeumann(s, mode);
    return reshape(q, [...skew.shape.slice(0, -3), sizeOf(q.shape.slice(-4))]);
  };
  const blocks = ({ skew, blocks: known }: ButterflyParams, key?: Key): Tensor => {
    const whole = known ?? orthogonal(skew);
    return key && dropout > 0 ? dropBlocks(whole, sizesOf(skew).block, dropout, key) : whole;
  };
  return {
    name: options.factors === 1 ? "oft" : "boft",
    init: (_key, { inDim, outDim }) => {
      const { block, factors } = butterflySizes(inDim, options);
      const group = block * 2 ** (factors - 1);
      if (inDim % group !== 0) {
        throw new ShapeError(
          `Cannot rotate ${inDim} features by ${factors} butterfly factors of ${block}×${block} blocks: ` +
            `${inDim} is not divisible by block·2^(factors−1) = ${group}. ${suggest(inDim, factors)}`,
        );
      }
      const skew = fill(0, [factors, inDim / block, (block * (block - 1)) / 2]);
      return rowScale ? { skew, scale: fill(1, [outDim]) } : { skew };
    },
    // The transposed stages multiply a row by Q_{m−1} first and by Q₀ last.
    apply: (params, base, key) => {
      const { scale } = params;
      const turned = (x: Tensor): Tensor =>
        base(stages(x, blocks(params, key), { stages: list(params), transposed: true }));
      // A rotation of the input keeps the norms of the weight's rows; a truncated series does not.
      const known = mode === "exact" ? base.rowSquares : undefined;
      if (!scale) return withRowSquares(turned, known);
      return withRowSquares((x) => mul(turned(x), scale), known && (() => mul(known(), square(scale))));
    },
    merge: (params, weight) => {
      const turned = stages(weight, blocks(params), { stages: list(params) });
      return params.scale ? mul(turned, reshape(params.scale, [params.scale.shape[0]!, 1])) : turned;
    },
    ...(mode === "exact"
      ? {
        unmerge: (params: ButterflyParams, merged: Tensor) => {
          const turned = params.scale
            ? div(merged, reshape(params.scale, [params.scale.shape[0]!, 1]))
            : merged;
          return stages(turned, blocks(params), { stages: list(params), transposed: true });
        },
      }
      : {}),
    ...(rowScale
      ? {}
      : { scaled: ({ skew }: ButterflyParams, strength: Tensor) => ({ skew: mul(skew, strength) }) }),
    derive: (params) => ({ ...params, blocks: orthogonal(params.skew) }),
    rate: (path) => path === "scale" ? "plain" : "orthogonal",
  };
}

/** Blocks n×n one after the other, each replaced by I with this probability. */
function dropBlocks(blocks: Tensor, n: number, probability: number, key: Key): Tensor {
  const count = blocks.shape[0]! / (n * n), shape = [count, n, n];
  const kept = broadcastTo(reshape(le(probability, uniform(key, [count])), [count, 1, 1]), shape);
  return reshape(where(kept, reshape(blocks, shape), eye(shape)), blocks.shape);
}

/** Block and factors that a parameter's shape [factors, in/block, block·(block−1)/2] tells. */
function sizesOf({ shape }: Tensor): { readonly block: number; readonly factors: number } {
  return { factors: shape.at(-3)!, block: (1 + Math.sqrt(1 + 8 * shape.at(-1)!)) / 2 };
}

/** Block and factors for `inDim` features: as asked, what was left open chosen to fit; larger blocks before more factors. */
export function butterflySizes(
  inDim: number,
  { block, factors }: Pick<ButterflyOptions, "block" | "factors">,
): { readonly block: number; readonly factors: number } {
  const choices = (block ? [block] : [8, 4, 2]).flatMap((b) =>
    (factors ? [factors] : [2, 1]).map((m) => ({ block: b, factors: m }))
  );
  // Where nothing fits, the adapter says so.
  return choices.find((c) =>
    inDim % (c.block * 2 ** (c.factors - 1)) === 0 && (c.factors === 1 || c.block % 2 === 0)
  ) ?? choices.at(-1)!;
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
