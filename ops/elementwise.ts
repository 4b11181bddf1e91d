/** How elementwise primitives are made: a scalar rule for the kernel, one for float64, and a pullback. @module */
import { aval, call, type DType, type Expr, type FnName, primitive, requireSame, type Tensor } from "../core/ir/mod.ts";
import { fill, ShapeError, showAval } from "../core/ir/mod.ts";
import { broadcastTo } from "./broadcast.ts";

/** A tensor or a number that stands for a tensor of its value. */
export type Operand = Tensor | number;

/** What a unary elementwise op is. */
export interface UnaryRules {
  readonly reference: (x: number) => number;
  readonly expr: (x: Expr) => Expr;
  readonly vjp: (ct: Tensor, x: Tensor, y: Tensor) => Tensor | null;
  readonly dtype?: DType;
}

/** A unary elementwise op: x [...] → y [...]. */
export function unary(name: string, rules: UnaryRules): (x: Tensor) => Tensor {
  return primitive<[x: Tensor]>(name, () => ({
    shape: ([x]) => aval(x.shape, rules.dtype ?? x.dtype),
    reference: ([x]) => x.map(rules.reference),
    vjp: (ct, [x], y) => [rules.vjp(ct, x, y)],
    lower: { kind: "elementwise", expr: ([x]) => rules.expr(x!) },
  }))(undefined);
}

/** What a binary elementwise op is. */
export interface BinaryRules {
  readonly fn: FnName;
  readonly reference: (x: number, y: number) => number;
  readonly vjp: (ct: Tensor, x: Tensor, y: Tensor, z: Tensor) => readonly [Tensor | null, Tensor | null];
  readonly dtype?: DType;
}

/** A binary elementwise op with NumPy broadcasting: x, y → z of the broadcast shape. Throws ShapeError. */
export function binary(name: string, rules: BinaryRules): (x: Operand, y: Operand) => Tensor {
  const op = primitive<[x: Tensor, y: Tensor]>(name, () => ({
    shape: ([x, y]) => (requireSame(name, x, y), aval(x.shape, rules.dtype ?? x.dtype)),
    reference: ([x, y]) => x.map((v, i) => rules.reference(v, y[i]!)),
    vjp: (ct, [x, y], z) => rules.vjp(ct, x, y, z),
    lower: { kind: "elementwise", expr: ([x, y]) => call(rules.fn, x!, y!) },
  }))(undefined);
  return (x, y) => op(...broadcastPair(name, x, y));
}

/** Two operands as tensors of their common shape, and of one dtype where one is a number. */
export function broadcastPair(what: string, x: Operand, y: Operand): [Tensor, Tensor] {
  const dtype = typeof x !== "number" ? x.dtype : typeof y !== "number" ? y.dtype : "f32";
  const a = typeof x === "number" ? fill(x, [], dtype) : x;
  const b = typeof y === "number" ? fill(y, [], dtype) : y;
  const shape = broadcastShape(what, a, b);
  return [broadcastTo(a, shape), broadcastTo(b, shape)];
}

/** The common shape of two tensors under NumPy's rules. */
export function broadcastShape(what: string, x: Tensor, y: Tensor): number[] {
  const rank = Math.max(x.shape.length, y.shape.length);
  return Array.from({ length: rank }, (_, i) => {
    const p = x.shape[x.shape.length - rank + i] ?? 1, q = y.shape[y.shape.length - rank + i] ?? 1;
    if (p !== q && p !== 1 && q !== 1) {
      throw new ShapeError(`Cannot ${what} ${showAval(x.aval)} and ${showAval(y.aval)}: axis ${i - rank} is ${p} and ${q}.`);
    }
    return p === 1 ? q : p;
  });
}
