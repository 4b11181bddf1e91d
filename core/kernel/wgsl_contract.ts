/**
 * Contractions in WGSL. A workgroup computes one tile: operands pass through workgroup memory, sums stay in named
 * registers, the next piece of the operands is read while this one is multiplied. Indices are literal and inner loops
 * unrolled because implementations check every loop and every computed index. @module
 */
import { type Expr, loadsOf, varsOf } from "../ir/expr.ts";
import { ixStride } from "../ir/ix.ts";
import { type ContractForm, extentOf, type Term } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { chooseTile, lanesOf, leftPitch, type Tile, vectorsOf } from "./wgsl_tile.ts";

const PARTS = ["x", "y", "z", "w"] as const;

/** One operand on its way into workgroup memory. */
interface Side {
  readonly name: "left" | "right";
  /** Variable of its free axis. */
  readonly free: "m" | "n";
  /** Extents of the whole and of the tile along the free axis. */
  readonly extent: number;
  readonly size: number;
  /** Where its part of workgroup memory begins, and vectors between two depths. */
  readonly base: number;
  readonly pitch: number;
}

/** Print a contraction into the scope of its entry point. */
export function contract(scope: Scope, body: ContractForm): Grid {
  const rows = extentOf(body.row), cols = extentOf(body.col), batch = extentOf(body.batch);
  const tile = chooseTile(rows, cols, batch, scope.module.limits);
  const down = Math.ceil(rows / tile.rows), across = Math.ceil(cols / tile.cols);
  const pitch = leftPitch(tile);
  const left: Side = { name: "left", free: "m", extent: rows, size: tile.rows, base: 0, pitch };
  const right: Side = {
    name: "right",
    free: "n",
    extent: cols,
    size: tile.cols,
    base: tile.depth * pitch,
    pitch: tile.cols / 4,
  };
  scope.module.globals.push(`var<workgroup> tile: array<vec4f, ${vectorsOf(tile)}>;`);
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
  body.terms.forEach((term, i) => multiply(scope, body, term, i, tile, left, right));
  finish(scope, body, tile, rows, cols);
  return { units: down * across * batch, lanes: lanesOf(tile) };
}

/** Lines for each vector of sums: `c2_1` holds row 2 and columns 4 to 7 of an invocation's results. */
function eachSum(tile: Tile, line: (name: string, row: number, vector: number) => string): string[] {
  const rows = Array.from({ length: tile.high }, (_, i) => i);
  return rows.flatMap((i) => Array.from({ length: tile.wide / 4 }, (_, j) => line(`c${i}_${j}`, i, j)));
}

function multiply(scope: Scope, body: ContractForm, term: Term, number: number, tile: Tile, left: Side, right: Side): void {
  const depth = extentOf(term.inner);
  const flat = new Flat({ b: body.batch, m: body.row, n: body.col, k: term.inner });
  const sides = [{ side: left, value: flat.expr(term.left) }, { side: right, value: flat.expr(term.right) }];
  const moves = sides.map(({ side, value }) => {
    operand(scope, side, value, number);
    return movement(side, value, `${side.name}${number}`, tile, depth);
  });
  const fetch = moves.flatMap((m) => m.fetch);
  scope.block("", {}, (inner) => {
    inner.line(...moves.flatMap((m) => m.declare), "var k0 = 0u;", ...fetch);
    inner.block("loop", {}, (loop) => {
      loop.line(...moves.flatMap((m) => m.put), "workgroupBarrier();");
      if (depth > tile.depth) {
        loop.line(`k0 += ${tile.depth}u;`);
        loop.block(`if (k0 < ${depth}u)`, {}, (more) => more.line(...fetch));
      }
      loop.line(...products(tile, left, right, Math.min(tile.depth, depth)), "workgroupBarrier();");
      loop.line(depth > tile.depth ? `if (k0 >= ${depth}u) { break; }` : "break;");
    });
  });
}

/** The function that computes one element of an operand. */
function operand(scope: Scope, side: Side, value: Expr, number: number): void {
  const names = { b: "b", [side.free]: side.free, k: "k" };
  const inside = new Scope(scope.module, { vars: names });
  const [text] = inside.values([value]);
  scope.module.globals.push(
    `fn ${side.name}${number}(b: u32, ${side.free}: u32, k: u32) -> f32 {`,
    ...inside.lines.map((l) => `  ${l}`),
    `  return ${text};`,
    "}",
  );
}

/** Whether neighbours along the inner axis are neighbours in memory, rather than along the free axis. */
function runsInward(value: Expr, free: string): boolean {
  const loads = loadsOf([value]).filter((l) => varsOf(l).has(free));
  if (loads.some((l) => ixStride(l.ix, "k", varsOf) === 1)) return true;
  return !loads.some((l) => ixStride(l.ix, free, varsOf) === 1);
}

/** Statements that bring one operand from its buffer into registers, and from there into workgroup memory. */
interface Movement {
  readonly declare: readonly string[];
  readonly fetch: readonly string[];
  readonly put: readonly string[];
}

function movement(side: Side, value: Expr, name: string, tile: Tile, depth: number): Movement {
  const inward = runsInward(value, side.free);
  const lanes = lanesOf(tile);
  const fast = inward ? tile.depth : side.size;
  const move = { declare: [] as string[], fetch: [] as string[], put: [] as string[] };
  for (let i = 0; i < side.size * tile.depth / lanes; i++) {
    const [quick, slow] = place(i, lanes, fast);
    const [k, free] = inward ? [quick, slow] : [slow, quick];
    const register = `${side.name}_${i}`;
    const ragged = side.extent % side.size !== 0;
    const whole = `${side.free}0 + ${free}`;
    const at = ragged ? `min(${whole}, ${side.extent - 1}u)` : whole;
    let read = `${name}(b, ${at}, k0 + ${k})`;
    if (depth % tile.depth !== 0) {
      read = `select(0.0f, ${name}(b, ${at}, min(k0 + ${k}, ${depth - 1}u)), k0 + ${k} < ${depth}u)`;
    }
    move.declare.push(`var ${register}: f32;`);
    move.fetch.push(`${register} = ${read};`);
    const start = side.base === 0 ? "" : `${side.base}u + `;
    move.put.push(`tile[${start}(${k}) * ${side.pitch}u + (${free}) / 4u][(${free}) % 4u] = ${register};`);
  }
  return move;
}

/** Position of element `lane + i · lanes` in rows of `width`; all three are powers of two. */
function place(i: number, lanes: number, width: number): [quick: string, slow: string] {
  if (lanes % width === 0) return [`lane % ${width}u`, plus(`lane / ${width}u`, i * (lanes / width))];
  const per = width / lanes;
  return [plus("lane", (i % per) * lanes), `${Math.floor(i / per)}u`];
}

function plus(text: string, n: number): string {
  return n === 0 ? text : `${text} + ${n}u`;
}

/** All products of one piece of the operands. */
function products(tile: Tile, left: Side, right: Side, depth: number): string[] {
  const lines: string[] = [];
  const steps = tile.split > 1 ? tile.depth / tile.split : depth;
  for (let k = 0; k < steps; k++) {
    const at = (side: Side, vector: string): string => {
      if (tile.split === 1) return `tile[${side.base + k * side.pitch}u + ${vector}]`;
      return `tile[${side.base + k * side.pitch}u + part * ${steps * side.pitch}u + ${vector}]`;
    };
    lines.push("{");
    for (let i = 0; i < tile.high / 4; i++) lines.push(`  let l${i} = ${at(left, plus(`ty * ${tile.high / 4}u`, i))};`);
    for (let j = 0; j < tile.wide / 4; j++) {
      lines.push(`  let r${j} = ${at(right, plus("tx", j * (tile.cols / tile.wide)))};`);
    }
    lines.push(...eachSum(tile, (sum, i, j) => `  ${sum} = fma(vec4f(l${i >> 2}.${PARTS[i & 3]}), r${j}, ${sum});`));
    lines.push("}");
  }
  return lines;
}

/** Store the sums; groups that share a tile first add theirs up, in the order of the groups. */
function finish(scope: Scope, body: ContractForm, tile: Tile, rows: number, cols: number): void {
  const flat = new Flat({ b: body.batch, m: body.row, n: body.col });
  const inside = new Scope(scope.module, { vars: { b: "b", m: "m", n: "n" }, accs: new Map([[0, "sum"]]) });
  const beyond = [
    ...(rows % tile.rows ? [`m >= ${rows}u`] : []),
    ...(cols % tile.cols ? [`n >= ${cols}u`] : []),
  ];
  if (beyond.length > 0) inside.line(`if (${beyond.join(" || ")}) { return; }`);
  inside.stores(body.stores.map((s) => flat.store(s)));
  scope.module.globals.push("fn finish(b: u32, m: u32, n: u32, sum: f32) {", ...inside.lines.map((l) => `  ${l}`), "}");
  const column = (j: number): string => `(${plus("tx", j * (tile.cols / tile.wide))})`;
  if (tile.split === 1) {
    scope.line(`let m = m0 + ty * ${tile.high}u;`);
    scope.line(...eachSum(tile, (sum, i, j) =>
      PARTS.map((part, c) => `finish(b, ${plus("m", i)}, n0 + ${plus(`${column(j)} * 4u`, c)}, ${sum}.${part});`).join(" ")));
    return;
  }
  const vectors = tile.rows * tile.cols / 4;
  scope.line(...eachSum(tile, (sum, i, j) =>
    `tile[part * ${vectors}u + (ty * ${tile.high}u + ${i}u) * ${tile.cols / 4}u + ${column(j)}] = ${sum};`));
  scope.line("workgroupBarrier();");
  const lanes = lanesOf(tile);
  for (let i = 0; i < tile.rows * tile.cols / lanes; i++) {
    const parts = Array.from({ length: tile.split }, (_, s) => `tile[${s * vectors}u + e / 4u][e % 4u]`);
    scope.line(
      `{ let e = ${plus("lane", i * lanes)}; finish(b, m0 + e / ${tile.cols}u, n0 + e % ${tile.cols}u, ${parts.join(" + ")}); }`,
    );
  }
}
