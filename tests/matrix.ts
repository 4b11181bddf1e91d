/** Small dense matrices on the host, in float64, for what tests compare with. @module */

/** Numbers in −1…1, the same for the same seed (Lehmer's generator modulo 2³¹ − 1). */
export function numbersOf(size: number, seed: number): Float64Array {
  let state = (Math.imul(seed, 2654435761) >>> 1) % 2147483646 + 1;
  return Float64Array.from({ length: size }, () => {
    state = (state * 48271) % 2147483647;
    return (2 * state) / 2147483647 - 1;
  });
}

/** x [m, k] · yᵀ with y [n, k] → [m, n]. */
export function timesTransposed(x: Float64Array, y: Float64Array, k: number): Float64Array {
  const m = x.length / k, n = y.length / k;
  return Float64Array.from({ length: m * n }, (_, at) => {
    const i = Math.floor(at / n), j = at % n;
    let total = 0;
    for (let l = 0; l < k; l++) total += x[i * k + l]! * y[j * k + l]!;
    return total;
  });
}

/** Euclidean norm of each row of x [m, k]. */
export function rowNorms(x: Float64Array, k: number): number[] {
  return Array.from({ length: x.length / k }, (_, i) => Math.hypot(...x.subarray(i * k, (i + 1) * k)));
}

/** Singular values of x [m, k], m ≤ k, largest first: Jacobi rotations of rows until all are at right angles. */
export function singularValues(x: Float64Array, k: number): number[] {
  const a = x.slice(), m = x.length / k;
  const dot = (p: number, q: number): number => {
    let total = 0;
    for (let l = 0; l < k; l++) total += a[p * k + l]! * a[q * k + l]!;
    return total;
  };
  for (let sweep = 0, turned = true; turned; sweep++) {
    if (sweep === 60) {
      throw new Error(`The singular values of a ${m}×${k} matrix were not found in 60 sweeps.`);
    }
    turned = false;
    for (let p = 0; p < m; p++) {
      for (let q = p + 1; q < m; q++) {
        const pp = dot(p, p), qq = dot(q, q), pq = dot(p, q);
        if (Math.abs(pq) <= 1e-15 * Math.sqrt(pp * qq)) continue;
        turned = true;
        const angle = 0.5 * Math.atan2(2 * pq, pp - qq), c = Math.cos(angle), s = Math.sin(angle);
        for (let l = 0; l < k; l++) {
          const u = a[p * k + l]!, v = a[q * k + l]!;
          a[p * k + l] = c * u + s * v;
          a[q * k + l] = c * v - s * u;
        }
      }
    }
  }
  return rowNorms(a, k).sort((p, q) => q - p);
}

/** Determinant of x [n, n], by elimination with row exchanges. */
export function determinant(x: Float64Array, n: number): number {
  const a = x.slice();
  let det = 1;
  for (let p = 0; p < n; p++) {
    let top = p;
    for (let i = p + 1; i < n; i++) if (Math.abs(a[i * n + p]!) > Math.abs(a[top * n + p]!)) top = i;
    if (a[top * n + p] === 0) return 0;
    if (top !== p) {
      det = -det;
      for (let j = 0; j < n; j++) [a[p * n + j], a[top * n + j]] = [a[top * n + j]!, a[p * n + j]!];
    }
    det *= a[p * n + p]!;
    for (let i = p + 1; i < n; i++) {
      const f = a[i * n + p]! / a[p * n + p]!;
      for (let j = p; j < n; j++) a[i * n + j]! -= f * a[p * n + j]!;
    }
  }
  return det;
}

/** Largest |xᵢ − yᵢ|, over the largest |yᵢ| or 1. NaN differs from everything. */
export function difference(x: Float64Array, y: Float64Array): number {
  if (x.length !== y.length) throw new RangeError(`Cannot compare ${x.length} numbers with ${y.length}.`);
  let off = 0, largest = 1;
  for (let i = 0; i < y.length; i++) {
    off = Math.max(off, Math.abs(x[i]! - y[i]!));
    largest = Math.max(largest, Math.abs(y[i]!));
  }
  return off / largest;
}
