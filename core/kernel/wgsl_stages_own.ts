/**
 * `stages` whose features mix only within small groups, in WGSL: the stages of a group are one small matrix then. An
 * invocation folds them once, by sending unit vectors through them, and keeps four rows of the matrix in registers; then
 * it goes over its rows of data. Features are read once and pass between invocations: within subgroups, or through
 * workgroup memory where those are not known. @module
 */
import { loadsOf } from "../ir/expr.ts";
import { blockOf, type Stage } from "../ir/lowering.ts";
import { extentOf, type StagesForm, type Store, valuesOf } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { type Module, PARTS, Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { canBeWide } from "./wgsl_memory.ts";
import { plus } from "./wgsl_operand.ts";
import { groupOf, rowFunction } from "./wgsl_stage.ts";
import { foldGroup } from "./wgsl_stages_fold.ts";
import { canShuffle, shuffledRows, shuffleRows } from "./wgsl_stages_shuffle.ts";
import { four, wideSlots } from "./wgsl_wide.ts";

/** Features of a group at most, elements of a block at most, and products of one row and group. */
const MOST = { group: 32, block: 16, products: 1024 };
/** Invocations of a workgroup. */
const LANES = 128;
/** Rows of an invocation at most: folding is done once for all of them. */
const ROWS = 64;

/** Whether groups of these stages fit into registers, and their blocks can be read four elements at a time. */
export function fitsRegisters(stages: readonly Stage[]): boolean {
  const group = groupOf(stages);
  return group <= MOST.group && stages.every((s) => blockOf(s) % 4 === 0 && blockOf(s) <= MOST.block) &&
    productsOf(stages) <= MOST.products;
}

/** Products of one row and group. */
export function productsOf(stages: readonly Stage[]): number {
  return groupOf(stages) * stages.reduce((sum, s) => sum + blockOf(s), 0);
}

/** Whether this kernel can be printed so: its blocks are read by the stages alone. */
export function ownsGroups(module: Module, body: StagesForm): boolean {
  const others = [...loadsOf(valuesOf(body)), ...body.stores].map((access) => access.slot);
  return fitsRegisters(body.stages) && !others.includes(body.coefficients) &&
    canBeWide(module.kernel.slots[body.coefficients]!.dtype);
}

/** How rows and features are spread over invocations. */
export interface Spread {
  /** Vectors of four features side by side in a workgroup, and teams of invocations that take other rows. */
  readonly across: number;
  readonly teams: number;
  /** Rows of an invocation, and how many of them are read at a time. */
  readonly own: number;
  readonly together: number;
}

/** What the rows from `start` on need, which the invocation `(quad, team)` takes of the features `f4` of group `g`. */
export interface Rows {
  /** Vectors of four features of a group. */
  readonly quads: number;
  readonly spread: Spread;
  /** The text of an invocation's features of a row. */
  readonly read: (row: string) => string;
  /** By neighbour; their row is called `row`. */
  readonly stores: readonly (readonly Store[])[];
  /** Whether all rows are there. */
  readonly isWhole: boolean;
}

/** Print a `stages` kernel into the scope of its entry point. */
export function stagesOwn(scope: Scope, body: StagesForm): Grid {
  const { module } = scope;
  const d = body.feature.extent, rows = extentOf(body.outer), quads = groupOf(body.stages) / 4;
  const shuffles = canShuffle(module.limits, quads), spread = spreadOf(d, quads, rows, shuffles, module);
  const { across, teams, own } = spread, chunks = d / 4 / across, step = teams * own;
  const flats = four((lane) => new Flat({ row: body.outer, f: [body.feature] }, "f", lane));
  const xs = flats.map((flat) => [flat.expr(body.x)]);
  const stores: Store[][] = flats.map((flat) => body.stores.map((s) => flat.store(s)));
  module.wide = new Set([
    body.coefficients,
    ...wideSlots(module.kernel, [{ values: xs }, { values: stores.map(() => []), stores }]),
  ]);
  loadFour(scope, "load", xs);
  scope.line(
    `let quad = lane % ${across}u;`,
    `let team = lane / ${across}u;`,
    `let f4 = unit % ${chunks}u * ${across}u + quad;`,
    `let g = f4 / ${quads}u;`,
    `let start = unit / ${chunks}u * ${step}u + team * ${own}u;`,
  );
  const isWhole = rows % step === 0;
  const read = (row: string): string => `load(${isWhole ? row : `min(${row}, ${rows - 1}u)`}, f4)`;
  (shuffles ? shuffleRows : tileRows)(scope, body, { quads, spread, read, stores, isWhole });
  return { units: chunks * Math.ceil(rows / step), lanes: across * teams };
}

/** Multiply and store the rows from `start` on: invocations hand each other features through workgroup memory. */
function tileRows(scope: Scope, body: StagesForm, { quads, spread, read, stores, isWhole }: Rows): void {
  const { across, teams, own, together } = spread;
  const y = new Scope(scope.module, {
    vars: { row: "row", f: "f4" },
    accs: new Map([[0, PARTS.map((p) => `result.${p}`)]]),
  });
  if (!isWhole) y.line(`if (row >= ${extentOf(body.outer)}u) { return; }`);
  y.line(...y.storing(stores));
  rowFunction(scope, "fn store(row: u32, f4: u32, result: vec4f)", y.lines);
  scope.module.globals.push(`var<workgroup> tile: array<vec4f, ${across * teams * together}>;`);
  const each = Array.from({ length: together }, (_, i) => i);
  const fetch = (from: string): string[] => each.map((i) => `q${i} = ${read(`start + ${plus(from, i)}`)};`);
  const at = (i: number): string => `(team * ${together}u + ${i}u) * ${across}u + quad`;
  scope.line(...each.map((i) => `var q${i}: vec4f;`), ...fetch("0u"));
  const matrix = foldGroup(scope, body, `f4 % ${quads}u`);
  scope.line(`let first = f4 % ${quads}u;`);
  scope.block(`for (var r = 0u; r < ${own}u; r += ${together}u)`, {}, (loop) => {
    loop.line(...each.map((i) => `tile[${at(i)}] = q${i};`), "workgroupBarrier();");
    if (own > together) {
      loop.block(`if (r + ${together}u < ${own}u)`, {}, (more) => more.line(...fetch(`r + ${together}u`)));
    }
    // A loop, since it costs little beside a row's products, and compilers take long over many of them.
    const pair = together % 2 === 0 ? 2 : 1;
    loop.block(`for (var i = 0u; i < ${together}u; i += ${pair}u)`, {}, (some) => {
      for (let row = 0; row < pair; row++) {
        some.block("", {}, (one) => {
          one.line(`let x = (team * ${together}u + ${plus("i", row)}) * ${across}u + quad - first;`);
          for (let q = 0; q < quads; q++) one.line(`let x${q} = tile[${plus("x", q)}];`);
          const terms = matrix.map((column, k) => `${column} * x${k >> 2}.${PARTS[k & 3]}`);
          one.line(`store(start + r + ${plus("i", row)}, f4, ${terms.join(" + ")});`);
        });
      }
    });
    loop.line("workgroupBarrier();");
  });
}

function spreadOf(d: number, quads: number, rows: number, shuffles: boolean, { limits }: Module): Spread {
  const lanes = Math.min(LANES, limits.maxInvocations);
  const wide = Array.from({ length: Math.floor(lanes / quads) }, (_, i) => (i + 1) * quads)
    .filter((across) => d / 4 % across === 0);
  const used = (across: number): number => across * Math.floor(lanes / across);
  const across = wide.reduce((best, next) => (used(next) >= used(best) ? next : best));
  const teams = Math.floor(lanes / across), chunks = d / 4 / across;
  if (shuffles) return { across, teams, ...shuffledRows(rows, chunks, teams, limits) };
  const most = quads > 4 ? 4 : 8, room = Math.floor(limits.maxWorkgroupBytes / (16 * across * teams));
  const together = Math.max(1, Math.min(most, room));
  // Two workgroups for each processor, as far as there are rows.
  const wanted = Math.ceil(rows * chunks / (2 * limits.busyWorkgroups * teams) / together) * together;
  return { across, teams, together, own: Math.max(together, Math.min(ROWS - ROWS % together, wanted)) };
}

/** Define `name(row, f4)`: four neighbouring features. */
export function loadFour(
  scope: Scope,
  name: string,
  lanes: readonly (readonly StagesForm["x"][])[],
): void {
  const inside = new Scope(scope.module, { vars: { row: "row", f: "f4" } });
  const texts = inside.lanes(lanes).flat();
  rowFunction(scope, `fn ${name}(row: u32, f4: u32) -> vec4f`, [
    ...inside.lines,
    `return vec4f(${texts.join(", ")});`,
  ]);
}
