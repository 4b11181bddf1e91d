/**
 * Cotangent of small blocks in WGSL. A group's cotangent is that of one small matrix, Σ ct·xᵀ over the rows, brought
 * back through the stages around each one. A workgroup takes a group: its invocations share the rows and the features of
 * one side, their sums meet in workgroup memory, in a fixed order, and only the result goes through the stages. @module
 */
import { type Expr, loadsOf } from "../ir/expr.ts";
import { extentOf, type StagesGradForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { type Module, PARTS, type Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { canBeWide } from "./wgsl_memory.ts";
import { plus } from "./wgsl_operand.ts";
import { groupOf, rowFunction } from "./wgsl_stage.ts";
import { bringBack, pitchOf } from "./wgsl_stages_back.ts";
import { shuffledGrad, shuffleGrad } from "./wgsl_stages_grad_shuffle.ts";
import { fitsRegisters, loadFour, productsOf } from "./wgsl_stages_own.ts";
import { four, wideSlots } from "./wgsl_wide.ts";

/** Invocations of a workgroup; rows that one takes at a time. */
const LANES = 256, ROWS = 2;
/** Vectors of sums that go through workgroup memory at a time, and how many invocations one adds up first. */
const AT_ONCE = 2, EACH = 8;
/** Products at most in the text that brings a matrix back through the stages. */
const PRODUCTS = 512;

/** Floats of an invocation's place in workgroup memory: longer than needed, against bank conflicts. */
const PLACE = 4 * AT_ONCE + 1;

/** Whether this kernel can be printed so. */
export function gradOwnsGroups(module: Module, body: StagesGradForm): boolean {
  const { stages } = body, { kernel, limits } = module, group = groupOf(stages);
  const others = loadsOf([body.x, body.ct]).map((l) => l.slot);
  return fitsRegisters(stages) && (stages.length - 1) * productsOf(stages) <= PRODUCTS &&
    stages.length * group <= LANES && LANES % (group / 4 * EACH) === 0 &&
    (stages.length - 1) * group * pitchOf(group) <= LANES * PLACE &&
    limits.maxInvocations >= LANES &&
    limits.maxWorkgroupBytes >= 4 * (LANES * PLACE + LANES + group * pitchOf(group)) &&
    !others.includes(body.coefficients) && canBeWide(kernel.slots[body.coefficients]!.dtype);
}

/** Print a `stagesGrad` kernel into the scope of its entry point. */
export function stagesGradOwn(scope: Scope, body: StagesGradForm): Grid {
  const { module } = scope;
  const rows = extentOf(body.outer), group = groupOf(body.stages), quads = group / 4;
  const flats = four((lane) => new Flat({ row: body.outer, f: [body.feature] }, "f", lane));
  const lanesOf = (of: Expr) => flats.map((flat) => [flat.expr(of)]);
  const xs = lanesOf(body.x), cts = lanesOf(body.ct);
  module.wide = new Set([
    body.coefficients,
    ...wideSlots(module.kernel, [{ values: xs.map((x, i) => [...x, ...cts[i]!]) }]),
  ]);
  loadFour(scope, "load_x", xs);
  loadFour(scope, "load_ct", cts);
  const shuffled = shuffledGrad(module.limits, body);
  if (shuffled) return shuffleGrad(scope, body, shuffled);
  module.globals.push(
    `var<workgroup> shares: array<f32, ${LANES * PLACE}>;`,
    `var<workgroup> parts: array<f32, ${LANES}>;`,
    `var<workgroup> whole: array<f32, ${group * pitchOf(group)}>;`,
  );
  // The side that is computed rather than read is the one whose features invocations share.
  const split = body.x.kind !== "load" && body.ct.kind === "load" ? "x" : "ct";
  scope.line("let g = unit;", `let quad = lane % ${quads}u;`, `let own = lane / ${quads}u;`);
  sumRows(scope, rows, group, split);
  meet(scope, group, split);
  bringBack(scope, body, { lane: "lane", lanes: LANES, groups: 1 });
  return { units: body.feature.extent / group, lanes: LANES };
}

/** Sums over an invocation's rows: `a3` holds the products of its four features with feature 3 of the other side. */
function sumRows(scope: Scope, rows: number, group: number, split: "x" | "ct"): void {
  const quads = group / 4, along = LANES / quads, other = split === "x" ? "ct" : "x";
  const isWhole = rows % (ROWS * along) === 0;
  scope.line(...Array.from({ length: group }, (_, k) => `var a${k} = vec4f();`));
  scope.block(`for (var row = own; row < ${rows}u; row += ${ROWS * along}u)`, {}, (loop) => {
    for (let i = 0; i < ROWS; i++) {
      const row = plus("row", i * along), at = isWhole || i === 0 ? row : `min(${row}, ${rows - 1}u)`;
      const mine = `load_${split}(${at}, g * ${quads}u + quad)`;
      // Rows beyond the end must not count.
      loop.line(`let m${i} = ${at === row ? mine : `select(vec4f(), ${mine}, ${row} < ${rows}u)`};`);
      for (let q = 0; q < quads; q++) {
        loop.line(`let o${i}_${q} = load_${other}(${at}, ${plus(`g * ${quads}u`, q)});`);
      }
    }
    for (let i = 0; i < ROWS; i++) {
      for (let k = 0; k < group; k++) loop.line(`a${k} += m${i} * o${i}_${k >> 2}.${PARTS[k & 3]};`);
    }
  });
}

/** Add up the sums of all invocations in `whole`, the matrix [ct, x] of the group. */
function meet(scope: Scope, group: number, split: "x" | "ct"): void {
  const quads = group / 4, along = LANES / quads, teams = along / EACH, floats = 4 * AT_ONCE;
  const names = Array.from({ length: AT_ONCE }, (_, i) => `a${i}`);
  const all = Array.from({ length: teams }, (_, t) => `parts[${plus("lane", t * floats * quads)}]`);
  const mine = `lane / ${floats}u * 4u + lane % 4u`, other = `start + lane % ${floats}u / 4u`;
  const [row, column] = split === "ct" ? [mine, other] : [other, mine];
  rowFunction(scope, `fn meet(lane: u32, start: u32, ${names.map((n) => `${n}: vec4f`).join(", ")})`, [
    ...Array.from(
      { length: floats },
      (_, i) => `shares[lane * ${PLACE}u + ${i}u] = a${i >> 2}.${PARTS[i & 3]};`,
    ),
    "workgroupBarrier();",
    // A team's invocation adds up one float of one quad.
    `let slot = lane % ${floats * quads}u;`,
    `let begin = lane / ${floats * quads}u * ${EACH}u;`,
    "var total = 0.0f;",
    `for (var i = 0u; i < ${EACH}u; i++) {`,
    `  total += shares[((begin + i) * ${quads}u + slot / ${floats}u) * ${PLACE}u + slot % ${floats}u];`,
    "}",
    "parts[lane] = total;",
    "workgroupBarrier();",
    `if (lane < ${floats * quads}u) { whole[(${row}) * ${pitchOf(group)}u + ${column}] = ${
      all.join(" + ")
    }; }`,
    // The next sums go over what was read before the last barrier, and `parts` is read again after two more.
  ]);
  for (let from = 0; from < group; from += AT_ONCE) {
    scope.line(`meet(lane, ${from}u, ${names.map((_, i) => `a${from + i}`).join(", ")});`);
  }
  scope.line("workgroupBarrier();");
}
