/** Short names to write kernels by hand. @module */
import type { DType } from "../../core/ir/aval.ts";
import { type Expr, type ScalarType, scalarType } from "../../core/ir/expr.ts";
import { type Cond, type Ix, ixLinear, ixVar, type Var } from "../../core/ir/ix.ts";
import type { Form, Kernel, RowForm, Slot, Store } from "../../core/kernel/kernel.ts";

/** A kernel to try, with the number of elements of each slot. */
export interface Sample {
  readonly name: string;
  readonly kernel: Kernel;
  readonly sizes: readonly number[];
  /** Element `i` of a slot where random numbers would not do; undefined elsewhere. */
  readonly fill?: (slot: number, i: number) => number | undefined;
}

/** Slots from words like `write f32` or `readwrite f32`; `f16` alone is read. */
export function slots(...words: readonly string[]): Slot[] {
  return words.map((word) => {
    const [access, dtype] = word.includes(" ") ? word.split(" ") : ["read", word];
    return { access: access as Slot["access"], dtype: dtype as DType };
  });
}

/** A sample with its kernel. */
export function sample(
  name: string,
  bindings: readonly Slot[],
  sizes: readonly number[],
  body: Form,
  fill?: Sample["fill"],
): Sample {
  return { name, kernel: { name, slots: bindings, body }, sizes, ...(fill ? { fill } : {}) };
}

/** A loop variable. */
export function loop(name: string, extent: number): Var {
  return { name, extent };
}

/** Element of a slot at an index. */
export function load(slot: number, ix: Ix, valid: readonly Cond[] = [], type: ScalarType = "f32"): Expr {
  return { kind: "load", type, slot, ix, valid };
}

/** `Σ stride · variable`. */
export function at(...parts: readonly (readonly [Var, number])[]): Ix {
  return ixLinear(parts.map(([v]) => ixVar(v)), parts.map(([, stride]) => stride));
}

/** An accumulator. */
export function acc(id = 0, dtype: DType = "f32"): Expr {
  return { kind: "acc", type: scalarType(dtype), id };
}

/** A store. */
export function store(slot: number, ix: Ix, value: Expr): Store {
  return { slot, ix, value };
}

/** A row form with what it lacks empty. */
export function row(parts: Partial<Omit<RowForm, "form">>): RowForm {
  return { form: "row", outer: [], reduces: [], rowStores: [], inner: [], stores: [], ...parts };
}
