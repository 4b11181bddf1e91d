/** Comparisons and logic: results are bool. No derivative. @module */
import { call, type Tensor } from "../core/ir/mod.ts";
import { binary, number, type Operand, truth, unary } from "./elementwise.ts";

/** x < y. */
export const lt: (x: Operand, y: Operand) => Tensor = binary("lt", {
  takes: number,
  fn: "lt",
  reference: (x, y) => (x < y ? 1 : 0),
  vjp: () => [null, null],
  dtype: "bool",
});

/** x ≤ y. */
export const le: (x: Operand, y: Operand) => Tensor = binary("le", {
  takes: number,
  fn: "le",
  reference: (x, y) => (x <= y ? 1 : 0),
  vjp: () => [null, null],
  dtype: "bool",
});

/** x = y. */
export const eq: (x: Operand, y: Operand) => Tensor = binary("eq", {
  takes: number,
  fn: "eq",
  reference: (x, y) => (x === y ? 1 : 0),
  vjp: () => [null, null],
  dtype: "bool",
});

/** x and y, both bool. */
export const logicalAnd: (x: Operand, y: Operand) => Tensor = binary("logicalAnd", {
  takes: truth,
  fn: "and",
  reference: (x, y) => (x && y ? 1 : 0),
  vjp: () => [null, null],
});

/** x or y, both bool. */
export const logicalOr: (x: Operand, y: Operand) => Tensor = binary("logicalOr", {
  takes: truth,
  fn: "or",
  reference: (x, y) => (x || y ? 1 : 0),
  vjp: () => [null, null],
});

/** Not x, bool. */
export const logicalNot: (x: Tensor) => Tensor = unary("logicalNot", {
  takes: truth,
  reference: (x) => (x ? 0 : 1),
  expr: (x) => call("not", x),
  vjp: () => null,
});
