/** WGSL text of literals and scalar functions. @module */
import type { FnName, ScalarType } from "../ir/expr.ts";

/** The largest f32. */
const LARGEST = 3.4028234663852886e38;

/** A literal. WGSL has none for infinities; the largest finite numbers stand for them. */
export function literal(value: number, type: ScalarType): string {
  switch (type) {
    case "bool":
      return value ? "true" : "false";
    case "u32":
      return `${value >>> 0}u`;
    case "i32":
      return value === -2147483648 ? "i32(-2147483648)" : value < 0 ? `(${value}i)` : `${value}i`;
    case "f32": {
      if (Number.isNaN(value)) throw new Error("A kernel has the constant NaN, which WGSL cannot express.");
      const finite = Math.max(-LARGEST, Math.min(LARGEST, value));
      const text = `${finite}${/[.e]/.test(`${finite}`) ? "" : ".0"}f`;
      return value < 0 ? `(${text})` : text;
    }
  }
}

const infix = (op: string) => (a: string, b: string): string => `(${a} ${op} ${b})`;
const prefix = (name: string) => (...args: string[]): string => `${name}(${args.join(", ")})`;

/** The text of each scalar function of its arguments' texts. */
export const functionTexts: Readonly<Record<FnName, (...args: string[]) => string>> = {
  add: infix("+"),
  sub: infix("-"),
  mul: infix("*"),
  div: infix("/"),
  neg: (a) => `(-${a})`,
  max: prefix("max"),
  min: prefix("min"),
  abs: prefix("abs"),
  floor: prefix("floor"),
  exp: prefix("exp"),
  log: prefix("log"),
  sqrt: prefix("sqrt"),
  sin: (a) => `sine(${a})`,
  cos: (a) => `cosine(${a})`,
  // Drivers compute it from exponentials that overflow; from 10 on it is 1 in f32.
  tanh: (a) => `tanh(clamp(${a}, -10.0f, 10.0f))`,
  lt: infix("<"),
  le: infix("<="),
  eq: infix("=="),
  and: infix("&&"),
  or: infix("||"),
  not: (a) => `(!${a})`,
  select: (c, a, b) => `select(${b}, ${a}, ${c})`,
  uadd: infix("+"),
  xor: infix("^"),
  shl: infix("<<"),
  shr: infix(">>"),
  or32: infix("|"),
  toF32: prefix("f32"),
  toI32: prefix("i32"),
  toU32: prefix("u32"),
};
