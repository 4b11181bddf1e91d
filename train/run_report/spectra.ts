/** Singular values of some adapted maps, before and after training. @module */
import { Matrix, SingularValueDecomposition } from "ml-matrix";
import { byPlace } from "../plots/lambda.ts";

/** Singular values of a map's weight before and after, and of what training added to it, largest first. */
export interface Spectrum {
  /** The map's path. */
  readonly name: string;
  readonly base: readonly number[];
  readonly tuned: readonly number[];
  readonly change: readonly number[];
}

/** Multiply-adds of a Gram matrix, m·n·min(m, n), up to which a decomposition takes at most about 0.1 s. */
const MOST_WORK = 2 ** 25;

/** Whether the singular values of an m × n matrix cost little. */
export function isCheap(m: number, n: number): boolean {
  return m * n * Math.min(m, n) <= MOST_WORK;
}

/**
 * Which of the maps are looked at: of the first, the middle and the last layer the first and the last map on the way of
 * the data.
 */
export function chosenMaps(paths: readonly string[]): string[] {
  const layers = [...Map.groupBy(paths.toSorted(byPlace), layerOf).values()];
  const chosen = [layers[0], layers[Math.floor((layers.length - 1) / 2)], layers.at(-1)];
  return [...new Set(chosen.flatMap((maps) => maps ? [maps[0]!, maps.at(-1)!] : []))];
}

function layerOf(path: string): string {
  return /\.(\d+)\./.exec(path)?.[1] ?? path;
}

/** Singular values of a matrix [rows, columns], largest first, in the units of its entries. Golub and Reinsch, 1970. */
export function singularValues(data: ArrayLike<number>, rows: number, columns: number): number[] {
  const matrix = Matrix.from1DArray(rows, columns, Array.from(data));
  return new SingularValueDecomposition(matrix, {
    computeLeftSingularVectors: false,
    computeRightSingularVectors: false,
    autoTranspose: true,
  }).diagonal;
}

/** The spectrum of a map [rows, columns] from its weights before and after, row-major. */
export function spectrumOf(
  name: string,
  base: ArrayLike<number>,
  tuned: ArrayLike<number>,
  [rows, columns]: readonly [number, number],
): Spectrum {
  const change = Float64Array.from(base, (x, i) => tuned[i]! - x);
  const of = (data: ArrayLike<number>): number[] => singularValues(data, rows, columns);
  return { name, base: of(base), tuned: of(tuned), change: of(change) };
}
