/** Loop variables in WebAssembly: joining them into few long loops, and running loops four elements at a time. @module */
import { type Expr, loadsOf, nodesOf, substitute } from "../ir/expr.ts";
import { type Ix, ixConst, ixScale, ixStride, ixSubstitute, ixUnravel, ixVar, type Var } from "../ir/ix.ts";
import { extentOf, type Store } from "./kernel.ts";
import { get, i32 } from "./wat_code.ts";
import type { Values } from "./wat_expr.ts";

/** How a kernel is cut for threads: `units` equal parts that may run in any order, and the scratch memory of a thread. */
export interface Cut {
  readonly units: number;
  readonly scratchBytes: number;
  /** Rough number of vector instructions of all units. */
  readonly work: number;
}

/** Replaces loop variables in many values; what they share stays shared. */
export class Renaming {
  readonly #memo = new Map<Expr, Expr>();
  constructor(readonly places: ReadonlyMap<string, Ix>) {}

  /** The value with its variables replaced. */
  expr(e: Expr): Expr {
    return this.places.size === 0 ? e : substitute(e, this.places, this.#memo);
  }

  /** The stores with their variables replaced. */
  stores(stores: readonly Store[]): Store[] {
    const ix = (of: Ix): Ix => ixSubstitute(of, this.places, (e) => this.expr(e));
    return stores.map((s) => ({ slot: s.slot, ix: ix(s.ix), value: this.expr(s.value) }));
  }
}

/** All indices in values and stores, those of memory reads inside indices included. */
export function indicesOf(values: readonly Expr[], stores: readonly Store[] = []): Ix[] {
  const roots = [...values, ...stores.map((s) => s.value)];
  const direct = nodesOf(roots).flatMap((e) => (e.kind === "index" ? [e.ix] : []));
  const loads = loadsOf(roots).flatMap((l) => [l.ix, ...l.valid.map((c) => c.ix)]);
  return [...direct, ...loads, ...stores.map((s) => s.ix)];
}

/** `vars` as one variable `name`. */
export function flatten(vars: readonly Var[], name: string): { v: Var; places: Map<string, Ix> } {
  const v: Var = { name, extent: extentOf(vars) };
  const index = ixUnravel(ixVar(v), vars.map((u) => u.extent));
  return { v, places: new Map(vars.map((u, i) => [u.name, index[i]!])) };
}

/** Join neighbouring variables where no index becomes more complicated by it. */
export function merge(
  vars: readonly Var[],
  indices: readonly Ix[],
): { vars: Var[]; places: Map<string, Ix> } {
  const merged: Var[] = vars.filter((v) => v.extent !== 1);
  const places = new Map(vars.filter((v) => v.extent === 1).map((v) => [v.name, ixConst(0)]));
  let current = indices;
  for (let i = merged.length - 2; i >= 0; i--) {
    const pair = merged.slice(i, i + 2);
    const joined = flatten(pair, `${pair[0]!.name}.${pair[1]!.name}`);
    const after = current.map((ix) => ixSubstitute(ix, joined.places));
    if (after.some((ix, j) => divisionsIn(ix) > divisionsIn(current[j]!))) continue;
    merged.splice(i, 2, joined.v);
    current = after;
    for (const [name, ix] of places) places.set(name, ixSubstitute(ix, joined.places));
    for (const [name, ix] of joined.places) places.set(name, ix);
  }
  return { vars: merged, places };
}

function divisionsIn(ix: Ix): number {
  return ix.terms.reduce(
    (n, { atom }) => n + (atom.kind === "div" || atom.kind === "mod" ? 1 + divisionsIn(atom.of) : 0),
    0,
  );
}

/** Number of loads in the values that four lanes along `name` would have to gather one by one. */
export function gathersAlong(values: readonly Expr[], name: string): number {
  return loadsOf(values).filter((l) => {
    const stride = strideOf(l.ix, name);
    return stride !== 0 && stride !== 1;
  }).length;
}

function namesInside(of: Expr): Set<string> {
  const names = new Set<string>();
  for (const ix of indicesOf([of])) {
    for (const { atom } of ix.terms) {
      if (atom.kind === "var") names.add(atom.name);
      else if (atom.kind === "value") { for (const n of namesInside(atom.of)) names.add(n); }
      else for (const n of namesInside({ kind: "index", type: "i32", ix: atom.of })) names.add(n);
    }
  }
  return names;
}

/** Growth of `ix` with `name`; null where it is not constant. */
export function strideOf(ix: Ix, name: string): number | null {
  return ixStride(ix, name, namesInside);
}

/** Rough number of instructions to compute the values once. */
export function costOf(values: readonly Expr[]): number {
  const elementary = new Set(["exp", "log", "sin", "cos", "tanh"]);
  return nodesOf(values).reduce((n, e) => n + (e.kind === "call" && elementary.has(e.fn) ? 16 : 1), 1);
}

/** Nested loops over `vars`. */
export function nest(values: Values, vars: readonly Var[], body: () => void): void {
  const [first, ...rest] = vars;
  if (!first) return body();
  values.fn.count(first.name, first.extent, () => nest(values, rest, body));
}

/** A part of a variable's range, as locals; it begins at a multiple of 4 and ends at one or at the extent. */
export interface Range {
  readonly from: string;
  readonly to: string;
}

/** `body(true)` for four neighbours of `v` at a time, then `body(false)` for each of the rest. */
export function laneLoop(values: Values, v: Var, body: (lanes: boolean) => void, range?: Range): void {
  const { fn } = values;
  const fours = Math.floor(v.extent / 4), rest = v.extent % 4;
  const quarter: Var = { name: `${v.name}/4`, extent: fours };
  if (fours > 0) {
    values.withLane({ name: v.name, base: ixScale(ixVar(quarter), 4) }, () => {
      if (!range) return fn.count(quarter.name, fours, () => body(true));
      const by4 = (code: string): string => `(i32.shr_u ${code} ${i32(2)})`;
      fn.loop(quarter.name, by4(range.from), fn.keep("i32", by4(range.to)), () => body(true));
    });
  }
  if (rest === 0) return;
  if (!range) return fn.loop(v.name, i32(4 * fours), i32(v.extent), () => body(false), 1, true);
  const from = fours === 0
    ? range.from
    : `(select ${range.from} ${i32(4 * fours)} (i32.gt_u ${range.from} ${i32(4 * fours)}))`;
  fn.loop(v.name, from, range.to, () => body(false));
}

/** Text of the smaller of two numbers; the operands are repeated. */
export function smaller(a: string, b: string): string {
  return `(select ${a} ${b} (i32.lt_u ${a} ${b}))`;
}

/** Text of the address of lane 0 of `v` (lanes) or of `v`, `bytes` a step, from `base`. */
export function laneAddress(values: Values, base: string, v: Var, bytes: number, lanes: boolean): string {
  const { fn } = values;
  if (v.extent === 1 || (lanes && v.extent < 8)) return base;
  const index = fn.variable(lanes ? `${v.name}/4` : v.name);
  return `(i32.add ${base} (i32.mul ${index} ${i32(lanes ? 4 * bytes : bytes)}))`;
}

/** Text that reads the parameters of the part to run. */
export const units: Range = { from: get("$begin"), to: get("$end") };
