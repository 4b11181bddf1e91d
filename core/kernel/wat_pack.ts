/** Values written to scratch memory in the order in which the shared loops read them. @module */
import type { Expr } from "../ir/expr.ts";
import { ixConst, ixScale, ixVar, type Var } from "../ir/ix.ts";
import { get, i32 } from "./wat_code.ts";
import type { Values } from "./wat_expr.ts";
import { gathersAlong, laneAddress, laneLoop, type Range, Renaming, smaller } from "./wat_loops.ts";
import { TILE_COLS } from "./wat_tile.ts";

/** A variable and the part of its range in question. */
export interface Part {
  readonly v: Var;
  readonly range: Range;
}

/** `code - from · bytes`: where the variable's 0 would be if `code` is where `from` is. */
function origin(values: Values, code: string, from: string, bytes: number): string {
  if (from === i32(0)) return code;
  return values.fn.keep("i32", `(i32.sub ${code} (i32.mul ${from} ${i32(bytes)}))`);
}

/** Write `value` as a matrix at `to`: rows by `rows`, `rowBytes` apart, elements by `cols`, lanes along these. */
export function packMatrix(
  values: Values,
  value: Expr,
  rows: Part,
  cols: Part,
  to: string,
  rowBytes: number,
): void {
  const { fn } = values;
  const start = origin(values, origin(values, to, rows.range.from, rowBytes), cols.range.from, 4);
  fn.loop(rows.v.name, rows.range.from, rows.range.to, () => {
    const row = fn.keep("i32", `(i32.add ${start} (i32.mul ${fn.variable(rows.v.name)} ${i32(rowBytes)}))`);
    laneLoop(values, cols.v, (lanes) => {
      const at = laneAddress(values, row, cols.v, 4, lanes);
      fn.line(
        lanes ? `(v128.store ${at} ${values.vector(value)})` : `(f32.store ${at} ${values.scalar(value)})`,
      );
    }, cols.range);
  });
}

/**
 * Write `value` in panels of 8 of `across`: element (along, across) at `to + panel·panelBytes + 32·along + 4·(across mod 8)`,
 * both counted from the beginning of their ranges. What fills the last panel up is arbitrary.
 */
export function packPanels(
  values: Values,
  value: Expr,
  across: Part,
  along: Part,
  to: string,
  panelBytes: number,
): void {
  const sideBySide = gathersAlong([value], across.v.name) <= gathersAlong([value], along.v.name);
  const start = origin(values, to, along.range.from, 4 * TILE_COLS);
  (sideBySide ? packAcross : packTransposed)(values, value, across, along, start, panelBytes);
}

function packAcross(
  values: Values,
  value: Expr,
  across: Part,
  along: Part,
  start: string,
  panelBytes: number,
): void {
  const { fn } = values;
  const { name, extent } = across.v;
  const panel = `${name}.panel`;
  const address = (): string =>
    `(i32.add ${get(at)} (i32.mul ${fn.variable(along.v.name)} ${i32(4 * TILE_COLS)}))`;
  const at = fn.local("i32", "panel");
  fn.line(`(local.set ${at} ${start})`);
  fn.loop(panel, across.range.from, across.range.to, () => {
    const half = (h: number): Var => ({ name: `${name}.half${h}`, extent: Math.ceil(extent / 4) });
    const lanes = (h: number): void =>
      values.withLane(
        { name, base: ixScale(ixVar(half(h)), 4) },
        () => fn.line(`(v128.store offset=${16 * h} ${address()} ${values.vector(value)})`),
      );
    for (const h of [0, 1]) {
      fn.define(half(h).name, `(i32.add (i32.shr_u ${fn.variable(panel)} ${i32(2)}) ${i32(h)})`);
    }
    const loop = (body: () => void): void => fn.loop(along.v.name, along.range.from, along.range.to, body);
    const isFull = `(i32.le_u (i32.add ${fn.variable(panel)} ${i32(TILE_COLS)}) ${i32(extent)})`;
    if (extent >= TILE_COLS) fn.when(isFull, () => loop(() => [0, 1].forEach(lanes)));
    const rest = extent % TILE_COLS, first = extent - rest;
    if (rest > 0) {
      fn.when(`(i32.eq ${fn.variable(panel)} ${i32(first)})`, () =>
        loop(() => {
          if (rest >= 4) lanes(0);
          for (let i = rest - rest % 4; i < rest; i++) {
            const one = new Renaming(new Map([[name, ixConst(first + i)]])).expr(value);
            fn.line(`(f32.store offset=${4 * i} ${address()} ${values.scalar(one)})`);
          }
        }));
    }
    fn.line(`(local.set ${at} (i32.add ${get(at)} ${i32(panelBytes)}))`);
  }, TILE_COLS);
}

function packTransposed(
  values: Values,
  value: Expr,
  across: Part,
  along: Part,
  start: string,
  panelBytes: number,
): void {
  const { fn } = values;
  const group = `${across.v.name}.group`;
  const four = [0, 1, 2, 3].map((i): Var => ({ name: `${across.v.name}.${i}`, extent: across.v.extent }));
  const at = fn.local("i32", "panel"), next = fn.local("i32", "next");
  fn.line(`(local.set ${at} ${start})`);
  fn.line(`(local.set ${next} ${i32(16)})`);
  const last = fn.keep("i32", `(i32.sub ${across.range.to} ${i32(1)})`);
  fn.loop(group, across.range.from, across.range.to, () => {
    four.forEach((v, i) => fn.define(v.name, smaller(`(i32.add ${fn.variable(group)} ${i32(i)})`, last)));
    const columns = four.map((v) => new Renaming(new Map([[across.v.name, ixVar(v)]])).expr(value));
    laneLoop(values, along.v, (lanes) => {
      const to = fn.keep("i32", laneAddress(values, get(at), along.v, 4 * TILE_COLS, lanes));
      if (!lanes) {
        columns.forEach((c, i) => fn.line(`(f32.store offset=${4 * i} ${to} ${values.scalar(c)})`));
        return;
      }
      transpose(values, columns.map((c) => values.vector(c))).forEach((row, i) =>
        fn.line(`(v128.store offset=${4 * TILE_COLS * i} ${to} ${row})`)
      );
    }, along.range);
    // Two groups fill a panel: the second is 16 bytes on, the third in the next panel.
    fn.line(`(local.set ${at} (i32.add ${get(at)} ${get(next)}))`);
    fn.line(`(local.set ${next} (i32.sub ${i32(panelBytes)} ${get(next)}))`);
  }, 4);
}

/** Four vectors of four as the four vectors of their columns. */
export function transpose(values: Values, rows: readonly string[]): string[] {
  const [a, b, c, d] = rows as [string, string, string, string];
  const mix = (x: string, y: string, lanes: readonly number[]): string =>
    `(i8x16.shuffle ${lanes.flatMap((l) => [0, 1, 2, 3].map((byte) => 4 * l + byte)).join(" ")} ${x} ${y})`;
  const keep = (code: string): string => values.fn.keep("v128", code);
  const low = [keep(mix(a, b, [0, 4, 1, 5])), keep(mix(c, d, [0, 4, 1, 5]))] as const;
  const high = [keep(mix(a, b, [2, 6, 3, 7])), keep(mix(c, d, [2, 6, 3, 7]))] as const;
  return [low, high].flatMap(([ab, cd]) => [mix(ab, cd, [0, 1, 4, 5]), mix(ab, cd, [2, 3, 6, 7])]);
}
