/**
 * Row kernels in WebAssembly: maps, reductions, and rows that do both. Lanes run along the rows' elements, or, where the
 * data lie side by side there, along the rows themselves. @module
 */
import type { Expr } from "../ir/expr.ts";
import { ixAdd, ixConst, ixScale, ixVar, type Var } from "../ir/ix.ts";
import { extentOf, type RowForm, type Store } from "./kernel.ts";
import { get, i32 } from "./wat_code.ts";
import type { Values } from "./wat_expr.ts";
import {
  costOf,
  type Cut,
  flatten,
  gathersAlong,
  indicesOf,
  laneLoop,
  merge,
  nest,
  Renaming,
  smaller,
  units,
} from "./wat_loops.ts";
import { begin, partialSums, reduceAlong, update } from "./wat_reduce.ts";

/** Groups of four elements in a unit of a map. */
const MAP_FOURS = 256;

/** Print a row kernel. */
export function printRow(form: RowForm, values: Values): Cut {
  if (form.reduces.length === 0 && form.rowStores.length === 0) {
    return printMap([...form.outer, ...form.inner], form.stores, values);
  }
  if (form.reduces.length === 0 && form.stores.length === 0) {
    return printMap(form.outer, form.rowStores, values);
  }
  return printRows(form, values);
}

function printMap(vars: readonly Var[], stores: readonly Store[], values: Values): Cut {
  const { fn } = values;
  const merged = merge(vars, indicesOf([], stores));
  const simple = new Renaming(merged.places).stores(stores);
  const last = merged.vars.at(-1) ?? { name: "e'", extent: 1 };
  const outer = merged.vars.slice(0, -1);
  const cost = costOf(stores.map((s) => s.value));
  const work = extentOf(vars) / 4 * cost;
  if (outer.length > 0 && last.extent >= 16 && extentOf(outer) >= 8) {
    const row = flatten(outer, "row'");
    const inRow = new Renaming(row.places).stores(simple);
    fn.loop(
      "row'",
      units.from,
      units.to,
      () => laneLoop(values, last, (lanes) => values.store(inRow, lanes)),
    );
    return { units: row.v.extent, scratchBytes: 0, work };
  }
  const one = flatten(merged.vars, "e'");
  const elements = new Renaming(one.places).stores(simple);
  const count = 4 * MAP_FOURS;
  const from = fn.keep("i32", `(i32.mul ${units.from} ${i32(count)})`);
  const to = fn.keep("i32", `(i32.mul ${units.to} ${i32(count)})`);
  const most = fn.keep("i32", smaller(to, i32(one.v.extent)));
  laneLoop(values, one.v, (lanes) => values.store(elements, lanes), { from, to: most });
  return { units: Math.ceil(one.v.extent / count), scratchBytes: 0, work };
}

/** The form with its outer variables as one, `r`, and each set of inner ones merged. */
function simplify(form: RowForm): RowForm & { readonly r: Var } {
  const joined = merge(
    form.outer,
    indicesOf(form.reduces.map((r) => r.value), [...form.rowStores, ...form.stores]),
  );
  const merging = new Renaming(joined.places);
  const row = flatten(joined.vars, "row'");
  const rows = new Renaming(row.places);
  const outerExpr = (e: Expr): Expr => rows.expr(merging.expr(e));
  const outerStores = (s: readonly Store[]): Store[] => rows.stores(merging.stores(s));
  const reduces = form.reduces.map((r) => {
    const value = outerExpr(r.value);
    const inner = merge(r.inner, indicesOf([value]));
    return { ...r, inner: inner.vars, value: new Renaming(inner.places).expr(value) };
  });
  const stores = outerStores(form.stores);
  const inner = merge(form.inner, indicesOf([], stores));
  return {
    ...form,
    r: row.v,
    reduces,
    rowStores: outerStores(form.rowStores),
    inner: inner.vars,
    stores: new Renaming(inner.places).stores(stores),
  };
}

function printRows(original: RowForm, values: Values): Cut {
  const form = simplify(original);
  const { r } = form;
  const cost = form.reduces.reduce((n, { inner, value }) => n + extentOf(inner) * costOf([value]), 0) +
    extentOf(form.inner) * costOf(form.stores.map((s) => s.value));
  const work = r.extent * cost / 4;
  if (!lanesAcross(form)) {
    values.fn.loop("row'", units.from, units.to, () => printRowAlong(form, values));
    return { units: r.extent, scratchBytes: 0, work };
  }
  return { units: printRowsAcross(form, values), scratchBytes: 0, work };
}

/** Whether four rows side by side are better than four elements of one row. */
function lanesAcross({ r, reduces, inner, stores }: RowForm & { readonly r: Var }): boolean {
  if (r.extent < 4) return false;
  const gathers = (name: (loop: readonly Var[]) => string): number =>
    reduces.reduce((n, red) => n + gathersAlong([red.value], name(red.inner)), 0) +
    gathersAlong(stores.map((s) => s.value), name(inner));
  const shortest = Math.min(...reduces.map((red) => red.inner.at(-1)?.extent ?? 1));
  return shortest < 4 || gathers(() => r.name) < gathers((loop) => loop.at(-1)?.name ?? "");
}

/** One row, lanes along its elements. */
function printRowAlong(form: RowForm, values: Values): void {
  for (const reduce of form.reduces) values.setAccumulator(reduce.id, reduceAlong(values, reduce), ["row'"]);
  values.store(form.rowStores, false);
  if (form.stores.length === 0) return;
  const last = form.inner.at(-1);
  nest(values, form.inner.slice(0, -1), () => {
    if (!last) return values.store(form.stores, false);
    laneLoop(values, last, (lanes) => values.store(form.stores, lanes));
  });
}

/** Rows side by side in lanes, four groups of four where that divides the rows; the rest one by one. Returns the units. */
function printRowsAcross(form: RowForm & { readonly r: Var }, values: Values): number {
  const { fn } = values, { r } = form;
  const isLight = costOf(form.reduces.map((x) => x.value)) <= 40;
  const groups = isLight && r.extent % 16 === 0 ? 4 : 1;
  const whole: Var = { name: "unit'", extent: Math.floor(r.extent / (4 * groups)) };
  const bases = [...Array(groups).keys()].map((g) =>
    ixAdd(ixScale(ixVar(whole), 4 * groups), ixConst(4 * g))
  );
  const to = fn.keep("i32", smaller(units.to, i32(whole.extent)));
  fn.loop("unit'", units.from, to, () => {
    const { level } = fn;
    const totals = bases.map(() => new Map<number, string>());
    const each = (body: (group: number) => void): void =>
      bases.forEach((base, g) => {
        for (const [id, code] of totals[g]!) values.setAccumulator(id, code, ["row'"], level);
        values.withLane({ name: "row'", base }, () => body(g));
      });
    for (const reduce of form.reduces) {
      const into = bases.map(() => begin(values, reduce, true));
      const last = reduce.inner.at(-1) ?? { name: "e'", extent: 1 };
      nest(
        values,
        reduce.inner.slice(0, -1),
        () =>
          partialSums(
            values,
            last,
            reduce,
            true,
            into,
            (parts) => each((g) => update(values, reduce.combine, reduce.value, true, parts[g]!)),
          ),
      );
      into.forEach((name, g) => totals[g]!.set(reduce.id, get(name)));
    }
    each(() => values.store(form.rowStores, true));
    if (form.stores.length > 0) nest(values, form.inner, () => each(() => values.store(form.stores, true)));
  });
  if (r.extent % 4 === 0) return whole.extent;
  fn.when(
    `(i32.gt_u ${units.to} ${i32(whole.extent)})`,
    () => fn.loop("row'", i32(4 * whole.extent), i32(r.extent), () => printRowAlong(form, values), 1, true),
  );
  return whole.extent + 1;
}
