/** What the benchmark compares, and how it takes times. @module */

/** A library with square f32 matrix products of one size, ready to run. */
export interface Contender {
  readonly name: string;
  readonly threads: number;
  /** A product of two n×n matrices, with the means to free them. */
  readonly prepare: (
    n: number,
  ) => Promise<{ readonly run: () => void | Promise<void>; readonly free: () => void }>;
  readonly close: () => Promise<void>;
}

/** Times of repeated runs, in milliseconds. */
export interface Timing {
  readonly medianMs: number;
  readonly bestMs: number;
  readonly runs: number;
}

/** Run `body` for `warmMs`, then for `measureMs` and at least 5 times. */
export async function timeRuns(
  body: () => void | Promise<void>,
  warmMs = 500,
  measureMs = 1500,
): Promise<Timing> {
  const begin = performance.now();
  while (performance.now() - begin < warmMs) await body();
  const times: number[] = [];
  const start = performance.now();
  while (performance.now() - start < measureMs || times.length < 5) {
    const t = performance.now();
    await body();
    times.push(performance.now() - t);
  }
  times.sort((a, b) => a - b);
  return { medianMs: times[Math.floor(times.length / 2)]!, bestMs: times[0]!, runs: times.length };
}

/** An n×n matrix of numbers between -½ and ½. */
export function randomMatrix(n: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: n * n }, () => Math.random() - 0.5);
}
