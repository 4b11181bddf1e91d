/** How large a part of a product one workgroup computes. @module */
import { type ContractForm, extentOf, type Kernel } from "./kernel.ts";
import { kernelKey } from "./show_kernel.ts";
import type { WgslLimits } from "./wgsl_memory.ts";

/** A tile of `rows` × `cols` results; `depth` steps of the inner axis are in workgroup memory at a time. */
export interface Tile {
  readonly rows: number;
  readonly cols: number;
  readonly depth: number;
  /** Results of one invocation: `high` rows by `wide` columns, both multiples of 4. */
  readonly high: number;
  readonly wide: number;
  /** Groups of invocations that share a tile, each taking its part of every `depth`. */
  readonly split: number;
  /** Speed against the first tile's, measured on an H100 and an H200: loads and barriers weigh more in small tiles. */
  readonly speed: number;
  /** The same where indices are not checked, if that makes a difference. */
  readonly unchecked?: number;
}

/** A tile on matrix units: `high` and `wide` are a subgroup's, multiples of 16, and subgroups share a tile as groups do. */
export interface MatrixTile extends Tile {
  /** Workgroups that share a processor, each computing while others wait for memory. */
  readonly resident: number;
}

const tiles: readonly Tile[] = [
  { rows: 128, cols: 128, depth: 16, high: 8, wide: 8, split: 1, speed: 1 },
  { rows: 128, cols: 128, depth: 8, high: 8, wide: 8, split: 1, speed: 0.95 },
  { rows: 256, cols: 128, depth: 8, high: 16, wide: 8, split: 1, speed: 0.93, unchecked: 1.06 },
  { rows: 64, cols: 128, depth: 16, high: 8, wide: 8, split: 1, speed: 0.9, unchecked: 0.97 },
  { rows: 64, cols: 64, depth: 16, high: 4, wide: 4, split: 1, speed: 0.79 },
  { rows: 32, cols: 32, depth: 16, high: 4, wide: 4, split: 2, speed: 0.58 },
  { rows: 32, cols: 32, depth: 64, high: 4, wide: 4, split: 8, speed: 0.58 },
  { rows: 16, cols: 16, depth: 32, high: 4, wide: 4, split: 8, speed: 0.4 },
  { rows: 16, cols: 16, depth: 128, high: 4, wide: 4, split: 32, speed: 0.4 },
];

/** Tiles on matrix units. */
export const matrixTiles: readonly MatrixTile[] = [
  { rows: 128, cols: 128, depth: 32, high: 64, wide: 64, split: 1, speed: 1, resident: 2 },
  { rows: 64, cols: 64, depth: 64, high: 32, wide: 32, split: 1, speed: 0.73, resident: 4 },
  { rows: 16, cols: 32, depth: 128, high: 16, wide: 32, split: 4, speed: 0.17, resident: 6 },
  { rows: 16, cols: 16, depth: 256, high: 16, wide: 16, split: 8, speed: 0.05, resident: 6 },
  { rows: 16, cols: 16, depth: 512, high: 16, wide: 16, split: 16, speed: 0.05, resident: 3 },
];

/** A product's sizes: rows, columns and batches of the result, and the lengths of the inner axes. */
export interface Product {
  readonly rows: number;
  readonly cols: number;
  readonly batch: number;
  readonly depths: readonly number[];
}

/** The sizes of a contraction. */
export function productOf({ row, col, batch, terms }: ContractForm): Product {
  return {
    ...{ rows: extentOf(row), cols: extentOf(col), batch: extentOf(batch) },
    depths: terms.map((t) => extentOf(t.inner)),
  };
}

/**
 * The tiles that a product may have, the best by the model first: those on matrix units where they may be used and it
 * has as many rows and columns as one instruction, else those on the registers of single invocations.
 */
export function rankTiles(of: Product, limits: WgslLimits): readonly (Tile | MatrixTile)[] {
  const matrix = of.rows < SIDE || of.cols < SIDE
    ? []
    : (limits.matrix ?? []).filter((t) =>
      matrixBytes(t) <= limits.maxWorkgroupBytes && SUBGROUP * subgroupsOf(t) <= limits.maxInvocations
    );
  // A tile that is half idle has no merit, and another number of invocations than products that could be launched with it.
  const narrow = matrix.filter((t) => t.cols < 2 * of.cols);
  if (matrix.length > 0) {
    return ranked(narrow.length > 0 ? narrow : matrix, (t) => matrixCost(t, of, limits));
  }
  const fits = tiles.filter((t) =>
    bytesOf(t) <= limits.maxWorkgroupBytes && lanesOf(t) <= limits.maxInvocations
  );
  return ranked(fits, (t) => registerCost(t, of, limits));
}

/** The tile that a kernel is to have: what was measured to be the fastest, else the model's. */
export function tileOf(kernel: Kernel, body: ContractForm, limits: WgslLimits): Tile | MatrixTile {
  const all = rankTiles(productOf(body), limits);
  const measured = limits.tuned?.get(tuningKey(kernel));
  return all.find((t) => tileName(t) === measured) ?? all[0]!;
}

/** Whether a tile is one on matrix units. */
export function isMatrixTile(tile: Tile | MatrixTile): tile is MatrixTile {
  return "resident" in tile;
}

/** A tile by its sizes: `128x128x32 64x64 1 matrix`. */
export function tileName(tile: Tile | MatrixTile): string {
  const { rows, cols, depth, high, wide, split } = tile;
  return `${rows}x${cols}x${depth} ${high}x${wide} ${split}${isMatrixTile(tile) ? " matrix" : ""}`;
}

/** Equal for kernels that do the same, however their slots are bound. */
export function tuningKey({ name, slots, body }: Kernel): string {
  return kernelKey({ name, slots: slots.map((s) => ({ ...s, access: "read" })), body });
}

/** What waiting for memory costs a tile at each of its steps, in products at the largest tile's speed; about 0.8 µs. */
const WAIT = 700_000;

function matrixCost(t: MatrixTile, of: Product, { busyWorkgroups }: WgslLimits): number {
  // As several tiles share a processor, its last turn need not be a whole one.
  const turns = Math.max(1, countOf(t, of) / busyWorkgroups);
  const steps = of.depths.reduce((n, depth) => n + Math.ceil(depth / t.depth), 0);
  return turns * steps * (t.rows * t.cols * t.depth / t.speed + WAIT / Math.min(turns, t.resident));
}

/** The same for tiles on registers; about 0.8 µs. Invocations of a processor that wait together. */
const REGISTER_WAIT = 136_000, RESIDENT = 1024;

/** With the best tile the busiest processor is done first; memory is waited for where its products take less time. */
function registerCost(t: Tile, of: Product, { busyWorkgroups, checked }: WgslLimits): number {
  const turns = Math.ceil(countOf(t, of) / busyWorkgroups),
    speed = checked ? t.speed : t.unchecked ?? t.speed;
  const steps = of.depths.reduce((n, depth) => n + Math.ceil(depth / t.depth), 0);
  const wait = REGISTER_WAIT / Math.max(1, Math.min(turns, RESIDENT / lanesOf(t)));
  return turns * steps * Math.max(t.rows * t.cols * t.depth / speed, wait);
}

function countOf(t: Tile, { rows, cols, batch }: Product): number {
  return batch * Math.ceil(rows / t.rows) * Math.ceil(cols / t.cols);
}

/** Least cost first; of equal ones in their order. */
function ranked<T>(of: readonly T[], cost: (t: T) => number): readonly T[] {
  return of.map((t) => ({ t, cost: cost(t) })).sort((a, b) => a.cost - b.cost).map(({ t }) => t);
}

/** Rows, columns and depth of one matrix instruction; adapters with other sizes are not used. */
export const SIDE = 16;
/** Invocations of a subgroup. */
export const SUBGROUP = 32;
/** Halves, and floats, by which rows in workgroup memory are longer than needed. */
export const PAD = 8, SUM_PAD = 4;

/** Subgroups of a workgroup. */
export function subgroupsOf(t: MatrixTile): number {
  return t.split * (t.rows / t.high) * (t.cols / t.wide);
}

/** Invocations of a workgroup. */
export function lanesOf(t: Tile): number {
  return t.split * (t.rows / t.high) * (t.cols / t.wide);
}

/**
 * Vectors of four between two steps of the inner axis in workgroup memory: those of both operands, and one more, against
 * bank conflicts.
 */
export function pitchOf({ rows, cols }: Tile): number {
  return (rows + cols) / 4 + 1;
}

/** Vectors of four numbers of workgroup memory: both operands, and later the partial sums of the groups. */
export function vectorsOf(t: Tile): number {
  return Math.max(t.depth * pitchOf(t), t.split > 1 ? t.split * t.rows * t.cols / 4 : 0);
}

function bytesOf(t: Tile): number {
  return 16 * vectorsOf(t);
}

/** Halves that one operand of a matrix tile takes in workgroup memory, in either direction. */
export function roomOf(size: number, depth: number): number {
  return Math.max(size * (depth + PAD), depth * (size + PAD));
}

/** Floats that the subgroups' strips of sums take, 16 rows each. */
export function stripsOf(tile: MatrixTile): number {
  return subgroupsOf(tile) * SIDE * (tile.wide + SUM_PAD);
}

/** Bytes of workgroup memory: both operands, and later the sums. */
export function matrixBytes(tile: MatrixTile): number {
  return Math.max(2 * (roomOf(tile.rows, tile.depth) + roomOf(tile.cols, tile.depth)), 4 * stripsOf(tile));
}
