/** What makes the columns of a thin matrix orthonormal, from its small Gram matrix f32[q, q] on the host. @module */
import { EigenvalueDecomposition, Matrix } from "ml-matrix";

/** From which distance on neither factors nor eigenvalues are needed. */
const NEAR = 0.1;
/** Least pivot, of a Gram matrix with ones on the diagonal, that stands well above what f32 rounded away (about 10⁻⁶). */
const CLEAR = 1e-4;

/**
 * T f32[q, q] for the Gram matrix yᵀ·y f32[q, q], row-major: y·T is orthonormal. From Cholesky's factor where all columns
 * are clearly independent, else from eigenvalues, which take longer. Throws RangeError for numbers that are not finite.
 */
export function toUnit(gram: Float32Array, q: number): Float32Array {
  return inverseCholesky(gram, q) ?? inverseRoot(gram, q);
}

/** R⁻¹ for the Gram matrix Rᵀ·R with R upper triangular; null where a column is hardly more than a mix of those before. */
function inverseCholesky(gram: Float32Array, q: number): Float32Array | null {
  const lengths = Array.from({ length: q }, (_, i) => Math.sqrt(gram[i * q + i]!));
  const rows = lengths.map((_, i) => new Float64Array(gram.subarray(i * q, (i + 1) * q)));
  rows.forEach((row, i) => row.forEach((value, j) => row[j] = value / (lengths[i]! * lengths[j]!)));
  for (let i = 0; i < q; i++) {
    const row = rows[i]!;
    // Written so that what is not a number ends here as well.
    if (!(row[i]! > CLEAR)) return null;
    const pivot = Math.sqrt(row[i]!);
    for (let j = i; j < q; j++) row[j]! /= pivot;
    for (let k = i + 1; k < q; k++) takeTimes(rows[k]!, row, row[k]!, k);
  }
  // From the last row up: what is left of a unit vector when the rows below have had their share.
  const inverse = Array.from({ length: q }, () => new Float64Array(q));
  for (let i = q - 1; i >= 0; i--) {
    const row = inverse[i]!, pivot = rows[i]![i]!;
    row[i] = 1;
    for (let k = i + 1; k < q; k++) takeTimes(row, inverse[k]!, rows[i]![k]!, k);
    for (let j = i; j < q; j++) row[j]! /= pivot;
  }
  const result = new Float32Array(q * q);
  inverse.forEach((row, i) => result.set(row.map((value) => value / lengths[i]!), i * q));
  return result;
}

/** `from` minus `times` · `row`, from place `start` on. */
function takeTimes(from: Float64Array, row: Float64Array, times: number, start: number): void {
  for (let j = start; j < from.length; j++) from[j]! -= times * row[j]!;
}

/** V·D^(−½) for the Gram matrix V·D·Vᵀ; directions without weight stay short. Throws RangeError as {@linkcode square}. */
function inverseRoot(gram: Float32Array, q: number): Float32Array {
  const { realEigenvalues: d, eigenvectorMatrix: v } = new EigenvalueDecomposition(square(gram, q), {
    assumeSymmetric: true,
  });
  const least = Math.max(...d) * 1e-7;
  const lengths = d.map((value) => (least > 0 ? Math.sqrt(Math.max(value, least)) : 1));
  const scaled = new Float32Array(q * q);
  for (let i = 0; i < q; i++) {
    const row = v.getRow(i);
    for (let j = 0; j < q; j++) scaled[i * q + j] = row[j]! / lengths[j]!;
  }
  return scaled;
}

/** Whether a step of {@linkcode towardsUnit} squares the distance: the Gram matrix is near 1 in its largest row's sum. */
export function isNearUnit(gram: Float32Array, q: number): boolean {
  for (let i = 0; i < q; i++) {
    let distance = 0;
    for (let j = 0; j < q; j++) distance += Math.abs(gram[i * q + j]! - (i === j ? 1 : 0));
    if (!(distance < NEAR)) return false;
  }
  return true;
}

/** (3 − gram) / 2: y times it is nearer to orthonormal, its columns mixed as little as possible (Newton and Schulz). */
export function towardsUnit(gram: Float32Array, q: number): Float32Array {
  return gram.map((value, i) => (i % (q + 1) === 0 ? 1.5 : 0) - value / 2);
}

/** Throws RangeError for numbers that are not finite, which the host's iterations would never end on. */
export function square(data: Float32Array, n: number): Matrix {
  if (!data.every(Number.isFinite)) throw new RangeError("A matrix to factorise is not finite.");
  return Matrix.from1DArray(n, n, data);
}
