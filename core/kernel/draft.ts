/** Drafts: kernels while fusion works on them, their slots still naming program values. @module */
import { type Aval, bytesOf, stridesOf } from "../ir/aval.ts";
import { type Expr, loadsOf, scalarType } from "../ir/expr.ts";
import { type Cond, type Ix, ixAdd, ixConst, ixLinear } from "../ir/ix.ts";
import { type Form, type Store, valuesOf } from "./kernel.ts";

/** A program value seen from element `base` on. Drafts' slots are numbers of bindings. */
export interface Binding {
  readonly node: number;
  readonly base: number;
}

/** Bytes to which a binding's start is aligned: WebGPU's largest minimum. */
export const BINDING_ALIGNMENT = 256;

/** A kernel in the making. */
export interface Draft {
  /** Values that it writes; the last one gives it its place in the order. */
  readonly writes: readonly number[];
  readonly body: Form;
  /** Values computed inside it without being stored. */
  readonly inlined: ReadonlySet<number>;
}

/** All bindings of a program's drafts, numbered. */
export class Bindings {
  readonly #byKey = new Map<string, number>();
  readonly #all: Binding[] = [];
  readonly #reads = new WeakMap<Form, ReadonlySet<number>>();

  at(slot: number): Binding {
    return this.#all[slot]!;
  }

  /** The number of a binding. */
  slot(node: number, base = 0): number {
    const key = `${node}+${base}`;
    const old = this.#byKey.get(key);
    if (old !== undefined) return old;
    this.#all.push({ node, base });
    this.#byKey.set(key, this.#all.length - 1);
    return this.#all.length - 1;
  }

  /**
   * A load of element `index` of a value. A constant part of the position moves into the binding as far as alignment
   * allows, so that the kernels of different layers, which read different slices of one arena, have equal text.
   */
  load(node: number, at: Aval, index: readonly Ix[], valid: readonly Cond[]): Expr {
    const ix = ixLinear(index, stridesOf(at.shape));
    const step = BINDING_ALIGNMENT / bytesOf(at.dtype);
    const base = valid.length === 0 && ix.lo >= 0 ? Math.floor(ix.constant / step) * step : 0;
    const moved = base > 0 && ix.lo >= base ? base : 0;
    return {
      kind: "load",
      type: scalarType(at.dtype),
      slot: this.slot(node, moved),
      ix: moved ? ixAdd(ix, ixConst(-moved)) : ix,
      valid,
    };
  }

  /** A store of element `index` of a value. */
  store(node: number, at: Aval, index: readonly Ix[], value: Expr): Store {
    return { slot: this.slot(node), ix: ixLinear(index, stridesOf(at.shape)), value };
  }

  /** Program values that a form reads. */
  reads(body: Form): ReadonlySet<number> {
    const known = this.#reads.get(body);
    if (known) return known;
    const found = new Set(readSlots(body).map((slot) => this.at(slot).node));
    this.#reads.set(body, found);
    return found;
  }
}

/** Bindings that forms read: forms do not change, and are asked again and again. */
const slotsRead = new WeakMap<Form, readonly number[]>();

/** Bindings that a form reads, in order of appearance. */
export function readSlots(body: Form): readonly number[] {
  const known = slotsRead.get(body);
  if (known) return known;
  const slots = loadsOf(valuesOf(body)).map((l) => l.slot);
  if (body.form === "stages" || body.form === "stagesGrad") slots.push(body.coefficients);
  const found = [...new Set(slots)];
  slotsRead.set(body, found);
  return found;
}

/** Bindings that a form writes. */
export function writeSlots(body: Form): number[] {
  switch (body.form) {
    case "row":
      return [...body.rowStores, ...body.stores].map((s) => s.slot);
    case "contract":
    case "stages":
    case "solve":
    case "attention":
      return body.stores.map((s) => s.slot);
    case "stagesGrad":
    case "scatter":
      return [body.out];
  }
}
