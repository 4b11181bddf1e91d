/** Scalar functions as WebAssembly instructions, on one value and on four lanes. @module */
import type { FnName, ScalarType } from "../ir/expr.ts";
import { f32, f32x4, i32, i32x4, type WatType } from "./wat_code.ts";

/** Operands in text: locals or literals, safe to repeat. `types` are those of the operands. */
export interface Operation {
  readonly fn: FnName;
  readonly type: ScalarType;
  readonly types: readonly ScalarType[];
  readonly args: readonly string[];
}

/** The local type that holds one value of `type`. */
export function watType(type: ScalarType): WatType {
  return type === "f32" ? "f32" : "i32";
}

/** Text of a literal: one value, or the same in four lanes. A bool in lanes is a mask of all bits. */
export function literal(value: number, type: ScalarType, lanes: boolean): string {
  if (type === "f32") return lanes ? f32x4(value) : f32(value);
  const n = type === "bool" ? (value ? 1 : 0) : Math.trunc(value);
  if (!lanes) return i32(n);
  return i32x4(Array<number>(4).fill(type === "bool" ? -n : n));
}

/** Text of one value repeated in four lanes. */
export function splat(code: string, type: ScalarType): string {
  const constant = /^\((?:i32|f32)\.const ([^ ()]*)\)$/.exec(code);
  if (constant) return literal(Number(constant[1]!.replace("inf", "Infinity")), type, true);
  if (type === "f32") return `(f32x4.splat ${code})`;
  return type === "bool" ? `(i32x4.splat (i32.sub ${i32(0)} ${code}))` : `(i32x4.splat ${code})`;
}

const COMMON: Partial<Record<FnName, string>> = { xor: "xor", or32: "or", and: "and", or: "or" };
const ARITHMETIC: Partial<Record<FnName, string>> = { add: "add", sub: "sub", mul: "mul", uadd: "add" };
const FLOAT: Partial<Record<FnName, string>> = {
  ...ARITHMETIC,
  div: "div",
  max: "max",
  min: "min",
  neg: "neg",
  abs: "abs",
  floor: "floor",
  sqrt: "sqrt",
};
const ELEMENTARY: readonly FnName[] = ["exp", "log", "sin", "cos", "tanh"];
const COMPARE: Partial<Record<FnName, string>> = { lt: "lt", le: "le", eq: "eq" };

function refuse({ fn, types }: Operation): never {
  throw new Error(`The CPU target has no ${fn} of ${types.join(", ")}.`);
}

/** Sign suffix of an integer instruction. */
function signed(type: ScalarType): string {
  return type === "i32" ? "_s" : "_u";
}

/** Text of an operation on single values; `calls` collects the functions that it needs. */
export function scalarOperation(o: Operation, calls: Set<string>): string {
  const [a, b, c] = o.args as [string, string, string];
  const of = o.types[0]!;
  if (ELEMENTARY.includes(o.fn)) {
    calls.add(o.fn);
    return `(f32x4.extract_lane 0 (call $${o.fn} (f32x4.splat ${a})))`;
  }
  if (o.fn === "select") return `(select ${b} ${c} ${a})`;
  if (o.fn === "not") return `(i32.eqz ${a})`;
  if (o.fn === "toF32") return of === "f32" ? a : `(f32.convert_i32${signed(of)} ${a})`;
  if (o.fn === "toI32") return of === "f32" ? `(i32.trunc_sat_f32_s ${a})` : a;
  if (o.fn === "toU32") return of === "f32" ? `(i32.trunc_sat_f32_u ${a})` : a;
  if (COMMON[o.fn]) return `(i32.${COMMON[o.fn]} ${a} ${b})`;
  if (o.fn === "shl") return `(i32.shl ${a} ${b})`;
  if (o.fn === "shr") return `(i32.shr_u ${a} ${b})`;
  if (COMPARE[o.fn]) {
    const suffix = of === "f32" || o.fn === "eq" ? "" : signed(of);
    return `(${watType(of)}.${COMPARE[o.fn]}${suffix} ${a} ${b})`;
  }
  if (of === "f32") return FLOAT[o.fn] ? `(f32.${FLOAT[o.fn]} ${o.args.join(" ")})` : refuse(o);
  if (of === "bool") return refuse(o);
  if (ARITHMETIC[o.fn]) return `(i32.${ARITHMETIC[o.fn]} ${a} ${b})`;
  if (o.fn === "neg") return `(i32.sub ${i32(0)} ${a})`;
  if (o.fn === "abs") {
    return of === "u32" ? a : `(select (i32.sub ${i32(0)} ${a}) ${a} (i32.lt_s ${a} ${i32(0)}))`;
  }
  if (o.fn === "max") return `(select ${a} ${b} (i32.gt${signed(of)} ${a} ${b}))`;
  if (o.fn === "min") return `(select ${a} ${b} (i32.lt${signed(of)} ${a} ${b}))`;
  return refuse(o);
}

/** Text of an operation on four lanes. The amount of a shift is a single value, all other operands are lanes. */
export function laneOperation(o: Operation, calls: Set<string>): string {
  const [a, b, c] = o.args as [string, string, string];
  const of = o.types[0]!;
  const bits = (code: string): string => (of === "bool" ? `(v128.and ${code} ${i32x4([1, 1, 1, 1])})` : code);
  if (ELEMENTARY.includes(o.fn)) {
    calls.add(o.fn);
    return `(call $${o.fn} ${a})`;
  }
  if (o.fn === "select") return `(v128.bitselect ${b} ${c} ${a})`;
  if (o.fn === "not") return `(v128.not ${a})`;
  if (o.fn === "toF32") {
    if (of === "bool") return `(v128.and ${a} ${f32x4(1)})`;
    return of === "f32" ? a : `(f32x4.convert_i32x4${signed(of)} ${a})`;
  }
  if (o.fn === "toI32") return of === "f32" ? `(i32x4.trunc_sat_f32x4_s ${a})` : bits(a);
  if (o.fn === "toU32") return of === "f32" ? `(i32x4.trunc_sat_f32x4_u ${a})` : bits(a);
  if (COMMON[o.fn]) return `(v128.${COMMON[o.fn]} ${a} ${b})`;
  if (o.fn === "shl") return `(i32x4.shl ${a} ${b})`;
  if (o.fn === "shr") return `(i32x4.shr_u ${a} ${b})`;
  if (COMPARE[o.fn]) {
    const suffix = of === "f32" || o.fn === "eq" ? "" : signed(of);
    return `(${of === "f32" ? "f32x4" : "i32x4"}.${COMPARE[o.fn]}${suffix} ${a} ${b})`;
  }
  if (of === "f32") return FLOAT[o.fn] ? `(f32x4.${FLOAT[o.fn]} ${o.args.join(" ")})` : refuse(o);
  if (of === "bool") return refuse(o);
  if (ARITHMETIC[o.fn]) return `(i32x4.${ARITHMETIC[o.fn]} ${a} ${b})`;
  if (o.fn === "neg") return `(i32x4.neg ${a})`;
  if (o.fn === "abs") return of === "u32" ? a : `(i32x4.abs ${a})`;
  if (o.fn === "max" || o.fn === "min") return `(i32x4.${o.fn}${signed(of)} ${a} ${b})`;
  return refuse(o);
}
