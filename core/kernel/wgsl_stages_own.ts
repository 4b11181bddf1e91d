/**
 * `stages` whose features mix only within small groups, in WGSL: an invocation keeps a group of some rows in registers
 * through all stages, so that nothing but the rows and the blocks passes through memory. Neighbouring invocations take
 * the same features of different rows and thus read the same blocks. @module
 */
import { loadsOf } from "../ir/expr.ts";
import { blockOf, type Stage, stageOffsets, stagePosition } from "../ir/lowering.ts";
import { extentOf, type StagesForm, type Store, valuesOf } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { type Module, PARTS, Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { canBeWide } from "./wgsl_memory.ts";
import { plus } from "./wgsl_operand.ts";
import { groupOf, rowFunction } from "./wgsl_stage.ts";
import { four, wideSlots } from "./wgsl_wide.ts";

/** Features of a group at most, elements of a block at most, and products of one row and group at most. */
const MOST = { group: 32, block: 16, products: 1024 };
/** Invocations of a workgroup, and groups side by side that they take: together a line of the cache. */
const LANES = 64;
const LINE = 32;
/** Numbers that an invocation keeps. */
const KEPT = 64;

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

/** Print a `stages` kernel into the scope of its entry point. */
export function stagesOwn(scope: Scope, body: StagesForm): Grid {
  const { module } = scope;
  const d = body.feature.extent, rows = extentOf(body.outer), group = groupOf(body.stages);
  const groups = d / group;
  const width = [4, 2, 1].find((w) => w * group <= KEPT && w <= rows) ?? 1;
  const beside = [4, 2, 1].find((n) => n * group <= LINE && groups % n === 0) ?? 1;
  const along = LANES / beside, step = along * width;
  const flats = four((lane) => new Flat({ row: body.outer, f: [body.feature] }, "f", lane));
  const xs = flats.map((flat) => [flat.expr(body.x)]);
  const stores: Store[][] = flats.map((flat) => body.stores.map((s) => flat.store(s)));
  module.wide = new Set([
    body.coefficients,
    ...wideSlots(module.kernel, [{ values: xs }, { values: stores.map(() => []), stores }]),
  ]);
  loadFour(scope, "load", xs);
  const y = new Scope(module, {
    vars: { row: "row", f: "f4" },
    accs: new Map([[0, PARTS.map((p) => `result.${p}`)]]),
  });
  if (rows % step !== 0) y.line(`if (row >= ${rows}u) { return; }`);
  y.line(...y.storing(stores));
  rowFunction(scope, "fn store(row: u32, f4: u32, result: vec4f)", y.lines);

  scope.line(
    `let g = unit % ${groups / beside}u * ${beside}u + lane % ${beside}u;`,
    `let row = unit / ${groups / beside}u * ${step}u + lane / ${beside}u;`,
  );
  const at = Array.from({ length: width }, (_, i) => plus("row", i * along));
  const inside = (row: string): string => (rows % step === 0 ? row : `min(${row}, ${rows - 1}u)`);
  let values = transposeRows(scope, at.map((row) => `load(${inside(row)}, `), group);
  const order = body.stages.map((_, i) => i);
  if (body.transposed) order.reverse();
  for (const i of order) values = mixGroup(scope, body, i, values, body.transposed, width);
  for (let q = 0; q < group; q += 4) {
    at.forEach((row, i) => {
      const parts = values.slice(q, q + 4).map((v) => (width === 1 ? v : `${v}[${i}]`));
      scope.line(`store(${row}, ${quad(group, q)}, vec4f(${parts.join(", ")}));`);
    });
  }
  return { units: groups / beside * Math.ceil(rows / step), lanes: LANES };
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

/** The number of the four features from feature `q` of the invocation's group on. */
function quad(group: number, q: number): string {
  return plus(`g * ${group / 4}u`, q / 4);
}

/** Locals with each feature of the group, a vector of rows where there are several; `calls` lack the last argument. */
export function transposeRows(scope: Scope, calls: readonly string[], group: number): string[] {
  const values: string[] = [];
  for (let q = 0; q < group; q += 4) {
    const quads = calls.map((call) => {
      const name = scope.module.fresh("q");
      scope.line(`let ${name} = ${call}${quad(group, q)});`);
      return name;
    });
    for (const part of PARTS) {
      const name = scope.module.fresh("v");
      const of = quads.map((v) => `${v}.${part}`);
      scope.line(`let ${name} = ${of.length === 1 ? of[0] : `vec${of.length}f(${of.join(", ")})`};`);
      values.push(name);
    }
  }
  return values;
}

/** Apply stage `number` to the features in the locals `xs`; returns the locals of the result. */
export function mixGroup(
  scope: Scope,
  body: {
    readonly stages: readonly Stage[];
    readonly coefficients: number;
    readonly feature: { readonly extent: number };
  },
  number: number,
  xs: readonly string[],
  transposed: boolean,
  width: number,
): string[] {
  const { module } = scope, stage = body.stages[number]!, block = blockOf(stage), group = xs.length;
  const base = module.fresh("b"), type = width === 1 ? "f32" : `vec${width}f`;
  const offset = stageOffsets(body.stages, body.feature.extent)[number]!;
  scope.line(`let ${base} = ${plus(`g * ${group * block / 4}u`, offset / 4)};`);
  const ys = xs.map(() => module.fresh("y"));
  for (let n = 0; n < group / block; n++) {
    const places = Array.from({ length: block }, (_, j) => stagePosition(stage, n, j));
    /** Elements [i, k] to [i, k + 3] of the block. */
    const read = (i: number, k: number): string => {
      const name = module.fresh("c");
      const at = plus(base, (n * block * block + i * block + k) / 4);
      scope.line(`let ${name} = ${module.wideLoad(body.coefficients, at)};`);
      return name;
    };
    const eachFour = Array.from({ length: block / 4 }, (_, i) => 4 * i);
    if (!transposed) {
      places.forEach((place, j) => {
        const terms = eachFour.flatMap((k) => {
          const c = read(j, k);
          return PARTS.map((part, i) => `${c}.${part} * ${xs[places[k + i]!]}`);
        });
        scope.line(`let ${ys[place]} = ${terms.join(" + ")};`);
      });
      continue;
    }
    places.forEach((place) => scope.line(`var ${ys[place]} = ${type}();`));
    places.forEach((from, k) =>
      eachFour.forEach((j) => {
        const c = read(k, j);
        PARTS.forEach((part, i) => {
          const y = ys[places[j + i]!];
          scope.line(`${y} += ${c}.${part} * ${xs[from]};`);
        });
      })
    );
  }
  return ys;
}
