/** The unitary Fourier transform of C^n as butterfly stages of mixed radix. @module */
import { fill, type Stage, type Tensor } from "../core/ir/mod.ts";
import { add, mul, neg, square, sub } from "./arithmetic.ts";
import { cast } from "./cast.ts";
import { eq, logicalOr } from "./compare.ts";
import { complexSize, deinterleave, interleave } from "./complex.ts";
import { concat } from "./concat.ts";
import { iota } from "./iota.ts";
import { stages } from "./stages.ts";
import { reshape } from "./views.ts";
import { where } from "./where.ts";

/** How a transform of C^n is cut into stages. */
export interface FourierPlan {
  /** Length of each transform: n, or its largest divisor without prime factors above 7; the others are n/size blocks. */
  readonly size: number;
  /** Stages on interleaved (re, im) pairs: f32[2n]. */
  readonly stages: readonly Stage[];
  /** The frequency that lies at each place of a block after the stages. */
  readonly order: readonly number[];
  /** What is not transformed as one, in words; null where size is n. */
  readonly note: string | null;
}

/** A radix of 4 costs what two of 2 cost and keeps 1/√p exact. */
const RADICES = [4, 2, 3, 5, 7];

/**
 * Stages of a decimation in frequency: input in its own order, output with the digits of the frequency reversed (`order`).
 * A map F⁻¹·D·F needs no other order: D holds its numbers in the order of the stages, and the transposed stages take them back.
 */
export function fourierPlan(n: number): FourierPlan {
  const radices: number[] = [];
  let size = 1;
  for (const p of RADICES) {
    for (; (n / size) % p === 0; size *= p) radices.push(p);
  }
  let stride = size;
  const list = radices.map((radix) => ({ radix, stride: stride /= radix, piece: 2 }));
  const order = radices.reduceRight<number[]>(
    (inner, p) => Array.from({ length: p }, (_, k) => inner.map((f) => k + p * f)).flat(),
    [0],
  );
  const note = size === n
    ? null
    : `The Fourier transform of ${n} numbers is done in ${n / size} blocks of ${size}: ${n} has the factor ${
      n / size
    }, and stages have radices 2, 3, 4, 5 and 7 only. Features of different blocks do not mix in it.`;
  return { size, stages: list, order, note };
}

/**
 * Blocks of a plan's stages, f32[Σ 2n·2·radix], in the layout of {@linkcode stages}. They depend on n alone, and are
 * computed in the graph by products and sums: the sines of a GPU are too coarse for a matrix that is unitary in f32.
 */
export function fourierCoefficients(n: number): Tensor {
  const { stages: list, size } = fourierPlan(n);
  const parts = list.map(({ radix, stride }) => {
    const length = radix * stride, shape = [n / length, stride, radix, 2, radix, 2];
    const axis = (i: number): Tensor => iota(shape, i, "f32");
    // Lane j, leg l enters output k with e^(−2πi·k·(j + l·stride)/length): cosines, a quarter of a turn apart in the pair's
    // 2×2 block. Counted in quarters of a turn over `length` the angles are whole numbers, which f32 holds exactly.
    const product = mul(axis(2), add(axis(1), mul(axis(4), stride)));
    const angle = add(mul(product, 4), mul(sub(axis(3), axis(5)), length));
    const quarters = truncate(add(mul(angle, 1 / length), 4.5));
    const rest = sub(angle, mul(sub(quarters, 4), length));
    const all = [2 * radix * 2 * n];
    return {
      quarters: reshape(quarters, all),
      phi: reshape(mul(rest, Math.PI / 2 / length), all),
      scale: fill(1 / Math.sqrt(radix), all),
    };
  });
  if (size === 1) return fill(0, [0]);
  const joined = (part: "quarters" | "phi" | "scale"): Tensor => concat(parts.map((p) => p[part]), 0);
  return mul(joined("scale"), cosine(joined("phi"), joined("quarters")));
}

/** cos(phi + quarters·π/2) for |phi| ≤ π/4 and whole quarters ≥ 0. */
function cosine(phi: Tensor, quarters: Tensor): Tensor {
  const x = square(phi);
  // Nested series, to float64's last digit: 1 − x/(1·2)·(1 − x/(3·4)·(…)), and the same from 2·3 on for the sine.
  const series = (first: number): Tensor => {
    let sum = fill(1, x.shape);
    for (let k = first + 2 * TERMS; k >= first; k -= 2) sum = sub(1, mul(mul(x, 1 / (k * (k + 1))), sum));
    return sum;
  };
  const turn = sub(quarters, mul(truncate(mul(quarters, 0.25)), 4));
  const isOdd = logicalOr(eq(turn, 1), eq(turn, 3)), isNegative = logicalOr(eq(turn, 1), eq(turn, 2));
  const value = where(isOdd, mul(phi, series(2)), series(1));
  return where(isNegative, neg(value), value);
}

/** Terms of a series after the first two. */
const TERMS = 7;

/** The whole part of x ≥ 0. */
function truncate(x: Tensor): Tensor {
  return cast(cast(x, "i32"), "f32");
}

/**
 * Unitary Fourier transform along the last axis: x f32[..., 2n] of C^n (n real, then n imaginary parts) → the same, with
 * frequencies in the `order` of {@linkcode fourierPlan}, in blocks of its `size`; `inverse` takes that order back. Norms
 * stay. One kernel; 8·n·Σ radix flops a row. Throws ShapeError for an odd axis.
 */
export function fourier(x: Tensor, { inverse = false }: { readonly inverse?: boolean } = {}): Tensor {
  const n = complexSize(x), list = fourierPlan(n).stages;
  if (list.length === 0) return x;
  return deinterleave(stages(interleave(x), fourierCoefficients(n), { stages: list, transposed: inverse }));
}
