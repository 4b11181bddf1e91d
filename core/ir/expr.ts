/**
 * Scalar expressions: what a kernel computes for one element. A value is a DAG by object identity: a subexpression
 * used twice is the same object, and printers bind it to a local once. @module
 */
import type { DType } from "./aval.ts";
import { type Cond, type Ix, ixSubstitute, ixVars } from "./ix.ts";

/** Element type in registers; f16 and bf16 exist in memory only. */
export type ScalarType = "f32" | "i32" | "u32" | "bool";

/** A scalar function: how it types and what it means. Printers give its text in their language. */
export interface ScalarFn {
  readonly type: (args: readonly ScalarType[]) => ScalarType;
  readonly eval: (...args: number[]) => number;
}

const same = (args: readonly ScalarType[]): ScalarType => args[0]!;
const bool = (): ScalarType => "bool";
const f32 = (): ScalarType => "f32";
const u32 = (): ScalarType => "u32";
const float = (f: (...args: number[]) => number): ScalarFn => ({ type: f32, eval: f });
const compare = (f: (a: number, b: number) => boolean): ScalarFn => ({
  type: bool,
  eval: (a, b) => f(a!, b!) ? 1 : 0,
});
const bits = (f: (a: number, b: number) => number): ScalarFn => ({
  type: u32,
  eval: (a, b) => f(a!, b!) >>> 0,
});

/** The closed set of scalar functions. `eval` is exact on integers and float64 on reals. */
export const scalarFns = {
  add: { type: same, eval: (a, b) => a! + b! },
  sub: { type: same, eval: (a, b) => a! - b! },
  mul: { type: same, eval: (a, b) => a! * b! },
  div: float((a, b) => a! / b!),
  neg: { type: same, eval: (a) => -a! },
  max: { type: same, eval: (a, b) => Math.max(a!, b!) },
  min: { type: same, eval: (a, b) => Math.min(a!, b!) },
  abs: { type: same, eval: (a) => Math.abs(a!) },
  floor: float((a) => Math.floor(a!)),
  exp: float((a) => Math.exp(a!)),
  log: float((a) => Math.log(a!)),
  sqrt: float((a) => Math.sqrt(a!)),
  sin: float((a) => Math.sin(a!)),
  cos: float((a) => Math.cos(a!)),
  tanh: float((a) => Math.tanh(a!)),
  lt: compare((a, b) => a < b),
  le: compare((a, b) => a <= b),
  eq: compare((a, b) => a === b),
  and: { type: bool, eval: (a, b) => (a && b ? 1 : 0) },
  or: { type: bool, eval: (a, b) => (a || b ? 1 : 0) },
  not: { type: bool, eval: (a) => (a ? 0 : 1) },
  /** `select(c, a, b)`: a where c holds, else b. */
  select: { type: (args) => args[1]!, eval: (c, a, b) => (c ? a! : b!) },
  /** u32 arithmetic modulo 2³². */
  uadd: bits((a, b) => a + b),
  xor: bits((a, b) => a ^ b),
  shl: bits((a, b) => a << b),
  shr: bits((a, b) => a >>> b),
  or32: bits((a, b) => a | b),
  toF32: float((a) => a!),
  toI32: { type: () => "i32", eval: (a) => Math.trunc(a!) | 0 },
  toU32: { type: u32, eval: (a) => Math.trunc(a!) >>> 0 },
} as const satisfies Record<string, ScalarFn>;

/** Name of a scalar function. */
export type FnName = keyof typeof scalarFns;

/** A scalar expression. */
export type Expr =
  | { readonly kind: "const"; readonly type: ScalarType; readonly value: number }
  /** The value of an index, as i32. */
  | { readonly kind: "index"; readonly type: "i32"; readonly ix: Ix }
  /** Element `ix` of buffer `slot`, converted to `type`; 0 where a condition in `valid` fails. */
  | {
    readonly kind: "load";
    readonly type: ScalarType;
    readonly slot: number;
    readonly ix: Ix;
    readonly valid: readonly Cond[];
  }
  /** An accumulator of the kernel: a finished reduction, or the sum of a contraction. */
  | { readonly kind: "acc"; readonly type: ScalarType; readonly id: number }
  | { readonly kind: "call"; readonly type: ScalarType; readonly fn: FnName; readonly args: readonly Expr[] };

/** The register type of values stored as `dtype`. */
export function scalarType(dtype: DType): ScalarType {
  return dtype === "f16" || dtype === "bf16" ? "f32" : dtype;
}

/** A literal. */
export function constant(value: number, type: ScalarType = "f32"): Expr {
  return { kind: "const", type, value };
}

/** Apply a scalar function; multiplying by 1 and adding 0 are left out. */
export function call(fn: FnName, ...args: readonly Expr[]): Expr {
  const neutral = fn === "mul" ? 1 : fn === "add" ? 0 : null;
  if (neutral !== null) {
    const [a, b] = args as [Expr, Expr];
    if (b.kind === "const" && b.value === neutral) return a;
    if (a.kind === "const" && a.value === neutral) return b;
  }
  const [x, by] = args as [Expr, Expr];
  if (fn === "div" && by.kind === "const" && by.value === 1) return x;
  return { kind: "call", type: scalarFns[fn].type(args.map((a) => a.type)), fn, args };
}

/** The value of an index as an i32 expression. */
export function indexValue(ix: Ix): Expr {
  return { kind: "index", type: "i32", ix };
}

/** Rebuild `root` bottom-up, shared nodes once; `leaf` replaces what is not a call. */
export function mapExpr(root: Expr, leaf: (e: Expr) => Expr, memo: Map<Expr, Expr> = new Map()): Expr {
  const known = memo.get(root);
  if (known) return known;
  let result: Expr;
  if (root.kind !== "call") result = leaf(root);
  else {
    const args = root.args.map((a) => mapExpr(a, leaf, memo));
    result = args.every((a, i) => a === root.args[i]) ? root : { ...root, args };
  }
  memo.set(root, result);
  return result;
}

/** Every distinct node of the expression, arguments before users; memory reads inside indices are not entered. */
export function nodesOf(roots: readonly Expr[]): Expr[] {
  const seen = new Set<Expr>();
  const order: Expr[] = [];
  const visit = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    if (e.kind === "call") e.args.forEach(visit);
    order.push(e);
  };
  roots.forEach(visit);
  return order;
}

/** All loads in the expressions, those inside indices included, each object once. */
export function loadsOf(roots: readonly Expr[]): Extract<Expr, { kind: "load" }>[] {
  const found: Extract<Expr, { kind: "load" }>[] = [];
  const ixLoads = (ix: Ix): void => {
    for (const { atom } of ix.terms) {
      if (atom.kind === "value") found.push(...loadsOf([atom.of]));
      else if (atom.kind !== "var") ixLoads(atom.of);
    }
  };
  for (const e of nodesOf(roots)) {
    if (e.kind === "load") {
      found.push(e);
      ixLoads(e.ix);
      e.valid.forEach((c) => ixLoads(c.ix));
    } else if (e.kind === "index") ixLoads(e.ix);
  }
  return found;
}

/** Names of the loop variables that an expression depends on. */
export function varsOf(root: Expr): Set<string> {
  const names = new Set<string>();
  for (const e of nodesOf([root])) {
    const indices = e.kind === "index"
      ? [e.ix]
      : e.kind === "load"
      ? [e.ix, ...e.valid.map((c) => c.ix)]
      : [];
    for (const ix of indices) for (const name of ixVars(ix, varsOf)) names.add(name);
  }
  return names;
}

/** Replace loop variables inside every index of an expression. */
export function substitute(root: Expr, by: ReadonlyMap<string, Ix>, memo: Map<Expr, Expr> = new Map()): Expr {
  const at = (ix: Ix): Ix => ixSubstitute(ix, by, (of) => substitute(of, by, memo));
  return mapExpr(root, (e) => {
    if (e.kind === "index") return indexValue(at(e.ix));
    if (e.kind !== "load") return e;
    return { ...e, ix: at(e.ix), valid: e.valid.map((c) => ({ ...c, ix: at(c.ix) })) };
  }, memo);
}
