/** What makes columns orthonormal from their Gram matrix. @module */
import { assert, assertThrows } from "@std/assert";
import { toUnit } from "../train/gram.ts";

/** tᵀ·gram·t, with t = toUnit(gram), for q × q matrices. */
function gramAfter(gram: Float32Array, q: number): number[][] {
  const t = toUnit(gram, q), all = Array.from({ length: q }, (_, i) => i);
  const sum = (f: (k: number) => number): number => all.reduce((total, k) => total + f(k), 0);
  return all.map((i) =>
    all.map((j) => sum((a) => sum((b) => t[a * q + i]! * gram[a * q + b]! * t[b * q + j]!)))
  );
}

Deno.test("gram: columns of any lengths that are clearly independent become orthonormal", () => {
  const after = gramAfter(Float32Array.of(4e6, 1e3, 20, 1e3, 1, 0.01, 20, 0.01, 1e-3), 3);
  after.forEach((row, i) =>
    row.forEach((v, j) => assert(Math.abs(v - (i === j ? 1 : 0)) < 1e-5, `${i}, ${j}: ${v}`))
  );
});

Deno.test("gram: a column that is a mix of others, or zero, adds no direction", () => {
  for (const gram of [Float32Array.of(1, 2, 2, 4), Float32Array.of(5, 0, 0, 0)]) {
    const lengths = gramAfter(gram, 2).map((row, i) => row[i]!).sort((a, b) => a - b);
    assert(lengths[0]! < 1e-3 && Math.abs(lengths[1]! - 1) < 1e-3, lengths.join());
  }
});

Deno.test("gram: numbers that are not finite are refused", () => {
  for (const bad of [NaN, Infinity]) {
    for (const at of [0, 1, 3]) {
      const gram = Float32Array.of(1, 0.5, 0.5, 1);
      gram[at] = bad;
      if (at === 1) gram[2] = bad;
      assertThrows(() => toUnit(gram, 2), RangeError, "not finite");
    }
  }
});
