/**
 * Contractions in WGSL. A workgroup computes one tile: operands pass through workgroup memory, sums stay in named
 * registers, the next piece of the operands is read while this one is multiplied. Indices are literal and inner loops
 * unrolled because implementations check every loop and every computed index. @module
 */
import { type ContractForm, extentOf } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { PARTS, type Scope } from "./wgsl_expr.ts";
import { matrixContract } from "./wgsl_matrix.ts";
import { declareOperand, fetchOperand, type Operand, operandOf, plus } from "./wgsl_operand.ts";
import { beyond, declareFinish, resultsOf } from "./wgsl_finish.ts";
import { isMatrixTile, lanesOf, pitchOf, type Tile, tileOf, vectorsOf } from "./wgsl_tile.ts";
import { wideSlots } from "./wgsl_wide.ts";

/** Print a contraction into the scope of its entry point: on matrix units where they may be used. */
export function contract(scope: Scope, body: ContractForm): Grid {
  const { module } = scope;
  const rows = extentOf(body.row), cols = extentOf(body.col), batch = extentOf(body.batch);
  const tile = tileOf(module.kernel, body, module.limits);
  if (isMatrixTile(tile)) return matrixContract(scope, body, tile);
  const down = Math.ceil(rows / tile.rows), across = Math.ceil(cols / tile.cols);
  module.globals.push(declareTile(tile));
  const terms = body.terms.map((term, number) =>
    (["left", "right"] as const).map((side) => operandOf(body, term, number, side, tile))
  );
  const results = resultsOf(body, cols);
  module.wide = wideSlots(module.kernel, [
    ...terms.flat().map(({ values }) => ({ values: values.map((v) => [v]) })),
    { values: results.map(() => []), stores: results },
  ]);
  const perGroup = lanesOf(tile) / tile.split, acrossLanes = tile.cols / tile.wide;
  const own = tile.split > 1 ? `lane % ${perGroup}u` : "lane";
  scope.line(
    `let n0 = unit % ${across}u * ${tile.cols}u;`,
    `let m0 = unit / ${across}u % ${down}u * ${tile.rows}u;`,
    `let b = unit / ${across * down}u;`,
    `let tx = ${own} % ${acrossLanes}u;`,
    `let ty = ${tile.split > 1 ? `(${own})` : own} / ${acrossLanes}u;`,
    ...(tile.split > 1 ? [`let part = lane / ${perGroup}u;`] : []),
    ...eachSum(tile, (sum) => `var ${sum} = vec4f();`),
  );
  for (const operands of terms) multiply(scope, operands, tile);
  declareFinish(scope, results, beyond(rows, cols, tile));
  callFinish(scope, tile);
  return { units: down * across * batch, lanes: lanesOf(tile) };
}

/** Lines for each vector of sums: `c2_1` holds row 2 and the second vector of columns of an invocation's results. */
function eachSum(tile: Tile, line: (name: string, row: number, vector: number) => string): string[] {
  const rows = Array.from({ length: tile.high }, (_, i) => i);
  return rows.flatMap((i) => Array.from({ length: tile.wide / 4 }, (_, j) => line(`c${i}_${j}`, i, j)));
}

/** Add one term to the sums. */
function multiply(scope: Scope, operands: readonly Operand[], tile: Tile): void {
  const { depth } = operands[0]!;
  operands.forEach((o) => declareOperand(scope.module, o));
  const moves = operands.map((o) => fetchOperand(o, lanesOf(tile)));
  const fetch = moves.flatMap((m) => m.fetch);
  const puts = operands.flatMap((o, i) => moves[i]!.parts.flatMap((p) => put(o, tile, p)));
  scope.block("", {}, (inner) => {
    inner.line(...moves.flatMap((m) => m.declare), "var k0 = 0u;", ...fetch);
    inner.block("loop", {}, (loop) => {
      loop.line(...puts, "workgroupBarrier();");
      if (depth > tile.depth) {
        loop.line(`k0 += ${tile.depth}u;`);
        loop.block(`if (k0 < ${depth}u)`, {}, (more) => more.line(...fetch));
      }
      loop.line(...products(tile, Math.min(tile.depth, depth)), "workgroupBarrier();");
      loop.line(depth > tile.depth ? `if (k0 >= ${depth}u) { break; }` : "break;");
    });
  });
}

/**
 * Both operands in workgroup memory: for each step of the inner axis the left one's vectors of four, then the right one's.
 * Steps are arrays of their own, so that a literal step needs no check of its index and the checks of vectors are the same
 * for all steps; but groups of invocations that share a tile put their sums there as well, in another order.
 */
function declareTile(tile: Tile): string {
  return tile.split > 1
    ? `var<workgroup> tile: array<vec4f, ${vectorsOf(tile)}>;`
    : `var<workgroup> tile: array<array<vec4f, ${pitchOf(tile)}>, ${tile.depth}>;`;
}

/** A vector of the tile, `start` vectors after the first of its step. */
function at(tile: Tile, step: string, start: number, vector: string): string {
  const place = plus(vector, start);
  return tile.split > 1 ? `tile[(${step}) * ${pitchOf(tile)}u + ${place}]` : `tile[${step}][${place}]`;
}

/** Put a register into workgroup memory, where neighbours along the free axis are neighbours. */
function put(
  { free: axis, isInward, values }: Operand,
  tile: Tile,
  { register, k, free }: { readonly register: string; readonly k: string; readonly free: string },
): string[] {
  const start = axis === "m" ? 0 : tile.rows / 4;
  if (values.length === 4 && !isInward) return [`${at(tile, k, start, free)} = ${register};`];
  const one = (step: string): string => `${at(tile, step, start, `(${free}) / 4u`)}[(${free}) % 4u]`;
  if (values.length === 1) return [`${one(k)} = ${register};`];
  return PARTS.map((part, i) => `${one(plus(`(${k}) * 4u`, i))} = ${register}.${part};`);
}

/** All products of one piece of the operands; each group of invocations takes its share of the depth. */
function products(tile: Tile, depth: number): string[] {
  const lines: string[] = [];
  const steps = tile.split > 1 ? tile.depth / tile.split : depth;
  for (let k = 0; k < steps; k++) {
    const step = tile.split > 1 ? plus(`part * ${steps}u`, k) : `${k}u`;
    lines.push("{");
    for (let i = 0; i < tile.high / 4; i++) {
      lines.push(`  let l${i} = ${at(tile, step, i, `ty * ${tile.high / 4}u`)};`);
    }
    for (let j = 0; j < tile.wide / 4; j++) {
      lines.push(`  let r${j} = ${at(tile, step, tile.rows / 4 + j * (tile.cols / tile.wide), "tx")};`);
    }
    lines.push(
      ...eachSum(tile, (sum, i, j) => `  ${sum} = fma(vec4f(l${i >> 2}.${PARTS[i & 3]}), r${j}, ${sum});`),
    );
    lines.push("}");
  }
  return lines;
}

/** Store the sums; groups that share a tile first add theirs up, in the order of the groups. */
function callFinish(scope: Scope, tile: Tile): void {
  const column = (j: number): string => plus("tx", j * (tile.cols / tile.wide));
  if (tile.split === 1) {
    const row = (i: number): string => plus(`m0 + ty * ${tile.high}u`, i);
    scope.line(...eachSum(tile, (sum, i, j) => `finish(b, ${row(i)}, n0 / 4u + ${column(j)}, ${sum});`));
    return;
  }
  const across = tile.cols / 4, vectors = tile.rows * across;
  scope.line(
    ...eachSum(
      tile,
      (sum, i, j) =>
        `tile[part * ${vectors}u + (ty * ${tile.high}u + ${i}u) * ${across}u + ${column(j)}] = ${sum};`,
    ),
    "workgroupBarrier();",
  );
  for (let done = 0; done < vectors; done += lanesOf(tile)) {
    const e = plus("lane", done);
    const parts = Array.from({ length: tile.split }, (_, s) => `tile[${plus(e, s * vectors)}]`).join(" + ");
    const call = `finish(b, m0 + (${e}) / ${across}u, n0 / 4u + (${e}) % ${across}u, ${parts});`;
    scope.line(done + lanesOf(tile) > vectors ? `if (${e} < ${vectors}u) { ${call} }` : call);
  }
}
