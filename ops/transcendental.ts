/** Exponentials, roots, circular and activation functions, elementwise. @module */
import { call, constant, type Expr, fill, type Tensor } from "../core/ir/mod.ts";
import { add, div, mul, neg, sub } from "./arithmetic.ts";
import { real, unary } from "./elementwise.ts";

/** eˣ. */
export const exp: (x: Tensor) => Tensor = unary("exp", {
  takes: real,
  reference: Math.exp,
  expr: (x) => call("exp", x),
  vjp: (ct, _x, y) => mul(ct, y),
});

/** Natural logarithm. */
export const log: (x: Tensor) => Tensor = unary("log", {
  takes: real,
  reference: Math.log,
  expr: (x) => call("log", x),
  vjp: (ct, x) => div(ct, x),
});

/** √x. */
export const sqrt: (x: Tensor) => Tensor = unary("sqrt", {
  takes: real,
  reference: Math.sqrt,
  expr: (x) => call("sqrt", x),
  vjp: (ct, _x, y) => div(mul(ct, 0.5), y),
});

/** 1/√x; derivative −y³/2. */
export const rsqrt: (x: Tensor) => Tensor = unary("rsqrt", {
  takes: real,
  reference: (x) => 1 / Math.sqrt(x),
  expr: (x) => call("div", constant(1), call("sqrt", x)),
  vjp: (ct, _x, y) => mul(mul(ct, -0.5), mul(y, mul(y, y))),
});

/** sin x. */
export const sin: (x: Tensor) => Tensor = unary("sin", {
  takes: real,
  reference: Math.sin,
  expr: (x) => call("sin", x),
  vjp: (ct, x) => mul(ct, cos(x)),
});

/** cos x. */
export const cos: (x: Tensor) => Tensor = unary("cos", {
  takes: real,
  reference: Math.cos,
  expr: (x) => call("cos", x),
  vjp: (ct, x) => neg(mul(ct, sin(x))),
});

/** tanh x; derivative 1 − y². */
export const tanh: (x: Tensor) => Tensor = unary("tanh", {
  takes: real,
  reference: Math.tanh,
  expr: (x) => call("tanh", x),
  vjp: (ct, _x, y) => mul(ct, sub(1, mul(y, y))),
});

/** 1 / (1 + e⁻ˣ) as a scalar expression. */
function logistic(x: Expr): Expr {
  return call("div", constant(1), call("add", constant(1), call("exp", call("neg", x))));
}

/** 1 / (1 + e⁻ˣ); derivative y·(1 − y). */
export const sigmoid: (x: Tensor) => Tensor = unary("sigmoid", {
  takes: real,
  reference: (x) => 1 / (1 + Math.exp(-x)),
  expr: logistic,
  vjp: (ct, _x, y) => mul(ct, mul(y, sub(1, y))),
});

/** x · sigmoid(x), also called swish. arXiv:1702.03118. */
export const silu: (x: Tensor) => Tensor = unary("silu", {
  takes: real,
  reference: (x) => x / (1 + Math.exp(-x)),
  expr: (x) => call("mul", x, logistic(x)),
  vjp: (ct, x) => {
    const s = sigmoid(x);
    return mul(ct, mul(s, add(mul(x, sub(1, s)), 1)));
  },
});

const GELU_SCALE = Math.sqrt(2 / Math.PI), GELU_CUBIC = 0.044715;

/** GELU by tanh, ½x·(1 + tanh(√(2/π)·(x + 0.044715x³))). arXiv:1606.08415. */
export const gelu: (x: Tensor) => Tensor = unary("gelu", {
  takes: real,
  reference: (x) => 0.5 * x * (1 + Math.tanh(GELU_SCALE * (x + GELU_CUBIC * x ** 3))),
  expr: (x) => {
    const inner = call(
      "mul",
      constant(GELU_SCALE),
      call("add", x, call("mul", constant(GELU_CUBIC), call("mul", x, call("mul", x, x)))),
    );
    return call("mul", call("mul", constant(0.5), x), call("add", constant(1), call("tanh", inner)));
  },
  vjp: (ct, x) => {
    const square = mul(x, x);
    const t = tanh(mul(add(x, mul(mul(square, x), GELU_CUBIC)), GELU_SCALE));
    const inner = mul(add(mul(square, 3 * GELU_CUBIC), 1), GELU_SCALE);
    return mul(ct, mul(add(add(t, 1), mul(mul(x, sub(1, mul(t, t))), inner)), 0.5));
  },
});

/** x to a constant power: products for whole exponents up to 8, otherwise e^(p · log x), for which x must be positive. */
export function pow(x: Tensor, p: number): Tensor {
  if (!Number.isInteger(p) || Math.abs(p) > 8) return exp(mul(log(x), p));
  const product = Array.from({ length: Math.abs(p) }, () => x).reduce<Tensor | null>(
    (y, f) => (y ? mul(y, f) : f),
    null,
  );
  if (!product) return fill(1, x.shape);
  return p < 0 ? div(1, product) : product;
}
