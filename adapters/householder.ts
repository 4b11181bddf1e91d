/** Householder reflection adapter (HRA): W' = W·H₁·H₂⋯H_r. arXiv:2405.17484, eq. 3. @module */
import { ShapeError, type Tensor } from "../core/ir/mod.ts";
import { broadcastTo, type CompactWy, compactWy, type Key, reflect, reshape, uniform } from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";

/** Parameters: `u` f32[in, reflections], a vector in each column; lengths do not matter. */
export interface HouseholderParams {
  readonly u: Tensor;
  /** Derived: T·Uᵀ f32[reflections, in] of the compact WY form. */
  readonly v?: Tensor;
}

/** Options of {@linkcode householder}. */
export interface HouseholderOptions {
  /** Number of reflections r; even where they start in pairs. */
  readonly reflections: number;
  /**
   * Whether vectors start as equal neighbours, which cancel; default true without `gramSchmidt`. Else they start at random,
   * NOT at the base map: for values that come from elsewhere.
   */
  readonly paired?: boolean;
  /**
   * Make the vectors orthonormal first, in every step (`apply_GS` of PEFT). Pairs of equal vectors have no orthonormal
   * basis, so this variant starts at random vectors, and NOT at the base map.
   */
  readonly gramSchmidt?: boolean;
}

/**
 * Turn the input of a frozen linear map by a product of reflections: y = base(x·Hᵀ), H = H₁·H₂⋯H_r, in compact WY form.
 *
 * Vectors start in equal neighbours, each pair uniform in ±√(2/r) as in PEFT's `hra_u`, so that H = I and the adapted map
 * starts equal to the base. Norms and singular values stay as they are at any vectors but zero.
 * Cost: 4·n·in·r flops; trains in·r numbers. Throws ShapeError for a number of reflections that exceeds `in`, or is odd where
 * they start in pairs: PEFT only warns of an odd one, and starts at another map.
 */
export function householder(
  { reflections, gramSchmidt = false, paired = !gramSchmidt }: HouseholderOptions,
): Adapter<HouseholderParams> {
  const wy = ({ u, v }: HouseholderParams): CompactWy => v ? { u, v } : compactWy(u, { gramSchmidt });
  return {
    name: "hra",
    init: (key, { inDim }) => {
      requireReflections(reflections, inDim, paired);
      const copies = paired ? 2 : 1;
      return { u: vectors(key, inDim, reflections / copies, copies) };
    },
    apply: (params, base) => (x) => base(reflect(x, wy(params), { transposed: true })),
    merge: (params, weight) => reflect(weight, wy(params)),
    unmerge: (params, merged) => reflect(merged, wy(params), { transposed: true }),
    derive: (params) => ({ ...params, v: wy(params).v }),
    rate: () => "orthogonal",
  };
}

/** `count` random vectors, each in `copies` neighbouring columns: f32[in, count·copies]. */
function vectors(key: Key, inDim: number, count: number, copies: number): Tensor {
  const bound = 1 / Math.sqrt(count);
  const once = uniform(key, [inDim, count], -bound, bound);
  return reshape(broadcastTo(reshape(once, [inDim, count, 1]), [inDim, count, copies]), [
    inDim,
    count * copies,
  ]);
}

function requireReflections(reflections: number, inDim: number, paired: boolean): void {
  const step = paired ? 2 : 1;
  if (
    Number.isInteger(reflections) && reflections >= step && reflections % step === 0 && reflections <= inDim
  ) {
    return;
  }
  throw new ShapeError(
    `Cannot adapt a map of ${inDim} features with ${reflections} reflections: ` +
      (paired
        ? `they start in pairs that cancel, so use an even number from 2 to ${inDim - inDim % 2}.`
        : `use 1 to ${inDim}.`),
  );
}
