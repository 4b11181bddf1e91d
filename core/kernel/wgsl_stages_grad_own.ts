/**
 * Cotangent of small blocks in WGSL. A workgroup takes one stage and one group of features; each invocation goes over
 * some rows with the group in registers, brings x forward to the stage and ct back to it, and adds up their products for
 * all of the stage's blocks. The sums of the invocations meet in workgroup memory, in a fixed order. @module
 */
import { loadsOf } from "../ir/expr.ts";
import { blockOf, stageOffsets, stagePosition } from "../ir/lowering.ts";
import { extentOf, type StagesGradForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import type { Module, Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { canBeWide } from "./wgsl_memory.ts";
import { groupOf } from "./wgsl_stage.ts";
import { fitsRegisters, loadFour, mixGroup, productsOf, transposeRows } from "./wgsl_stages_own.ts";
import { four, wideSlots } from "./wgsl_wide.ts";

/** Invocations of a workgroup. */
const LANES = 128;
/** Sums that an invocation keeps at most, and how many go through workgroup memory at a time. */
const SUMS = 128, AT_ONCE = 16;
/** Products in the text at most: each stage has its own. */
const PRODUCTS = 512;

/** Whether this kernel can be printed so. */
export function gradOwnsGroups(module: Module, body: StagesGradForm): boolean {
  const { stages } = body, { kernel, limits } = module;
  const others = loadsOf([body.x, body.ct]).map((l) => l.slot);
  return fitsRegisters(stages) && stages.length * productsOf(stages) <= PRODUCTS &&
    stages.every((s) => groupOf(stages) * blockOf(s) <= SUMS) && limits.maxInvocations >= LANES &&
    limits.maxWorkgroupBytes >= 4 * (LANES * (AT_ONCE + 1) + LANES) &&
    !others.includes(body.coefficients) && canBeWide(kernel.slots[body.coefficients]!.dtype);
}

/** Print a `stagesGrad` kernel into the scope of its entry point. */
export function stagesGradOwn(scope: Scope, body: StagesGradForm): Grid {
  const { module } = scope, { stages } = body;
  const d = body.feature.extent, rows = extentOf(body.outer), group = groupOf(stages), groups = d / group;
  const flats = four((lane) => new Flat({ row: body.outer, f: [body.feature] }, "f", lane));
  const lanesOf = (of: StagesGradForm["x"]) => flats.map((flat) => [flat.expr(of)]);
  const xs = lanesOf(body.x), cts = lanesOf(body.ct);
  module.wide = new Set([
    body.coefficients,
    ...wideSlots(module.kernel, [{ values: xs.map((x, i) => [...x, ...cts[i]!]) }]),
  ]);
  loadFour(scope, "load_x", xs);
  loadFour(scope, "load_ct", cts);
  module.globals.push(
    `var<workgroup> shares: array<f32, ${LANES * (AT_ONCE + 1)}>;`,
    `var<workgroup> parts: array<f32, ${LANES}>;`,
  );
  scope.line(`let g = unit % ${groups}u;`, `let stage = unit / ${groups}u;`);
  const most = Math.max(...stages.map((s) => group * blockOf(s)));
  const sums = Array.from({ length: most }, (_, i) => `a${i}_`);
  scope.line(...sums.map((a) => `var ${a} = 0.0f;`));
  stages.forEach((stage, number) => {
    scope.block(`if (stage == ${number}u)`, {}, (own) => {
      own.block(`for (var row = lane; row < ${rows}u; row += ${LANES}u)`, {}, (loop) => {
        let x = transposeRows(loop, ["load_x(row, "], group);
        let ct = transposeRows(loop, ["load_ct(row, "], group);
        for (let i = 0; i < number; i++) x = mixGroup(loop, body, i, x, false, 1);
        for (let i = stages.length - 1; i > number; i--) ct = mixGroup(loop, body, i, ct, true, 1);
        const block = blockOf(stage);
        for (let n = 0; n < group / block; n++) {
          const at = Array.from({ length: block }, (_, j) => stagePosition(stage, n, j));
          at.forEach((to, j) =>
            at.forEach((from, k) => {
              const a = sums[(n * block + j) * block + k]!;
              loop.line(`${a} = fma(${ct[to]}, ${x[from]}, ${a});`);
            })
          );
        }
      });
    });
  });
  const offsets = stageOffsets(stages, d);
  scope.line(
    ...stages.map((stage, i) => {
      const base = `${offsets[i]}u + g * ${group * blockOf(stage)}u`;
      return i === 0 ? `var first = ${base};` : `if (stage == ${i}u) { first = ${base}; }`;
    }),
    "var count = 0u;",
    ...stages.map((stage, i) => `if (stage == ${i}u) { count = ${group * blockOf(stage)}u; }`),
  );
  for (let from = 0; from < most; from += AT_ONCE) {
    meet(scope, body.out, sums.slice(from, from + AT_ONCE), from);
  }
  return { units: groups * stages.length, lanes: LANES };
}

/** Add up some sums of all invocations, and write them from place `first + from` on. */
function meet(scope: Scope, out: number, sums: readonly string[], from: number): void {
  const pitch = AT_ONCE + 1, teams = LANES / AT_ONCE, each = LANES / teams;
  scope.line(
    ...sums.map((a, i) => `shares[lane * ${pitch}u + ${i}u] = ${a};`),
    "workgroupBarrier();",
  );
  scope.block("", {}, (inner) => {
    inner.line(
      `let sum = lane % ${AT_ONCE}u;`,
      `let team = lane / ${AT_ONCE}u * ${each}u;`,
      "var total = 0.0f;",
      `for (var i = 0u; i < ${each}u; i++) { total += shares[(team + i) * ${pitch}u + sum]; }`,
      "parts[lane] = total;",
    );
  });
  scope.line("workgroupBarrier();");
  scope.block(`if (lane < ${sums.length}u && ${from}u < count)`, {}, (inner) => {
    const all = Array.from({ length: teams }, (_, t) => `parts[lane + ${t * AT_ONCE}u]`).join(" + ");
    inner.line(scope.module.store(out, `first + ${from}u + lane`, all, "f32"));
  });
  scope.line("workgroupBarrier();");
}
