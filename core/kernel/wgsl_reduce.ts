/**
 * Reductions in WGSL: a workgroup takes some rows, some invocations each; partial results meet in workgroup memory in
 * a fixed order, so equal runs give equal bits. @module
 */
import { type Expr, loadsOf, type ScalarType, varsOf } from "../ir/expr.ts";
import { ixStride } from "../ir/ix.ts";
import { extentOf, type Reduce, type RowForm, type Store } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import type { Scope } from "./wgsl_expr.ts";
import { literal } from "./wgsl_functions.ts";
import { Flat } from "./wgsl_flat.ts";
import type { WgslLimits } from "./wgsl_memory.ts";
import { four, wideSlots } from "./wgsl_wide.ts";

/** How a workgroup divides: `rows` rows by `lanes` invocations a row. */
interface Division {
  readonly rows: number;
  readonly lanes: number;
  /** Neighbouring invocations take neighbouring rows rather than neighbouring elements of a row. */
  readonly rowsFirst: boolean;
}

/** Reductions that share a loop over `count` elements (or vectors of four): values of each, by neighbour. */
interface Group {
  readonly reduces: readonly Reduce[];
  readonly count: number;
  readonly values: readonly (readonly Expr[])[];
}

/** A row kernel over flat variables. */
interface Flattened {
  readonly groups: readonly Group[];
  readonly rowStores: readonly Store[];
  readonly count: number;
  /** By neighbour. */
  readonly stores: readonly (readonly Store[])[];
}

/** Print a row kernel with reductions into the scope of its entry point. */
export function reduction(scope: Scope, body: RowForm): Grid {
  const { module } = scope;
  const rows = extentOf(body.outer);
  const lengths = [extentOf(body.inner), ...body.reduces.map((r) => extentOf(r.inner))];
  const byColumns = rows > 1 && runsAlongRows(body);
  const inFours = !byColumns && Math.max(...lengths) >= 128 && lengths.every((n) => n % 4 === 0 || n === 1);
  let flat = flatten(body, inFours ? 4 : 1);
  if (inFours) {
    module.wide = wideSlots(module.kernel, [
      ...flat.groups.map((g) => ({ values: g.values })),
      { values: flat.stores.map(() => []), stores: flat.stores },
      { values: [[]], stores: [flat.rowStores] },
    ]);
    if (module.wide.size === 0) flat = flatten(body, 1);
  }
  const longest = Math.max(flat.count, ...flat.groups.map((g) => g.count));
  const division = divide(rows, longest, byColumns, module.limits);
  const ragged = rows % division.rows !== 0;
  const [own, at] = division.rowsFirst
    ? [`lane % ${division.rows}u`, `lane / ${division.rows}u`]
    : [`lane / ${division.lanes}u`, `lane % ${division.lanes}u`];
  const number = `unit * ${division.rows}u + ${own}`;
  // Rows beyond the end repeat the last one, so that all invocations reach all barriers.
  scope.line(`let row = ${ragged ? `min(${number}, ${rows - 1}u)` : number};`, `let at = ${at};`);
  scope.nested({ vars: { row: "row" } }, (inner) => {
    for (const group of flat.groups) reduceGroup(inner, group, division);
    storeRow(inner, flat, division, ragged ? [`${number} < ${rows}u`] : []);
  });
  return { units: Math.ceil(rows / division.rows), lanes: division.rows * division.lanes };
}

/** Rows are read together where memory runs along them; long rows get more invocations. */
function divide(rows: number, length: number, byColumns: boolean, limits: WgslLimits): Division {
  const most = Math.min(limits.maxInvocations, rows >= 64 ? 256 : 1024);
  if (byColumns) {
    const wide = rows >= 32 * limits.busyWorkgroups ? 32 : 16;
    return { rows: wide, lanes: Math.min(most / wide, powerBelow(length)), rowsFirst: true };
  }
  if (length <= 32 && rows >= 64) return { rows: 64, lanes: 1, rowsFirst: true };
  const lanes = Math.min(most, Math.max(32, powerBelow(length / 4)));
  return { rows: rows > 1 ? Math.max(1, 64 / lanes) : 1, lanes, rowsFirst: false };
}

function powerBelow(n: number): number {
  return 2 ** Math.max(0, Math.floor(Math.log2(n)));
}

/** Whether the first load that touches rows and elements has stride 1 in the last row variable only. */
function runsAlongRows(body: RowForm): boolean {
  const name = body.outer.findLast((v) => v.extent > 1)?.name;
  if (name === undefined) return false;
  for (const { inner, value } of body.reduces) {
    const fastest = inner.findLast((v) => v.extent > 1)?.name;
    for (const { ix } of loadsOf([value])) {
      if (fastest !== undefined && ixStride(ix, fastest, varsOf) === 0) continue;
      if (fastest !== undefined && ixStride(ix, fastest, varsOf) === 1) return false;
      if (ixStride(ix, name, varsOf) === 1) return true;
    }
  }
  return false;
}

/** Reductions in a row over equally many elements, none using another of them, share one loop. */
function flatten(body: RowForm, step: 1 | 4): Flattened {
  const groups: { reduces: Reduce[]; count: number }[] = [];
  for (const r of body.reduces) {
    const last = groups.at(-1), count = extentOf(r.inner);
    if (last && last.count === count && !last.reduces.some((other) => usesAcc(r.value, other.id))) {
      last.reduces.push(r);
    } else groups.push({ reduces: [r], count });
  }
  const lanes = <T>(count: number, of: (quick: (name: string) => string, lane: number) => T): T[] =>
    step === 4 && count > 1 ? four((lane) => of((name) => name, lane)) : [of(() => "", 0)];
  const units = (count: number): number => (count > 1 ? count / step : count);
  const count = extentOf(body.inner);
  return {
    groups: groups.map((g) => ({
      reduces: g.reduces,
      count: units(g.count),
      values: lanes(
        g.count,
        (quick, lane) =>
          g.reduces.map((r) => new Flat({ row: body.outer, r: r.inner }, quick("r"), lane).expr(r.value)),
      ),
    })),
    rowStores: body.rowStores.map((s) => new Flat({ row: body.outer }).store(s)),
    count: units(count),
    stores: lanes(count, (quick, lane) => {
      const flat = new Flat({ row: body.outer, e: body.inner }, quick("e"), lane);
      return body.stores.map((s) => flat.store(s));
    }),
  };
}

function usesAcc(e: Expr, id: number): boolean {
  if (e.kind === "acc") return e.id === id;
  return e.kind === "call" && e.args.some((a) => usesAcc(a, id));
}

function storeRow(
  scope: Scope,
  { rowStores, stores, count }: Flattened,
  division: Division,
  live: readonly string[],
): void {
  if (rowStores.length > 0) {
    scope.block(`if (${[...live, "at == 0u"].join(" && ")})`, {}, (inner) => inner.stores(rowStores));
  }
  if (stores[0]!.length === 0) return;
  const body = (alive: Scope): void => {
    alive.hoist(stores[0]!.map((s) => s.value));
    strided(alive, "e", count, division.lanes, (inner) => inner.line(...inner.storing(stores)));
  };
  if (live.length > 0) scope.block(`if (${live.join()})`, {}, body);
  else scope.nested({}, body);
}

function reduceGroup(scope: Scope, { reduces, count, values }: Group, division: Division): void {
  const partials = reduces.map(() => scope.module.fresh("part"));
  reduces.forEach(({ combine, value: { type } }, i) => {
    scope.line(`var ${partials[i]} = ${combine === "add" ? literal(0, type) : lowest(type)};`);
  });
  scope.hoist(values[0]!);
  strided(scope, "r", count, division.lanes, (inner) => {
    const texts = inner.lanes(values);
    reduces.forEach((r, i) => {
      const value = texts.map((of) => of[i]!).reduce((a, b) => combined(r, a, b));
      inner.line(`${partials[i]} = ${combined(r, partials[i]!, texts.length > 1 ? `(${value})` : value)};`);
    });
  });
  reduces.forEach((r, i) =>
    scope.define(r.id, division.lanes === 1 ? partials[i]! : meet(scope, r, partials[i]!, division))
  );
}

function lowest(type: ScalarType): string {
  return type === "f32"
    ? literal(-Infinity, type)
    : type === "i32"
    ? literal(-2147483648, type)
    : literal(0, type);
}

function combined({ combine }: Reduce, a: string, b: string): string {
  return combine === "add" ? `${a} + ${b}` : `max(${a}, ${b})`;
}

/** Combine the partial results of a row's invocations in a tree; the result's name. */
function meet(scope: Scope, r: Reduce, partial: string, { rows, lanes, rowsFirst }: Division): string {
  const { type } = r.value;
  const memory = `parts_${type}`;
  scope.module.helper(`var<workgroup> ${memory}: array<${type}, ${rows * lanes}>;`);
  const step = rowsFirst ? rows : 1;
  scope.line(`${memory}[lane] = ${partial};`, "workgroupBarrier();");
  for (let half = lanes / 2; half >= 1; half /= 2) {
    const other = `${memory}[lane + ${half * step}u]`;
    scope.line(
      `if (at < ${half}u) { ${memory}[lane] = ${combined(r, `${memory}[lane]`, other)}; }`,
      "workgroupBarrier();",
    );
  }
  const name = scope.module.fresh("acc");
  scope.line(`let ${name} = ${memory}[lane - at * ${step}u];`, "workgroupBarrier();");
  return name;
}

/** Elements that one turn of a loop handles: fewer bound checks, more loads in flight. */
const UNROLL = 4;

/** For `name` from `at` to `count`, each invocation of the row every `lanes`-th. */
function strided(
  scope: Scope,
  name: string,
  count: number,
  lanes: number,
  body: (inner: Scope) => void,
): void {
  const turn = lanes * UNROLL;
  const whole = Math.floor(count / turn) * turn;
  const once = (into: Scope, start: string, guard: boolean): void => {
    into.block(guard ? `if (${start} < ${count}u)` : "", { vars: { [name]: name } }, (inner) => {
      inner.line(`let ${name} = ${start};`);
      body(inner);
    });
  };
  if (whole > turn) {
    const from = lanes === 1 ? "0u" : "at";
    scope.block(`for (var start = ${from}; start < ${whole}u; start += ${turn}u)`, {}, (loop) => {
      for (let i = 0; i < UNROLL; i++) once(loop, i === 0 ? "start" : `start + ${i * lanes}u`, false);
    });
  }
  for (let base = whole > turn ? whole : 0; base < count; base += lanes) {
    once(scope, lanes === 1 ? `${base}u` : base === 0 ? "at" : `at + ${base}u`, base + lanes > count);
  }
}
