/** How elementwise primitives are made: a scalar rule for the kernel, one for float64, and a pullback. @module */
import {
  aval,
  call,
  type DType,
  type Expr,
  type FnName,
  primitive,
  requireSame,
  type Tensor,
} from "../core/ir/mod.ts";
import { fill, ShapeError, showAval } from "../core/ir/mod.ts";
import { broadcastTo } from "./broadcast.ts";
import { widen } from "./cast.ts";

/** A tensor or a number that stands for a tensor of its value. */
export type Operand = Tensor | number;

/** Element types that an op takes; f16 and bf16 are widened to f32 before. */
export type Takes = readonly DType[];

/** Real numbers. */
export const real: Takes = ["f32"];
/** Anything that can be counted with. */
export const number: Takes = ["f32", "i32", "u32"];
/** Words of bits. */
export const bits: Takes = ["u32"];
/** Truth values. */
export const truth: Takes = ["bool"];

/** What a unary elementwise op is. */
export interface UnaryRules {
  readonly takes: Takes;
  readonly reference: (x: number) => number;
  readonly expr: (x: Expr) => Expr;
  readonly vjp: (ct: Tensor, x: Tensor, y: Tensor) => Tensor | null;
}

/** A unary elementwise op: x [...] → y [...] of the same type, f32 for f16 and bf16. Throws ShapeError for other types. */
export function unary(name: string, rules: UnaryRules): (x: Tensor) => Tensor {
  const op = primitive<[x: Tensor]>(name, () => ({
    shape: ([x]) => x,
    reference: ([x]) => x.map(rules.reference),
    vjp: (ct, [x], y) => [rules.vjp(ct, x, y)],
    lower: { kind: "elementwise", expr: ([x]) => rules.expr(x!) },
  }))(undefined);
  return (x) => op(accept(name, rules.takes, x));
}

/** What a binary elementwise op is. */
export interface BinaryRules {
  readonly takes: Takes;
  readonly fn: FnName;
  readonly reference: (x: number, y: number) => number;
  readonly vjp: (ct: Tensor, x: Tensor, y: Tensor, z: Tensor) => readonly [Tensor | null, Tensor | null];
  /** Type of the result; that of the operands unless said. */
  readonly dtype?: DType;
}

/** A binary elementwise op with NumPy broadcasting: x, y of one type → z of the broadcast shape. Throws ShapeError. */
export function binary(name: string, rules: BinaryRules): (x: Operand, y: Operand) => Tensor {
  const op = primitive<[x: Tensor, y: Tensor]>(name, () => ({
    shape: ([x, y]) => (requireSame(name, x, y), aval(x.shape, rules.dtype ?? x.dtype)),
    reference: ([x, y]) => x.map((v, i) => rules.reference(v, y[i]!)),
    vjp: (ct, [x, y], z) => rules.vjp(ct, x, y, z),
    lower: { kind: "elementwise", expr: ([x, y]) => call(rules.fn, x!, y!) },
  }))(undefined);
  return (x, y) => {
    const [a, b] = broadcastPair(name, x, y);
    return op(accept(name, rules.takes, a), accept(name, rules.takes, b));
  };
}

function accept(what: string, takes: Takes, x: Tensor): Tensor {
  const wide = widen(x);
  if (!takes.includes(wide.dtype)) {
    throw new ShapeError(
      `Cannot apply ${what} to ${showAval(x.aval)}: it takes ${takes.join(" or ")}; cast it.`,
    );
  }
  return wide;
}

/** Two operands as tensors of their common shape, a number in the other's type; f16 and bf16 widened to f32. */
export function broadcastPair(what: string, x: Operand, y: Operand): [Tensor, Tensor] {
  const dtype = typeof x !== "number" ? widen(x).dtype : typeof y !== "number" ? widen(y).dtype : "f32";
  const a = asTensor(what, x, dtype), b = asTensor(what, y, dtype);
  const shape = broadcastShape(what, a, b);
  return [broadcastTo(a, shape), broadcastTo(b, shape)];
}

function asTensor(what: string, x: Operand, dtype: DType): Tensor {
  if (typeof x !== "number") return widen(x);
  if (dtype !== "f32" && !Number.isInteger(x)) {
    throw new ShapeError(
      `Cannot ${what} the number ${x} and a tensor of ${dtype}: use a whole number, or cast the tensor to f32.`,
    );
  }
  return fill(x, [], dtype);
}

/** The common shape of two tensors under NumPy's rules. */
export function broadcastShape(what: string, x: Tensor, y: Tensor): number[] {
  const rank = Math.max(x.shape.length, y.shape.length);
  return Array.from({ length: rank }, (_, i) => {
    const p = x.shape[x.shape.length - rank + i] ?? 1, q = y.shape[y.shape.length - rank + i] ?? 1;
    if (p !== q && p !== 1 && q !== 1) {
      throw new ShapeError(
        `Cannot ${what} ${showAval(x.aval)} and ${showAval(y.aval)}: axis ${i - rank} is ${p} and ${q}.`,
      );
    }
    return p === 1 ? q : p;
  });
}
