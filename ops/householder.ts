/** Products of Householder reflections in compact WY form. Schreiber and Van Loan, SIAM J. Sci. Stat. Comput. 10(1), 1989. @module */
import { ShapeError, showAval, type Tensor } from "../core/ir/mod.ts";
import { mul, sub } from "./arithmetic.ts";
import { eq, le } from "./compare.ts";
import { linear, matmul } from "./contract.ts";
import { iota } from "./iota.ts";
import { solve } from "./solve.ts";
import { reshape, slice, transpose } from "./views.ts";
import { where } from "./where.ts";

/** A product of reflections H = I − u·v: u f32[..., d, r], v f32[..., r, d]. */
export interface CompactWy {
  readonly u: Tensor;
  readonly v: Tensor;
}

/** Options of {@linkcode compactWy}. */
export interface CompactWyOptions {
  /** Make the columns orthonormal first, by Gram and Schmidt: H = I − 2·P, P the projection on what they span. */
  readonly gramSchmidt?: boolean;
}

/**
 * H = H₁·H₂⋯H_r with Hᵢ = I − 2·uᵢ·uᵢᵀ/‖uᵢ‖² for the columns of u f32[..., d, r], as I − U·T·Uᵀ: v = T·Uᵀ by one solve of r
 * unknowns, where T⁻¹ is half the diagonal of G = UᵀU and the part of G above it. For unit columns that is ½·I plus the
 * upper part; with the diagonal of G itself T⁻¹ + T⁻ᵀ = G holds for columns of any length, and that is what makes H
 * orthogonal: rounding of the lengths cannot spoil it. T⁻¹ is triangular, so that its pivots are ½‖uᵢ‖² for any vectors,
 * parallel ones too. With `gramSchmidt` T⁻¹ = ½·G, and the columns must be independent. No column may be zero.
 * Cost: 2·d·r² flops. Throws ShapeError where u has no two axes.
 */
export function compactWy(u: Tensor, { gramSchmidt = false }: CompactWyOptions = {}): CompactWy {
  if (u.shape.length < 2) {
    throw new ShapeError(
      `Cannot reflect along ${showAval(u.aval)}: give the vectors as the columns of a matrix [d, r].`,
    );
  }
  const rows = transpose(u), gram = matmul(rows, u), half = mul(gram, 0.5);
  if (gramSchmidt) return { u, v: solve(half, rows) };
  const last = gram.shape.length - 1, i = iota(gram.shape, last - 1), j = iota(gram.shape, last);
  return { u, v: solve(where(eq(i, j), half, where(le(i, j), gram, 0)), rows) };
}

/** Product number `i` of several: u f32[n, d, r], v f32[n, r, d]. */
export function wyAt({ u, v }: CompactWy, i: number): CompactWy {
  const at = (x: Tensor): Tensor => {
    const shape = x.shape.slice(1);
    return reshape(slice(x, { start: [i, ...shape.map(() => 0)], stop: [i + 1, ...shape] }), shape);
  };
  return { u: at(u), v: at(v) };
}

/**
 * x·H along the last axis, x f32[..., d] and one H of {@linkcode compactWy}; `transposed`: x·Hᵀ = x·H⁻¹. Two products with
 * thin matrices, 4·d·r flops a row; no d×d matrix and no chain of updates of rank 1.
 */
export function reflect(
  x: Tensor,
  { u, v }: CompactWy,
  { transposed = false }: { readonly transposed?: boolean } = {},
): Tensor {
  return sub(x, transposed ? linear(linear(x, v), u) : matmul(matmul(x, u), v));
}
