/** The normal distribution's cumulative function, and the exact GELU made of it. @module */
import { call, constant, type Expr, type Tensor } from "../core/ir/mod.ts";
import { add, mul, square } from "./arithmetic.ts";
import { real, unary } from "./elementwise.ts";
import { exp } from "./transcendental.ts";

const DENSITY = 1 / Math.sqrt(2 * Math.PI);

/** Terms of the continued fraction, enough for 10⁻¹⁶ from 3 on. */
const FRACTIONS = 80;

/** P(X > a) for a ≥ 0 in float64: below 3 by the series of odd powers, from there by Laplace's continued fraction. */
function upperTail(a: number): number {
  const density = DENSITY * Math.exp(-a * a / 2);
  if (a >= 3) {
    let below = a;
    for (let n = FRACTIONS; n >= 1; n--) below = a + n / below;
    return density / below;
  }
  let term = a, total = 0;
  for (let n = 3; total + term !== total; n += 2) {
    total += term;
    term *= a * a / n;
  }
  return 0.5 - density * total;
}

/**
 * log(erfc(z)·eᶻ²/t) in powers of 2t − 1, t = 1 / (1 + z/2), from the lowest: interpolated at Chebyshev's points of
 * 0 < t ≤ 1, to 10⁻¹¹.
 */
const LOG_TAIL: readonly number[] = [
  -0.6717940840638896,
  0.6726432239564842,
  0.04734330801945924,
  -0.04689560948546307,
  -0.009872721152936016,
  0.008824933282054248,
  0.001759264913684479,
  -0.002345825840682546,
  -0.00014798464400873754,
  0.0006739603558096319,
  -8.858318953727441e-5,
  -0.00017558776583662483,
  6.234284343911677e-5,
  3.469238817792849e-5,
  -2.0765531285393e-5,
  -3.7251514048596387e-6,
  3.1610693256369964e-6,
];

/** Φ(x) as a scalar expression: ½·erfc(|x|/√2) below 0 and 1 minus it above, so that the lower tail keeps its digits. */
function cdf(x: Expr): Expr {
  const z = call("mul", call("abs", x), constant(Math.SQRT1_2));
  const t = call("div", constant(1), call("add", constant(1), call("mul", constant(0.5), z)));
  const u = call("sub", call("mul", constant(2), t), constant(1));
  const log = LOG_TAIL.slice(0, -1).reduceRight(
    (sum, c) => call("add", call("mul", sum, u), constant(c)),
    constant(LOG_TAIL.at(-1)!),
  );
  const tail = call("mul", call("mul", constant(0.5), t), call("exp", call("sub", log, call("mul", z, z))));
  return call("select", call("lt", x, constant(0)), tail, call("sub", constant(1), tail));
}

/** Φ(x) = ½·(1 + erf(x/√2)), P(X ≤ x) of a standard normal X; derivative e^(−x²/2) / √(2π). */
export const normalCdf: (x: Tensor) => Tensor = unary("normalCdf", {
  takes: real,
  reference: (x) => x < 0 ? upperTail(-x) : 1 - upperTail(x),
  expr: cdf,
  vjp: (ct, x) => mul(ct, mul(exp(mul(square(x), -0.5)), DENSITY)),
});

/** GELU as defined, x·Φ(x); derivative Φ(x) + x·φ(x). arXiv:1606.08415. */
export const geluExact: (x: Tensor) => Tensor = unary("geluExact", {
  takes: real,
  reference: (x) => x * (x < 0 ? upperTail(-x) : 1 - upperTail(x)),
  expr: (x) => call("mul", x, cdf(x)),
  vjp: (ct, x) => mul(ct, add(normalCdf(x), mul(x, mul(exp(mul(square(x), -0.5)), DENSITY)))),
});
