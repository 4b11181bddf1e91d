/** Arithmetic, elementwise with NumPy broadcasting. @module */
import { addCotangents } from "../core/diff/cotangent.ts";
import { call, type Tensor } from "../core/ir/mod.ts";
import { le, lt } from "./compare.ts";
import { binary, broadcastPair, number, type Operand, real, unary } from "./elementwise.ts";
import { where } from "./where.ts";

/** x + y. */
export function add(x: Operand, y: Operand): Tensor {
  return addCotangents(...broadcastPair("add", x, y));
}

/** −x. */
export const neg: (x: Tensor) => Tensor = unary("neg", {
  takes: number,
  reference: (x) => -x,
  expr: (x) => call("neg", x),
  vjp: (ct) => neg(ct),
});

/** x − y. */
export const sub: (x: Operand, y: Operand) => Tensor = binary("sub", {
  takes: number,
  fn: "sub",
  reference: (x, y) => x - y,
  vjp: (ct) => [ct, neg(ct)],
});

/** x · y. */
export const mul: (x: Operand, y: Operand) => Tensor = binary("mul", {
  takes: number,
  fn: "mul",
  reference: (x, y) => x * y,
  vjp: (ct, x, y) => [mul(ct, y), mul(ct, x)],
});

/** x / y. */
export const div: (x: Operand, y: Operand) => Tensor = binary("div", {
  takes: real,
  fn: "div",
  reference: (x, y) => x / y,
  vjp: (ct, _x, y, z) => {
    const dx = div(ct, y);
    return [dx, neg(mul(dx, z))];
  },
});

/** The larger of x and y; at a tie the cotangent goes to x. */
export const maximum: (x: Operand, y: Operand) => Tensor = binary("maximum", {
  takes: number,
  fn: "max",
  reference: Math.max,
  vjp: (ct, x, y) => [where(le(y, x), ct, 0), where(le(y, x), 0, ct)],
});

/** The smaller of x and y; at a tie the cotangent goes to x. */
export const minimum: (x: Operand, y: Operand) => Tensor = binary("minimum", {
  takes: number,
  fn: "min",
  reference: Math.min,
  vjp: (ct, x, y) => [where(le(x, y), ct, 0), where(le(x, y), 0, ct)],
});

/** |x|; derivative sign(x), 0 at 0. */
export const abs: (x: Tensor) => Tensor = unary("abs", {
  takes: number,
  reference: Math.abs,
  expr: (x) => call("abs", x),
  vjp: (ct, x) => mul(ct, sign(x)),
});

/** −1, 0 or 1; derivative 0. */
export function sign(x: Tensor): Tensor {
  return where(lt(0, x), 1, where(lt(x, 0), -1, mul(x, 0)));
}

/** x². */
export function square(x: Tensor): Tensor {
  return mul(x, x);
}
