/** The unitary Fourier transform of C^n as butterfly stages of mixed radix. @module */
import { fill, type Stage, type Tensor } from "../core/ir/mod.ts";
import { abs, add, mul, neg, square, sub } from "./arithmetic.ts";
import { cast } from "./cast.ts";
import { eq, logicalOr, lt } from "./compare.ts";
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
 * Each is rounded once, from a large part that f32 holds exactly and a small one: what many entries lose together, norms
 * would lose with every step of a recurrence.
 */
export function fourierCoefficients(n: number): Tensor {
  const parts = fourierPlan(n).stages.map((stage) => stageCoefficients(stage, n));
  return parts.length === 0 ? fill(0, [0]) : concat(parts, 0);
}

/** The blocks of one stage, f32[2n·2·radix]. */
export function stageCoefficients(stage: Stage, n: number): Tensor {
  const { quarters, phi, main, rest } = stageParts(stage, n), x = square(phi);
  // cos φ = 1 − w, sin φ = φ·(1 − w).
  const w = where(isOdd(quarters), loss(x, 2), loss(x, 1));
  const value = add(main, sub(rest, mul(add(main, rest), w)));
  return where(logicalOr(eq(quarters, 1), eq(quarters, 2)), neg(value), value);
}

/**
 * Entries cos(φ + quarters·π/2)/√radix of a stage, |φ| ≤ π/4: main + rest is 1/√radix, or φ/√radix for odd quarters. At the
 * angles of OFTEN, main + rest is the entry itself and φ is 0.
 */
interface StageParts {
  readonly quarters: Tensor;
  readonly phi: Tensor;
  readonly main: Tensor;
  readonly rest: Tensor;
}

function stageParts({ radix, stride }: Stage, n: number): StageParts {
  const length = radix * stride, shape = [n / length, stride, radix, 2, radix, 2];
  const axis = (i: number): Tensor => iota(shape, i, "f32");
  // Lane j, leg l enters output k with e^(−2πi·k·(j + l·stride)/length): cosines, a quarter of a turn apart in the pair's
  // 2×2 block. Counted in quarters of a turn over `length` the angles are whole numbers, which f32 holds exactly.
  const product = mul(axis(2), add(axis(1), mul(axis(4), stride)));
  const angle = add(mul(product, 4), mul(sub(axis(3), axis(5)), length));
  const near = truncate(add(mul(angle, 1 / length), 4.5));
  const off = sub(angle, mul(sub(near, 4), length));
  const quarters = sub(near, mul(truncate(mul(near, 0.25)), 4));
  const odd = isOdd(quarters), isBelow = lt(off, 0);
  const scale = 1 / Math.sqrt(radix), unit = scale * Math.PI / 2 / length, coarse = leading(unit);
  const often = OFTEN.filter((p) => length % p === 0).map((p) => ({
    isMet: eq(mul(abs(off), p), length),
    cos: scale * Math.cos(Math.PI / 2 / p),
    sin: scale * Math.sin(Math.PI / 2 / p),
  }));
  /** One of two parts of 1/√radix, of φ/√radix, or of the entry itself at the angles that are often met. */
  const choose = (of: (exact: number) => number, slope: number): Tensor =>
    often.reduce(
      (y, { isMet, cos, sin }) => where(isMet, where(odd, where(isBelow, -of(sin), of(sin)), of(cos)), y),
      where(odd, mul(off, slope), of(scale)),
    );
  const all = (x: Tensor): Tensor => reshape(x, [2 * radix * 2 * n]);
  return {
    quarters: all(quarters),
    phi: all(often.reduce((phi, { isMet }) => where(isMet, 0, phi), mul(off, Math.PI / 2 / length))),
    main: all(choose(Math.fround, coarse)),
    rest: all(choose((exact) => exact - Math.fround(exact), unit - coarse)),
  };
}

/** Parts of a right angle that many entries turn by: there the error of the series would be the same for all of them. */
const OFTEN = [2, 3];

/** The leading 11 bits of x: times a whole number below 2¹³ they are exact in f32. */
function leading(x: number): number {
  const unit = 2 ** (Math.floor(Math.log2(x)) - 10);
  return Math.floor(x / unit) * unit;
}

function isOdd(quarters: Tensor): Tensor {
  return logicalOr(eq(quarters, 1), eq(quarters, 3));
}

/** Terms of a series after the first. */
const TERMS = 8;

/** x/(a·b)·(1 − x/((a+2)·(b+2))·(1 − …)) for b = a + 1, to the last digit of float64: with x = φ², 1 − cos φ for a = 1, 1 − sin φ/φ for a = 2. */
function loss(x: Tensor, a: number): Tensor {
  const term = (k: number): Tensor => mul(x, 1 / (k * (k + 1)));
  let w = term(a + 2 * TERMS);
  for (let k = a + 2 * (TERMS - 1); k >= a; k -= 2) w = mul(term(k), sub(1, w));
  return w;
}

/** The whole part of x ≥ 0. */
function truncate(x: Tensor): Tensor {
  return cast(cast(x, "i32"), "f32");
}

/**
 * Unitary Fourier transform along the last axis: x f32[..., 2n] of C^n (n real, then n imaginary parts) → the same, with
 * frequencies in the `order` of {@linkcode fourierPlan}, in blocks of its `size`; `inverse` takes that order back. Norms
 * stay. Where several have one length, `coefficients` may be shared, {@linkcode fourierCoefficients} of n, which are many nodes
 * of a graph. One kernel; 8·n·Σ radix flops a row. Throws ShapeError for an odd axis.
 */
export function fourier(
  x: Tensor,
  { inverse = false, coefficients }: { readonly inverse?: boolean; readonly coefficients?: Tensor } = {},
): Tensor {
  const n = complexSize(x), list = fourierPlan(n).stages;
  if (list.length === 0) return x;
  const blocks = coefficients ?? fourierCoefficients(n);
  return deinterleave(stages(interleave(x), blocks, { stages: list, transposed: inverse }));
}
