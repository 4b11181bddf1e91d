/** How large a part of a product one workgroup computes. @module */
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
  /** Speed against the largest tile's, measured on an H100: loads and barriers weigh more in small tiles. */
  readonly speed: number;
}

const tiles: readonly Tile[] = [
  { rows: 128, cols: 128, depth: 16, high: 8, wide: 8, split: 1, speed: 1 },
  { rows: 128, cols: 128, depth: 8, high: 8, wide: 8, split: 1, speed: 0.95 },
  { rows: 64, cols: 128, depth: 16, high: 8, wide: 8, split: 1, speed: 0.97 },
  { rows: 64, cols: 64, depth: 16, high: 4, wide: 4, split: 1, speed: 0.79 },
  { rows: 32, cols: 32, depth: 16, high: 4, wide: 4, split: 2, speed: 0.58 },
  { rows: 16, cols: 16, depth: 32, high: 4, wide: 4, split: 8, speed: 0.4 },
];

/** The tile with which the busiest processor is done first. */
export function chooseTile(rows: number, cols: number, batch: number, limits: WgslLimits): Tile {
  const cost = (t: Tile): number => {
    const count = batch * Math.ceil(rows / t.rows) * Math.ceil(cols / t.cols);
    return Math.ceil(count / limits.busyWorkgroups) * t.rows * t.cols / t.speed;
  };
  const fits = tiles.filter((t) =>
    bytesOf(t) <= limits.maxWorkgroupBytes && lanesOf(t) <= limits.maxInvocations
  );
  return fits.reduce((best, t) => (cost(t) < cost(best) ? t : best));
}

/** Invocations of a workgroup. */
export function lanesOf(t: Tile): number {
  return t.split * (t.rows / t.high) * (t.cols / t.wide);
}

/** Vectors of four between two depths of an operand in workgroup memory: one more than needed, against bank conflicts. */
export function pitchOf(size: number): number {
  return size / 4 + 1;
}

/** Vectors of four numbers of workgroup memory: both operands, and later the partial sums of the groups. */
export function vectorsOf(t: Tile): number {
  const operands = t.depth * (pitchOf(t.rows) + pitchOf(t.cols));
  return Math.max(operands, t.split > 1 ? t.split * t.rows * t.cols / 4 : 0);
}

function bytesOf(t: Tile): number {
  return 16 * vectorsOf(t);
}
