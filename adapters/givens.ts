/** Adapter of Givens rotations: W' = W·G, layers of plane rotations at strides 1, 2, 4, … (EUNN, arXiv:1612.05231). @module */
import { fill, ShapeError, sizeOf, type Stage, type Tensor } from "../core/ir/mod.ts";
import { add, cos, eye, iota, mul, reshape, sin, stages, sub } from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";

/** Parameters: `angles` f32[layers, in/2] in radians, one for each pair of features of a layer. */
export interface GivensParams {
  readonly angles: Tensor;
  /** Derived: the rotations f32[layers·in·2], as `stages` reads them. */
  readonly blocks?: Tensor;
}

/** Options of {@linkcode givens}. */
export interface GivensOptions {
  /** Number of layers: features mix within groups of 2^layers. Null or absent: as many as fit a map, at most 3. */
  readonly layers?: number | null;
}

/**
 * Rotate the input of a frozen linear map: y = base(G·x), G = G_{L−1}⋯G₁·G₀, where layer i turns the pairs of features at
 * distance 2^i, each pair (a, b) into (a·cos θ − b·sin θ, a·sin θ + b·cos θ), as in a fast Fourier transform.
 *
 * Angles start at zero, so the adapted map starts equal to the base. Norms and singular values stay as they are. One
 * `stages` op of radix 2. Cost: 4·n·in·layers flops; trains layers·in/2 numbers. Throws ShapeError where `in` is not
 * divisible by 2^layers.
 */
export function givens({ layers: asked = null }: GivensOptions = {}): Adapter<GivensParams> {
  if (asked !== null && (!Number.isInteger(asked) || asked < 1)) {
    throw new ShapeError(
      `Cannot make ${asked} layers of Givens rotations: use a whole number of at least 1.`,
    );
  }
  const list = ({ angles }: GivensParams): Stage[] =>
    Array.from({ length: angles.shape.at(-2)! }, (_, i) => ({ radix: 2, stride: 2 ** i, piece: 1 }));
  return {
    name: "givens",
    init: (_key, { inDim }) => {
      const layers = asked ?? Math.max(1, Math.min(MOST_LAYERS, mostLayers(inDim)));
      if (inDim % 2 ** layers !== 0) {
        throw new ShapeError(
          `Cannot rotate ${inDim} features by ${layers} layers of Givens rotations: the last one pairs features at distance ` +
            `${2 ** (layers - 1)}, and ${inDim} is not divisible by 2^layers = ${2 ** layers}. ${
              suggest(inDim)
            }`,
        );
      }
      return { angles: fill(0, [layers, inDim / 2]) };
    },
    apply: (params, base) => (x) => base(stages(x, blocks(params), { stages: list(params) })),
    merge: (params, weight) => stages(weight, blocks(params), { stages: list(params), transposed: true }),
    unmerge: (params, merged) => stages(merged, blocks(params), { stages: list(params) }),
    scaled: ({ angles }, strength) => ({ angles: mul(angles, strength) }),
    derive: (params) => ({ ...params, blocks: blocks(params) }),
    rate: () => "orthogonal",
  };
}

/** The 2×2 rotations one after the other, as `stages` wants them: cos θ·I + sin θ·J; angles [..., L, in/2] → [..., L·in·2]. */
function blocks({ angles, blocks: known }: GivensParams): Tensor {
  if (known) return known;
  const at = reshape(angles, [...angles.shape, 1, 1]);
  const quarter = sub(iota([2, 2], 0, "f32"), iota([2, 2], 1, "f32"));
  const rotations = add(mul(cos(at), eye([2, 2])), mul(sin(at), quarter));
  return reshape(rotations, [...angles.shape.slice(0, -2), sizeOf(rotations.shape.slice(-4))]);
}

/** Layers where the number is left open. */
const MOST_LAYERS = 3;

function mostLayers(inDim: number): number {
  let most = 0;
  while (inDim % 2 ** (most + 1) === 0) most++;
  return most;
}

function suggest(inDim: number): string {
  const most = mostLayers(inDim);
  if (most === 0) return "It is odd: leave this map out of the adapter's pattern, or use householder.";
  return most === 1 ? "Use 1 layer, or householder." : `Use 1 to ${most} layers.`;
}
