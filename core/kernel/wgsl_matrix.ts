/**
 * Contractions on matrix units in WGSL (Dawn's subgroup matrices): operands are rounded to f16 on their way into
 * workgroup memory, sums are f32 in the registers of a subgroup, the next piece of the operands is read while this one is
 * multiplied. Each operand lies in workgroup memory in the direction in which it was read, and the matrix units read it
 * either way. Rows there are longer by 8 halves than needed, against bank conflicts. @module
 */
import { type ContractForm, extentOf } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import type { Scope } from "./wgsl_expr.ts";
import { beyond, declareFinish, resultsOf } from "./wgsl_finish.ts";
import { declareOperand, fetchOperand, type Operand, operandOf, plus, SHORT_ROW } from "./wgsl_operand.ts";
import {
  matrixBytes,
  type MatrixTile,
  PAD,
  roomOf,
  SIDE,
  stripsOf,
  SUBGROUP,
  subgroupsOf,
  SUM_PAD,
} from "./wgsl_tile.ts";
import { wideSlots } from "./wgsl_wide.ts";

/** Extensions of the language that matrix units need. */
export const MATRIX_DIRECTIVES: readonly string[] = [
  "enable f16;",
  "enable subgroups;",
  "enable chromium_experimental_subgroup_matrix;",
  "requires buffer_view;",
  // All branches depend on the workgroup alone, which the analysis cannot see.
  "diagnostic(off, chromium.subgroup_matrix_uniformity);",
];

/** Print a contraction on matrix units into the scope of its entry point. */
export function matrixContract(scope: Scope, body: ContractForm, tile: MatrixTile): Grid {
  const { module } = scope;
  const rows = extentOf(body.row), cols = extentOf(body.col), batch = extentOf(body.batch);
  const down = Math.ceil(rows / tile.rows), across = Math.ceil(cols / tile.cols);
  const lanes = subgroupsOf(tile) * SUBGROUP;
  const bytes = matrixBytes(tile), sums = stripsOf(tile);
  const halves = roomOf(tile.rows, tile.depth) + roomOf(tile.cols, tile.depth);
  module.directives = MATRIX_DIRECTIVES;
  module.globals.push(`var<workgroup> memory: buffer<${bytes}>;`);
  const terms = body.terms.map((term, number) =>
    (["left", "right"] as const).map((side) => operandOf(body, term, number, side, tile))
  );
  const results = resultsOf(body, cols);
  module.wide = wideSlots(module.kernel, [
    ...terms.flat().map(({ values }) => ({ values: values.map((v) => [v]) })),
    { values: results.map(() => []), stores: results },
  ]);
  const perPart = subgroupsOf(tile) / tile.split, acrossTile = tile.cols / tile.wide;
  scope.line(
    `let halves = bufferView<array<f16, ${halves}>>(&memory, 0u);`,
    `let quads = bufferView<array<vec4<f16>, ${halves / 4}>>(&memory, 0u);`,
    `let sums = bufferView<array<f32, ${sums}>>(&memory, 0u);`,
    `let sums4 = bufferView<array<vec4f, ${sums / 4}>>(&memory, 0u);`,
    ...tileOrder(down, across, tile),
    SHORT_ROW,
    `let b = unit / ${across * down}u;`,
    `let group_number = lane / ${SUBGROUP}u;`,
    `let own = group_number % ${perPart}u;`,
    `let part = group_number / ${perPart}u;`,
    `let ms = own / ${acrossTile}u * ${tile.high}u;`,
    `let ns = own % ${acrossTile}u * ${tile.wide}u;`,
    ...eachSum(tile, (sum) => `var ${sum}: subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>;`),
  );
  for (const operands of terms) multiply(scope, operands, tile, lanes);
  declareFinish(scope, results, beyond(rows, cols, tile));
  callFinish(scope, tile, lanes);
  return { units: down * across * batch, lanes };
}

/** Tiles below each other that are computed one after the other: what they read of the right operand stays in the cache. */
const TALL = 8;

/** `m0` and `n0`: down a few tiles, then to the right; at the end of these rows on with the next ones. */
function tileOrder(down: number, across: number, tile: MatrixTile): string[] {
  let tall = Math.min(TALL, down);
  while (down % tall !== 0) tall--;
  const row = tall === 1 ? `unit / ${across}u` : `unit / ${tall * across}u * ${tall}u + unit % ${tall}u`;
  return [
    `let n0 = unit / ${tall}u % ${across}u * ${tile.cols}u;`,
    `let m0 = (${row}) % ${down}u * ${tile.rows}u;`,
  ];
}

/** Lines for each matrix of sums of a subgroup. */
function eachSum(tile: MatrixTile, line: (name: string, i: number, j: number) => string): string[] {
  const of = (size: number): number[] => Array.from({ length: size / SIDE }, (_, i) => i);
  return of(tile.high).flatMap((i) => of(tile.wide).map((j) => line(`c${i}_${j}`, i, j)));
}

/** Length of a row of an operand in workgroup memory, in halves. */
function pitchOf({ isInward, size, step }: Operand): number {
  return (isInward ? step : size) + PAD;
}

/** Add one term to the sums. */
function multiply(scope: Scope, operands: readonly Operand[], tile: MatrixTile, lanes: number): void {
  const { depth } = operands[0]!;
  operands.forEach((o) => declareOperand(scope.module, o, "f16"));
  const moves = operands.map((o) => fetchOperand(o, lanes, "f16"));
  const fetch = moves.flatMap((m) => m.fetch);
  const puts = operands.flatMap((o, i) => moves[i]!.parts.map((p) => put(o, tile, p)));
  scope.block("", {}, (inner) => {
    inner.line(...moves.flatMap((m) => m.declare), "var k0 = 0u;", ...fetch);
    inner.block("loop", {}, (loop) => {
      loop.line(...puts, "workgroupBarrier();");
      if (depth > tile.depth) {
        loop.line(`k0 += ${tile.depth}u;`);
        loop.block(`if (k0 < ${depth}u)`, {}, (more) => more.line(...fetch));
      }
      loop.line(...products(operands, tile), "workgroupBarrier();");
      loop.line(depth > tile.depth ? `if (k0 >= ${depth}u) { break; }` : "break;");
    });
  });
}

/** Where an operand begins in workgroup memory, in halves. */
function baseOf({ free }: Operand, tile: MatrixTile): number {
  return free === "m" ? 0 : roomOf(tile.rows, tile.depth);
}

function put(
  o: Operand,
  tile: MatrixTile,
  { register, k, free }: { readonly register: string; readonly k: string; readonly free: string },
): string {
  const [row, column] = o.isInward ? [free, k] : [k, free];
  const step = o.values.length, view = step === 4 ? "quads" : "halves";
  return `${view}[${baseOf(o, tile) / step}u + (${row}) * ${pitchOf(o) / step}u + ${column}] = ${register};`;
}

/** All products of one piece of the operands; each part of the subgroups takes its share of the depth. */
function products([left, right]: readonly Operand[], tile: MatrixTile): string[] {
  const share = tile.split > 1 ? tile.depth / tile.split : Math.min(tile.depth, up(left!.depth));
  const lines: string[] = [];
  const load = (o: Operand, offset: string, n: number, k: number): string => {
    const pitch = pitchOf(o), kind = o.free === "m" ? "left" : "right";
    const inner = tile.split > 1 ? plus(`part * ${share}u`, k) : `${k}u`;
    const outer = plus(offset, n);
    const at = o.isInward ? `(${outer}) * ${pitch}u + ${inner}` : `(${inner}) * ${pitch}u + ${outer}`;
    // The left operand lies by rows where its inner axis runs along them, the right one where it does not.
    const major = o.isInward === (kind === "left") ? "row_major" : "col_major";
    return `subgroupMatrixLoad<subgroup_matrix_${kind}<f16, ${SIDE}, ${SIDE}>, ${major}>(halves, ${
      plus(at, baseOf(o, tile))
    }, ${pitch}u)`;
  };
  for (let k = 0; k < share; k += SIDE) {
    lines.push("{");
    for (let i = 0; i < tile.high / SIDE; i++) {
      lines.push(`  let l${i} = ${load(left!, "ms", i * SIDE, k)};`);
    }
    for (let j = 0; j < tile.wide / SIDE; j++) {
      lines.push("  {", `    let r = ${load(right!, "ns", j * SIDE, k)};`);
      for (let i = 0; i < tile.high / SIDE; i++) {
        lines.push(`    c${i}_${j} = subgroupMatrixMultiplyAccumulate(l${i}, r, c${i}_${j});`);
      }
      lines.push("  }");
    }
    lines.push("}");
  }
  return lines;
}

function up(depth: number): number {
  return Math.ceil(depth / SIDE) * SIDE;
}

/** Bring the sums through workgroup memory, 16 rows of each subgroup at a time; parts of a tile are added up in order. */
function callFinish(scope: Scope, tile: MatrixTile, lanes: number): void {
  const pitch = tile.wide + SUM_PAD, strip = SIDE * pitch;
  const perPart = subgroupsOf(tile) / tile.split, acrossTile = tile.cols / tile.wide;
  const across = tile.wide / 4, each = SIDE * across, vectors = perPart * each;
  for (let i = 0; i < tile.high / SIDE; i++) {
    for (let j = 0; j < tile.wide / SIDE; j++) {
      scope.line(
        `subgroupMatrixStore<row_major>(sums, group_number * ${strip}u + ${
          j * SIDE
        }u, c${i}_${j}, ${pitch}u);`,
      );
    }
    scope.line("workgroupBarrier();");
    for (let done = 0; done < vectors; done += lanes) {
      scope.block(done + lanes > vectors ? `if (${plus("lane", done)} < ${vectors}u)` : "", {}, (inner) => {
        inner.line(
          `let e = ${plus("lane", done)};`,
          `let s = e / ${each}u;`,
          `let r = e % ${each}u / ${across}u;`,
          `let v = e % ${across}u;`,
        );
        const sum = Array.from(
          { length: tile.split },
          (_, p) => `sums4[${plus(`s * ${strip / 4}u + r * ${pitch / 4}u + v`, p * perPart * strip / 4)}]`,
        );
        inner.line(
          `finish(b, m0 + s / ${acrossTile}u * ${tile.high}u + ${i * SIDE}u + r, ` +
            `n0 / 4u + s % ${acrossTile}u * ${across}u + v, ${sum.join(" + ")});`,
        );
      });
    }
    if (i + 1 < tile.high / SIDE) scope.line("workgroupBarrier();");
  }
}
