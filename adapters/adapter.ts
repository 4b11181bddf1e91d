/** The adapter algebra: what an adapter is, and the monoid of adapted maps. @module */
import type { Monoid } from "fp-ts/Monoid.js";
import type { Tensor } from "../core/ir/mod.ts";
import type { Key } from "../ops/mod.ts";

/** A linear map over the last axis: x f32[..., in] → y f32[..., out]. No bias. */
export type LinearMap = (x: Tensor) => Tensor;

/** Sizes of the adapted linear map. */
export interface LinearDims {
  readonly inDim: number;
  readonly outDim: number;
}

/** Which learning rate a parameter takes: rotations want a lower one. */
export type Rate = "plain" | "orthogonal";

/**
 * A trainable transformation of a frozen linear map. `P` is a tree of tensors.
 *
 * Three pure functions make an adapter; gradients and fused kernels follow.
 */
export interface Adapter<P> {
  readonly name: string;
  /** Initial parameters. Law: `apply(init(key, dims), f) = f`. Throws ShapeError for sizes that it cannot adapt. */
  readonly init: (key: Key, dims: LinearDims) => P;
  /** Adapted map, as a graph. Never forms the adapted weight. */
  readonly apply: (params: P, base: LinearMap) => LinearMap;
  /** Adapted weight [out, in]. Law: `apply(p, x ↦ x·Wᵀ)(x) = x·merge(p, W)ᵀ`. */
  readonly merge: (params: P, weight: Tensor) => Tensor;
  /** Learning rate of the leaf at `path` (keys joined by "."); "plain" where not given. */
  readonly rate?: (path: string) => Rate;
  /** How the updates of its branches are mixed, for adapters made by `mix`. */
  readonly mixing?: Mixing;
}

/**
 * A rule that weighs branches by their gradients. `norms` has one vector f32[modules] a branch: the Frobenius norm of
 * the branch's gradient over the root of its number of parameters; the result has the weights in the same layout,
 * non-negative and summing to 1 for each module.
 */
export type MixRule = (norms: readonly Tensor[]) => readonly Tensor[];

/** Mixing in update space: the optimiser's step of branch i is multiplied by weight i. */
export interface Mixing {
  readonly rule: MixRule;
  /** Number of branches; branch i holds the leaves whose path starts with `i`. */
  readonly branches: number;
  /** Share of the old weights kept at each step, in [0, 1). */
  readonly ema: number;
  /** Bounds of the smoothed weights; symmetric, so that two branches still sum to 1. */
  readonly clamp: readonly [number, number];
}

/** Adapted maps with parameters already bound form a monoid under composition. */
export const boundMonoid: Monoid<(base: LinearMap) => LinearMap> = {
  empty: (base) => base,
  concat: (outer, inner) => (base) => outer(inner(base)),
};
