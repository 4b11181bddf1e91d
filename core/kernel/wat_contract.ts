/**
 * Contract kernels in WebAssembly, after BLIS: for each block of rows and columns the right operands are packed into panels
 * (computed on the way, whatever their layout and type), register tiles multiply them with the rows, and when all terms are
 * summed, the stores run over the block in scratch memory. @module
 */
import { call, type Expr, mapExpr } from "../ir/expr.ts";
import { ixSubstitute, ixVar, type Var } from "../ir/ix.ts";
import { type ContractForm, extentOf, type RowForm, type Store, type Term } from "./kernel.ts";
import { get, i32, times } from "./wat_code.ts";
import type { Values } from "./wat_expr.ts";
import {
  costOf,
  type Cut,
  flatten,
  laneAddress,
  laneLoop,
  type Range,
  Renaming,
  smaller,
  strideOf,
  units,
} from "./wat_loops.ts";
import { packMatrix, packPanels } from "./wat_pack.ts";
import { printRow } from "./wat_row.ts";
import { TILE_COLS } from "./wat_tile.ts";

/** Inner indices in one pass: a panel of the right operand is 8 KiB then and stays in the first-level cache. */
const INNER = 256;

/** The form with one variable an axis: batch, row, column, and the inner one of each term. */
interface Flat {
  readonly b: Var;
  readonly r: Var;
  readonly c: Var;
  readonly terms: readonly { readonly k: Var; readonly left: Expr; readonly right: Expr }[];
  readonly stores: readonly Store[];
}

/** How the left operand reaches the tiles: in place or packed, with rows or inner indices far apart. */
type Left =
  | { readonly kind: "direct"; readonly sweep: "sweepByRows" | "sweepByInner"; readonly stride: number }
  | { readonly kind: "packed"; readonly sweep: "sweepByRows" | "sweepByInner" };

/** Print a contract kernel. */
export function printContract(form: ContractForm, values: Values): Cut {
  const rows = extentOf(form.row), cols = extentOf(form.col);
  // A sum of its own computes its operands anew, so they must be cheap; few rows and columns hardly repeat them.
  const isLight = costOf(form.terms.flatMap((t) => [t.left, t.right])) <= 16;
  if ((rows < 4 || cols < 4) && (isLight || rows * cols < 16)) return printRow(asRows(form), values);
  const flat = flattenForm(prefersRows(form) ? swapped(form) : form);
  return printBlocks(flat, values);
}

/** Few rows or columns: each result is a sum of its own. */
function asRows({ batch, row, col, terms, stores }: ContractForm): RowForm {
  const total = terms.map((_, id): Expr => ({ kind: "acc", type: "f32", id })).reduce((a, b) =>
    call("add", a, b)
  );
  const memo = new Map<Expr, Expr>();
  const summed = (e: Expr): Expr => mapExpr(e, (leaf) => (leaf.kind === "acc" ? total : leaf), memo);
  return {
    form: "row",
    outer: [...batch, ...row, ...col],
    reduces: terms.map(({ inner, left, right }, id) => ({
      id,
      combine: "add",
      inner,
      value: call("mul", left, right),
    })),
    rowStores: stores.map((s) => ({ ...s, value: summed(s.value) })),
    inner: [],
    stores: [],
  };
}

/** Whether results that differ in the row lie side by side in memory. */
function prefersRows(form: ContractForm): boolean {
  const flat = flattenForm(form);
  const score = (name: string): number => flat.stores.filter((s) => strideOf(s.ix, name) === 1).length;
  return score("row'") > score("col'");
}

function swapped(form: ContractForm): ContractForm {
  const terms = form.terms.map(({ inner, left, right }): Term => ({ inner, left: right, right: left }));
  return { ...form, row: form.col, col: form.row, terms };
}

function flattenForm(form: ContractForm): Flat {
  const b = flatten(form.batch, "batch'"), r = flatten(form.row, "row'"), c = flatten(form.col, "col'");
  const axes = [...b.places, ...r.places, ...c.places];
  const terms = form.terms.map(({ inner, left, right }, i) => {
    const k = flatten(inner, `inner${i}'`);
    const all = new Renaming(new Map([...axes, ...k.places]));
    return { k: k.v, left: all.expr(left), right: all.expr(right) };
  });
  return { b: b.v, r: r.v, c: c.v, terms, stores: new Renaming(new Map(axes)).stores(form.stores) };
}

/** Sizes of a block: as large as scratch stays in the second-level cache, smaller where that leaves too few units. */
function blockOf({ b, r, c, terms }: Flat): { rows: number; cols: number } {
  const up = (n: number, to: number): number => Math.ceil(n / to) * to;
  const work = r.extent * c.extent * terms.reduce((n, t) => n + t.k.extent, 0);
  let rows = Math.min(up(r.extent, 12), 516), cols = Math.min(up(c.extent, TILE_COLS), 128);
  const count = (): number => b.extent * Math.ceil(r.extent / rows) * Math.ceil(c.extent / cols);
  while (count() < 8 && work * b.extent > 2 ** 20 * count()) {
    if (cols >= 64 && cols * 2 > rows) cols = up(cols / 2, TILE_COLS);
    else if (rows >= 48) rows = up(rows / 2, 12);
    else if (cols >= 2 * TILE_COLS) cols = up(cols / 2, TILE_COLS);
    else break;
  }
  return { rows, cols };
}

function leftOf(left: Expr, r: Var, k: Var, isF32: (slot: number) => boolean): Left {
  if (left.kind !== "load") return { kind: "packed", sweep: "sweepByRows" };
  const rowStride = r.extent === 1 ? 0 : strideOf(left.ix, r.name);
  const innerStride = k.extent === 1 ? 1 : strideOf(left.ix, k.name);
  const sweep = innerStride !== 1 && rowStride === 1 ? "sweepByInner" : "sweepByRows";
  const isPlain = isF32(left.slot) && left.type === "f32" && left.valid.length === 0;
  const stride = sweep === "sweepByRows" ? rowStride : innerStride;
  const unit = sweep === "sweepByRows" ? innerStride : rowStride;
  return isPlain && unit === 1 && stride !== null
    ? { kind: "direct", sweep, stride }
    : { kind: "packed", sweep };
}

function printBlocks(flat: Flat, values: Values): Cut {
  const { fn } = values, { b, r, c, terms, stores } = flat;
  const block = blockOf(flat);
  const depth = (k: Var): number => Math.ceil(k.extent / Math.ceil(k.extent / INNER) / 4) * 4;
  const deepest = Math.max(...terms.map((t) => depth(t.k)));
  const lefts = terms.map((t) => leftOf(t.left, r, t.k, (slot) => values.slots[slot]!.dtype === "f32"));
  const resultBytes = 4 * block.rows * block.cols, panelBytes = 4 * TILE_COLS * deepest;
  const rightBytes = panelBytes * block.cols / TILE_COLS;
  // Rows of the packed left operand are a cache line longer than a power of two, so that six of them do not collide.
  const leftBytes = Math.max(block.rows * (4 * deepest + 64), deepest * (4 * block.rows + 64));
  const hasPacked = lefts.some((l) => l.kind === "packed");
  const rowBlocks = Math.ceil(r.extent / block.rows), colBlocks = Math.ceil(c.extent / block.cols);

  const result = get("$scratch");
  const right = fn.keep("i32", `(i32.add ${result} ${i32(resultBytes)})`);
  const left = fn.keep("i32", `(i32.add ${right} ${i32(rightBytes)})`);
  fn.loop("unit'", units.from, units.to, () => {
    const unit = fn.variable("unit'");
    const blockOfRows = fn.keep("i32", `(i32.div_u ${unit} ${i32(colBlocks)})`);
    fn.define("batch'", `(i32.div_u ${blockOfRows} ${i32(rowBlocks)})`);
    const rowRange = part(values, `(i32.rem_u ${blockOfRows} ${i32(rowBlocks)})`, block.rows, r.extent);
    const colRange = part(values, `(i32.rem_u ${unit} ${i32(colBlocks)})`, block.cols, c.extent);
    const rows = { v: r, range: rowRange }, cols = { v: c, range: colRange };
    const rowCount = fn.keep("i32", `(i32.sub ${rowRange.to} ${rowRange.from})`);
    const panels = fn.keep(
      "i32",
      `(i32.shr_u (i32.add (i32.sub ${colRange.to} ${colRange.from}) ${i32(7)}) ${i32(3)})`,
    );
    fn.define("row'.from", rowRange.from);
    terms.forEach(({ k, left: leftValue, right: rightValue }, t) => {
      const from: Var = { name: `${k.name}.from`, extent: k.extent };
      fn.loop(
        from.name,
        i32(0),
        i32(k.extent),
        () => {
          const begin = fn.variable(from.name);
          const end = fn.keep("i32", smaller(`(i32.add ${begin} ${i32(depth(k))})`, i32(k.extent)));
          const inner = { v: k, range: { from: begin, to: end } };
          packPanels(values, rightValue, cols, inner, right, panelBytes);
          const how = lefts[t]!, byRows = how.sweep === "sweepByRows";
          let at = left, stride = byRows ? 4 * depth(k) + 64 : 4 * block.rows + 64;
          if (how.kind === "direct" && leftValue.kind === "load") {
            const start = new Map([[r.name, ixVar({ name: "row'.from", extent: r.extent })], [
              k.name,
              ixVar(from),
            ]]);
            at = values.address(
              leftValue.slot,
              ixSubstitute(leftValue.ix, start, (of) => new Renaming(start).expr(of)),
            );
            stride = 4 * how.stride;
          } else if (byRows) packMatrix(values, leftValue, rows, inner, left, stride);
          else packMatrix(values, leftValue, inner, rows, left, stride);
          fn.calls.add(how.sweep);
          const isFirst = t === 0 ? `(i32.eqz ${begin})` : i32(0);
          fn.line(
            `(call $${how.sweep} ${at} ${i32(stride)} ${right} ${i32(panelBytes)} ${result} ${
              i32(4 * block.cols)
            } ` +
              `(i32.sub ${end} ${begin}) ${rowCount} ${panels} ${isFirst})`,
          );
        },
        depth(k),
        true,
      );
    });
    printStores(values, stores, r, c, rowRange, colRange, result, block.cols);
  });
  return {
    units: b.extent * rowBlocks * colBlocks,
    scratchBytes: resultBytes + rightBytes + (hasPacked ? leftBytes : 0),
    work: b.extent * r.extent * c.extent *
      (terms.reduce((n, t) => n + t.k.extent, 0) + costOf(stores.map((s) => s.value))) / 4,
  };
}

/** The range of block number `index` of `size` elements out of `extent`. */
function part(values: Values, index: string, size: number, extent: number): Range {
  const from = values.fn.keep("i32", times(index, size));
  return { from, to: values.fn.keep("i32", smaller(`(i32.add ${from} ${i32(size)})`, i32(extent))) };
}

/** The stores of one block, whose sums are at `result` in rows of `width`. */
function printStores(
  values: Values,
  stores: readonly Store[],
  r: Var,
  c: Var,
  rows: Range,
  cols: Range,
  result: string,
  width: number,
): void {
  const { fn } = values;
  const corner = `(i32.add (i32.mul ${rows.from} ${i32(4 * width)}) (i32.mul ${cols.from} ${i32(4)}))`;
  const origin = fn.keep("i32", `(i32.sub ${result} ${corner})`);
  fn.loop(r.name, rows.from, rows.to, () => {
    const row = fn.keep("i32", `(i32.add ${origin} (i32.mul ${fn.variable(r.name)} ${i32(4 * width)}))`);
    laneLoop(values, c, (lanes) => {
      const at = laneAddress(values, row, c, 4, lanes);
      const code = lanes ? fn.keep("v128", `(v128.load ${at})`) : fn.keep("f32", `(f32.load ${at})`);
      values.setAccumulator(0, code, [r.name, c.name]);
      values.store(stores, lanes);
    }, cols);
  });
}
