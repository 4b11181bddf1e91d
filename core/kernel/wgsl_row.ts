/**
 * Row kernels in WGSL. Maps: an invocation for each element. Reductions: a workgroup takes some rows, some invocations
 * each; partial results meet in workgroup memory in a fixed order, so equal runs give equal bits. @module
 */
import { type Expr, loadsOf, type ScalarType, varsOf } from "../ir/expr.ts";
import { ixStride } from "../ir/ix.ts";
import { extentOf, type Reduce, type RowForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { literal, type Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import type { WgslLimits } from "./wgsl_memory.ts";

/** Print a row kernel into the scope of its entry point. */
export function row(scope: Scope, body: RowForm): Grid {
  return body.reduces.length === 0 ? map(scope, body) : reduction(scope, body);
}

const MAP_LANES = 256;

function map(scope: Scope, body: RowForm): Grid {
  const all = [...body.outer, ...body.inner];
  const elements = body.stores.length > 0 ? extentOf(all) : 0, rows = body.rowStores.length > 0 ? extentOf(body.outer) : 0;
  const lanes = Math.max(elements, rows) < MAP_LANES ? 64 : MAP_LANES;
  const units = Math.ceil(Math.max(elements, rows) / lanes);
  scope.line(`let e = unit * ${lanes}u + lane;`);
  const parts = [[elements, all, body.stores], [rows, body.outer, body.rowStores]] as const;
  for (const [count, vars, stores] of parts) {
    if (count === 0) continue;
    const flat = new Flat({ e: vars });
    const guard = count === units * lanes ? "" : `if (e < ${count}u)`;
    scope.block(guard, { vars: { e: "e" } }, (inner) => inner.stores(stores.map((s) => flat.store(s))));
  }
  return { units, lanes };
}

/** How a workgroup divides: `rows` rows by `lanes` invocations a row. */
interface Division {
  readonly rows: number;
  readonly lanes: number;
  /** Neighbouring invocations take neighbouring rows rather than neighbouring elements of a row. */
  readonly rowsFirst: boolean;
}

/** Rows are read together where memory runs along them; long rows get more invocations. */
function divide(body: RowForm, limits: WgslLimits): Division {
  const rows = extentOf(body.outer);
  const length = Math.max(extentOf(body.inner), ...body.reduces.map((r) => extentOf(r.inner)));
  const most = Math.min(limits.maxInvocations, rows >= 64 ? 256 : 1024);
  if (runsAlongRows(body) && rows > 1) {
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
      if (fastest !== undefined && ixStride(ix, fastest, varsOf) === 1) return false;
      if (ixStride(ix, name, varsOf) === 1) return true;
    }
  }
  return false;
}

function reduction(scope: Scope, body: RowForm): Grid {
  const rows = extentOf(body.outer);
  const division = divide(body, scope.module.limits);
  const lanes = division.rows * division.lanes;
  const units = Math.ceil(rows / division.rows);
  const ragged = rows % division.rows !== 0;
  // Rows beyond the end repeat the last one, so that all invocations reach all barriers.
  const [own, at] = division.rowsFirst
    ? [`lane % ${division.rows}u`, `lane / ${division.rows}u`]
    : [`lane / ${division.lanes}u`, `lane % ${division.lanes}u`];
  const number = `unit * ${division.rows}u + ${own}`;
  scope.line(`let row = ${ragged ? `min(${number}, ${rows - 1}u)` : number};`, `let at = ${at};`);
  scope.block("", { vars: { row: "row" } }, (inner) => rowBody(inner, body, division, ragged ? `${number} < ${rows}u` : ""));
  return { units, lanes };
}

function rowBody(scope: Scope, body: RowForm, division: Division, live: string): void {
  const { outer: rowVars, inner: e } = body;
  for (const group of together(body.reduces)) {
    const values = group.map(({ inner, value }) => new Flat({ row: rowVars, r: inner }).expr(value));
    reduceGroup(scope, group, values, division);
  }
  const flat = new Flat({ row: rowVars, e });
  const rowStores = body.rowStores.map((s) => flat.store(s)), stores = body.stores.map((s) => flat.store(s));
  if (rowStores.length > 0) {
    scope.block(`if (${[...(live ? [live] : []), "at == 0u"].join(" && ")})`, {}, (inner) => inner.stores(rowStores));
  }
  if (stores.length === 0) return;
  scope.block(live ? `if (${live})` : "", {}, (alive) => {
    alive.hoist(stores.map((s) => s.value));
    strided(alive, "e", extentOf(e), division.lanes, (inner) => inner.stores(stores));
  });
}

/** Reductions in a row over equally many elements, none using another of them, share one loop. */
function together(reduces: readonly Reduce[]): Reduce[][] {
  const groups: Reduce[][] = [];
  for (const r of reduces) {
    const last = groups.at(-1);
    const fits = last && extentOf(last[0]!.inner) === extentOf(r.inner) &&
      !last.some((other) => usesAcc(r.value, other.id));
    if (fits) last.push(r);
    else groups.push([r]);
  }
  return groups;
}

function usesAcc(e: Expr, id: number): boolean {
  if (e.kind === "acc") return e.id === id;
  return e.kind === "call" && e.args.some((a) => usesAcc(a, id));
}

function reduceGroup(scope: Scope, group: readonly Reduce[], values: readonly Expr[], division: Division): void {
  const partials = group.map((r) => scope.module.fresh("part"));
  group.forEach(({ combine, value: { type } }, i) => {
    scope.line(`var ${partials[i]} = ${combine === "add" ? literal(0, type) : lowest(type)};`);
  });
  scope.hoist(values);
  strided(scope, "r", extentOf(group[0]!.inner), division.lanes, (inner) => {
    inner.values(values).forEach((text, i) => {
      inner.line(`${partials[i]} = ${combined(group[i]!, partials[i]!, text)};`);
    });
  });
  group.forEach((r, i) => scope.define(r.id, division.lanes === 1 ? partials[i]! : meet(scope, r, partials[i]!, division)));
}

function lowest(type: ScalarType): string {
  return type === "f32" ? literal(-Infinity, type) : type === "i32" ? literal(-2147483648, type) : literal(0, type);
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
    scope.line(`if (at < ${half}u) { ${memory}[lane] = ${combined(r, `${memory}[lane]`, other)}; }`, "workgroupBarrier();");
  }
  const name = scope.module.fresh("acc");
  scope.line(`let ${name} = ${memory}[lane - at * ${step}u];`, "workgroupBarrier();");
  return name;
}

/** Elements that one turn of a loop handles: fewer bound checks, more loads in flight. */
const UNROLL = 4;

/** For `name` from `at` to `count`, each invocation of the row every `lanes`-th. */
function strided(scope: Scope, name: string, count: number, lanes: number, body: (inner: Scope) => void): void {
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
