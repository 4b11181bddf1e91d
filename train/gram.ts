/** What makes the columns of a thin matrix orthonormal, from its small Gram matrix f32[q, q] on the host. @module */
import { EigenvalueDecomposition, Matrix } from "ml-matrix";

/** From which distance on eigenvalues are not needed. */
const NEAR = 0.1;

/** V·D^(−½) for the Gram matrix V·D·Vᵀ of y: y times it is orthonormal. */
export function toUnit(gram: Float32Array, q: number): Float32Array {
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
