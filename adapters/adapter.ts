/** The adapter algebra: what an adapter is, and the monoid of adapted maps. @module */
import type { Monoid } from "fp-ts/Monoid.js";
import { ShapeError, showAval, type Tensor } from "../core/ir/mod.ts";
import { type Key, linear, square, sum } from "../ops/mod.ts";

/** A linear map over the last axis: x f32[..., in] → y f32[..., out]. No bias. Any function of one tensor is one. */
export interface LinearMap {
  (x: Tensor): Tensor;
  /** Squared norms of the rows of its weight, f32[out], where they are known without forming the weight. */
  readonly rowSquares?: () => Tensor;
}

/** Sizes of the adapted linear map. */
export interface LinearDims {
  readonly inDim: number;
  readonly outDim: number;
}

/** Which learning rate a parameter takes: rotations want a lower one; frozen ones are kept as they start. */
export type Rate = "plain" | "orthogonal" | "frozen";

/** A truncated factorisation of a matrix [out, in] ≈ u·diag(s)·vᵀ: u f32[out, k], s f32[k], v f32[in, k]. */
export interface Factors {
  readonly u: Tensor;
  readonly s: Tensor;
  readonly v: Tensor;
}

/** A factorisation that an adapter's start needs. */
export interface Ask {
  /** Of the frozen weight, or of the mean gradient of the loss for it. */
  readonly of: "weight" | "gradient";
  /** Leading singular triples, or the first columns of Q and rows of R (then s = 1, v = Rᵀ). */
  readonly by: "svd" | "qr";
  /** Number of columns k. */
  readonly columns: number;
}

/** Where an adapter starts: the sizes of the map, its frozen weight [out, in], and the factors that were asked for. */
export interface Site extends LinearDims {
  readonly weight: Tensor;
  readonly factors: readonly Factors[];
}

/**
 * A trainable transformation of a frozen linear map. `P` is a tree of tensors.
 *
 * Three pure functions make an adapter; gradients and fused kernels follow.
 */
export interface Adapter<P> {
  readonly name: string;
  /** Initial parameters. Law: `apply(init(key, site), f) = f`. Throws ShapeError for sizes that it cannot adapt. */
  readonly init: (key: Key, site: Site) => P;
  /**
   * Adapted map, as a graph. Never forms the adapted weight. `key` is this training step's randomness, for dropout;
   * absent outside training.
   */
  readonly apply: (params: P, base: LinearMap, key?: Key) => LinearMap;
  /** Adapted weight [out, in]. Law: `apply(p, x ↦ x·Wᵀ)(x) = x·merge(p, W)ᵀ`. */
  readonly merge: (params: P, weight: Tensor) => Tensor;
  /** The weight before merging. Law: `unmerge(p, merge(p, W)) = W`. Absent where no closed form exists. */
  readonly unmerge?: (params: P, merged: Tensor) => Tensor;
  /**
   * The parameters with what follows from them alone, such as blocks from skew matrices: computed for all maps of equal
   * sizes at once. Leaves may have further leading axes, over which it must map. Law: `apply(derive(p), f) = apply(p, f)`.
   */
  readonly derive?: (params: P) => P;
  /**
   * Parameters of the same kind at a strength f32[] from 0 (identity) to 1 (as they are), for mixing generators. Absent
   * where the parameters have no such scale.
   */
  readonly scaled?: (params: P, strength: Tensor) => P;
  /** Learning rate of the leaf at `path` (keys joined by "."); "plain" where not given. */
  readonly rate?: (path: string) => Rate;
  /** Factorisations that `init` finds in `site.factors`, in order; none where not given. */
  readonly asks?: (dims: LinearDims) => readonly Ask[];
  /** How the updates of its branches are mixed, for adapters that contain a `mix`. */
  readonly mixing?: readonly Mixing[];
}

/**
 * A rule that weighs branches by their gradients. `norms` has one vector f32[modules] a branch: the Frobenius norm of
 * the branch's gradient over the root of its number of parameters; the result has the weights in the same layout,
 * non-negative and summing to 1 for each module.
 */
export type MixRule = (norms: readonly Tensor[]) => readonly Tensor[];

/** Where the weights λ of mixed branches act. */
export type MixSpace =
  /** On the optimiser's step: branch i's is multiplied by λᵢ; the map itself does not depend on λ. */
  | "update"
  /** On the map: the sum of λᵢ times the change that branch i alone makes. */
  | "delta"
  /** On the generators: branch i's parameters are scaled by λᵢ, so that rotations stay rotations. */
  | "generator";

/** How the branches of a mixed adapter share. */
export interface Mixing {
  /** Path of the mix among the adapter's parameters, ending in "."; empty for the adapter itself. */
  readonly path: string;
  readonly rule: MixRule;
  /** Names of the branches; branch i holds the leaves under `branches.i.`, the weights are the leaf `weights`. */
  readonly branches: readonly string[];
  readonly space: MixSpace;
  /** Whether each adapted map has its own weights, or all maps of a decoder layer share theirs. */
  readonly scope: "module" | "layer";
  /** Share of the old weights kept at each step, in [0, 1). */
  readonly ema: number;
  /** Bounds of the smoothed weights; symmetric, so that two branches still sum to 1. */
  readonly clamp: readonly [number, number];
}

/** The site of a map with this frozen weight [out, in]. Throws ShapeError when it is no matrix. */
export function siteOf(weight: Tensor, factors: readonly Factors[] = []): Site {
  const [outDim, inDim, more] = weight.shape;
  if (outDim === undefined || inDim === undefined || more !== undefined) {
    throw new ShapeError(`Cannot adapt ${showAval(weight.aval)}: the weight of a linear map is [out, in].`);
  }
  return { inDim, outDim, weight, factors };
}

/** Adapted maps with parameters already bound form a monoid under composition. */
export const boundMonoid: Monoid<(base: LinearMap) => LinearMap> = {
  empty: (base) => base,
  concat: (outer, inner) => (base) => outer(inner(base)),
};

/** A linear map that also knows the squared norms of its weight's rows. */
export function withRowSquares(
  map: (x: Tensor) => Tensor,
  rowSquares: (() => Tensor) | undefined,
): LinearMap {
  // A fresh function, so that the map that was given stays as it is.
  const own = (x: Tensor): Tensor => map(x);
  return rowSquares ? Object.assign(own, { rowSquares }) : own;
}

/** The linear map of a weight [out, in], which knows the norms of its rows. */
export function baseMap(weight: Tensor): LinearMap {
  return withRowSquares((x) => linear(x, weight), () => sum(square(weight), { axes: [1] }));
}
