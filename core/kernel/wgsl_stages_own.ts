/**
 * `stages` whose features mix only within small groups, in WGSL: the stages of a group are one small matrix then. An
 * invocation folds them once, by sending unit vectors through them, and keeps four rows of the matrix in registers; then
 * it goes over its rows of data, whose features pass through workgroup memory, so that they are read once. @module
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
interface Spread {
  /** Vectors of four features side by side in a workgroup, and teams of invocations that take other rows. */
  readonly across: number;
  readonly teams: number;
  /** Rows of an invocation, and how many of them are in workgroup memory at a time. */
  readonly own: number;
  readonly together: number;
}

/** Print a `stages` kernel into the scope of its entry point. */
export function stagesOwn(scope: Scope, body: StagesForm): Grid {
  const { module } = scope;
  const d = body.feature.extent, rows = extentOf(body.outer), group = groupOf(body.stages);
  const quads = group / 4, spread = spreadOf(d, group, rows, module);
  const { across, teams, own, together } = spread, chunks = d / 4 / across, step = teams * own;
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
  module.globals.push(`var<workgroup> tile: array<vec4f, ${across * teams * together}>;`);

  scope.line(
    `let quad = lane % ${across}u;`,
    `let team = lane / ${across}u;`,
    `let f4 = unit % ${chunks}u * ${across}u + quad;`,
    `let g = f4 / ${quads}u;`,
    `let start = unit / ${chunks}u * ${step}u + team * ${own}u;`,
  );
  const each = Array.from({ length: together }, (_, i) => i);
  const inside = (row: string): string => (rows % step === 0 ? row : `min(${row}, ${rows - 1}u)`);
  const fetch = (from: string): string[] =>
    each.map((i) => `q${i} = load(${inside(`start + ${plus(from, i)}`)}, f4);`);
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
  return { units: chunks * Math.ceil(rows / step), lanes: across * teams };
}

function spreadOf(d: number, group: number, rows: number, { limits }: Module): Spread {
  const quads = group / 4, lanes = Math.min(LANES, limits.maxInvocations);
  const wide = Array.from({ length: Math.floor(lanes / quads) }, (_, i) => (i + 1) * quads)
    .filter((across) => d / 4 % across === 0);
  const used = (across: number): number => across * Math.floor(lanes / across);
  const across = wide.reduce((best, next) => (used(next) >= used(best) ? next : best));
  const teams = Math.floor(lanes / across), chunks = d / 4 / across;
  const most = group > 16 ? 4 : 8, room = Math.floor(limits.maxWorkgroupBytes / (16 * across * teams));
  const together = Math.max(1, Math.min(most, room));
  // Two workgroups for each processor, as far as there are rows.
  const wanted = Math.ceil(rows * chunks / (2 * limits.busyWorkgroups * teams) / together) * together;
  return { across, teams, together, own: Math.max(together, Math.min(ROWS - ROWS % together, wanted)) };
}

/**
 * Locals with the matrix of a group's stages, one vector for each input feature, which holds the coefficients of the four
 * outputs number `quad`: rows of the matrix come from unit vectors that go through the transposed stages.
 */
function foldGroup(scope: Scope, body: StagesForm, quad: string): string[] {
  const name = scope.module.fresh("quad"), order = body.stages.map((_, i) => i);
  scope.line(`let ${name} = ${quad};`);
  if (!body.transposed) order.reverse();
  const [first, ...rest] = order as [number, ...number[]];
  let values = mixUnits(scope, body, first, name);
  for (const i of rest) values = mixGroup(scope, body, i, values, !body.transposed);
  return values;
}

/** What stage `number` makes of the unit vectors of four features: their coefficients in its block, zeros elsewhere. */
function mixUnits(scope: Scope, body: StagesForm, number: number, quad: string): string[] {
  const { module } = scope, stage = body.stages[number]!, { radix, stride, piece } = stage;
  const block = blockOf(stage), group = groupOf(body.stages), span = radix * stride * piece;
  if (stride !== 1 && piece % 4 !== 0) {
    const units = Array.from({ length: group }, (_, k) => {
      const value = module.fresh("u");
      const one = [0, 1, 2, 3].map((i) => (i === k % 4 ? "1.0f" : "0.0f")).join(", ");
      scope.line(`let ${value} = select(vec4f(), vec4f(${one}), ${quad} == ${k >> 2}u);`);
      return value;
    });
    return mixGroup(scope, body, number, units, !body.transposed);
  }
  // The four features are elements k to k + 3 of one block.
  const n = module.fresh("n"), k = module.fresh("k");
  scope.line(
    `let ${n} = ${quad} * 4u / ${span}u * ${stride}u + ${quad} * 4u / ${piece}u % ${stride}u;`,
    stride === 1
      ? `let ${k} = ${quad} * 4u % ${block}u;`
      : `let ${k} = ${quad} * 4u / ${stride * piece}u % ${radix}u * ${piece}u + ${quad} * 4u % ${piece}u;`,
  );
  const read = (row: string, column: string): string => {
    const name = module.fresh("c"), within = `(${n} * ${block}u + ${row}) * ${block / 4}u + ${column}`;
    scope.line(
      `let ${name} = ${module.wideLoad(body.coefficients, `${firstOf(body, number)} + ${within}`)};`,
    );
    return name;
  };
  const columns = Array.from({ length: block }, (_, j) => j);
  const found = body.transposed ? columns.map((j) => read(`${j}u`, `${k} / 4u`)) : columns
    .filter((j) => j % 4 === 0)
    .flatMap((j) => {
      const rows = PARTS.map((_, i) => read(plus(k, i), `${j / 4}u`));
      return PARTS.map((part) => `vec4f(${rows.map((row) => `${row}.${part}`).join(", ")})`);
    });
  const ys: string[] = [];
  for (let other = 0; other < group / block; other++) {
    columns.forEach((j) => {
      const y = ys[stagePosition(stage, other, j)] = module.fresh("y");
      scope.line(`let ${y} = select(vec4f(), ${found[j]}, ${n} == ${other}u);`);
    });
  }
  return ys;
}

/** Where the coefficients of stage `number` for group `g` begin, in fours. */
export function firstOf(
  { stages, feature }: Pick<StagesForm, "stages" | "feature">,
  number: number,
): string {
  const each = groupOf(stages) * blockOf(stages[number]!);
  return plus(`g * ${each / 4}u`, stageOffsets(stages, feature.extent)[number]! / 4);
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

/** Apply stage `number` of group `g` to the features in the locals `xs`, vectors of four; returns the locals of the result. */
function mixGroup(
  scope: Scope,
  body: StagesForm,
  number: number,
  xs: readonly string[],
  transposed: boolean,
): string[] {
  const { module } = scope, stage = body.stages[number]!, block = blockOf(stage), group = xs.length;
  const base = module.fresh("b");
  scope.line(`let ${base} = ${firstOf(body, number)};`);
  const ys = xs.map(() => module.fresh("y"));
  for (let n = 0; n < group / block; n++) {
    const places = Array.from({ length: block }, (_, j) => stagePosition(stage, n, j));
    mixBlock(scope, {
      coefficients: body.coefficients,
      base: plus(base, n * block * block / 4),
      xs: places.map((p) => xs[p]!),
      ys: places.map((p) => ys[p]!),
      ...{ transposed, type: "vec4f" },
    });
  }
  return ys;
}

/** Define the locals `ys` as the features in the locals `xs`, of this type, times the block whose coefficients begin at `base`, in fours. */
export function mixBlock(scope: Scope, { coefficients, base, xs, ys, transposed, type }: {
  readonly coefficients: number;
  readonly base: string;
  readonly xs: readonly string[];
  readonly ys: readonly string[];
  readonly transposed: boolean;
  readonly type: "f32" | "vec4f";
}): void {
  const { module } = scope, block = xs.length;
  /** Elements [i, k] to [i, k + 3] of the block. */
  const read = (i: number, k: number): string => {
    const name = module.fresh("c");
    scope.line(`let ${name} = ${module.wideLoad(coefficients, plus(base, (i * block + k) / 4))};`);
    return name;
  };
  const eachFour = Array.from({ length: block / 4 }, (_, i) => 4 * i);
  if (!transposed) {
    ys.forEach((y, j) => {
      const terms = eachFour.flatMap((k) => {
        const c = read(j, k);
        return PARTS.map((part, i) => `${c}.${part} * ${xs[k + i]}`);
      });
      scope.line(`let ${y} = ${terms.join(" + ")};`);
    });
    return;
  }
  ys.forEach((y) => scope.line(`var ${y} = ${type}();`));
  xs.forEach((x, k) =>
    eachFour.forEach((j) => {
      const c = read(k, j);
      PARTS.forEach((part, i) => scope.line(`${ys[j + i]} += ${c}.${part} * ${x};`));
    })
  );
}
