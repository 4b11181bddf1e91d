/** Batches: examples padded to a few fixed lengths, in an order that a seed decides. @module */
import type { Example } from "./data.ts";

/** Label of a position where nothing is learnt. */
export const IGNORED = -100;

/** Rows of one length on the host, row-major. */
export interface TokenBatch {
  /** i32[rows · length]; 0 in the padding. */
  readonly ids: Int32Array;
  /** i32[rows · length]: the id that should follow each position, or {@linkcode IGNORED}. */
  readonly labels: Int32Array;
  readonly rows: number;
  readonly length: number;
  /** Positions where something is learnt. */
  readonly tokens: number;
  /** Examples in it; the other rows are padding. */
  readonly examples: number;
  /** Where the rows of its examples stand, where that is known. */
  readonly places: readonly string[];
  /** Counted from 0. */
  readonly epoch: number;
}

/** Options of {@linkcode batches}. */
export interface BatchOptions {
  /** Rows of every batch. */
  readonly batch: number;
  /** Longest length, in positions. */
  readonly seq: number;
  readonly seed: number;
  /** Times over all examples; may be Infinity. */
  readonly epochs: number;
  /** False keeps the order of the examples (within a length). Default true. */
  readonly shuffle?: boolean;
}

/** The lengths that batches are padded to: quarters of `seq`, rounded up to multiples of 8, and `seq`. */
export function bucketLengths(seq: number): number[] {
  const quarters = [1, 2, 3].map((q) => Math.ceil(q * seq / 4 / 8) * 8).filter((length) => length < seq);
  return [...new Set(quarters), seq];
}

/** Batches of one epoch: how many there are does not depend on the seed. */
export function batchesPerEpoch(
  examples: readonly Example[],
  { batch, seq }: { readonly batch: number; readonly seq: number },
): number {
  return [...epochGroups(examples, batch, bucketLengths(seq))].length;
}

/**
 * Batches of `batch` rows, epoch after epoch, each example once an epoch, in an order that `seed` and the epoch decide.
 * A batch holds examples of like length; at the end of an epoch the rest are put together, and the last batch is filled
 * with rows in which nothing is learnt. Examples must fit `seq` (see fitExamples).
 */
export function* batches(examples: readonly Example[], options: BatchOptions): Generator<TokenBatch> {
  const { batch, seq, seed, epochs, shuffle = true } = options;
  const tooLong = examples.find((e) => e.ids.length > seq + 1);
  if (tooLong) {
    throw new RangeError(`An example has ${tooLong.ids.length} ids, more than ${seq} positions take.`);
  }
  const lengths = bucketLengths(seq);
  for (let epoch = 0; epoch < epochs && examples.length > 0; epoch++) {
    const ordered = shuffle ? shuffled(examples, seed, epoch) : examples;
    for (const group of epochGroups(ordered, batch, lengths)) yield pad(group, batch, lengths, epoch);
  }
}

/** Positions that an example takes: its last id is only a target. */
function positions({ ids }: Example): number {
  return ids.length - 1;
}

function lengthFor(group: readonly Example[], lengths: readonly number[]): number {
  const longest = Math.max(...group.map(positions));
  return lengths.find((length) => length >= longest)!;
}

function* epochGroups(
  examples: Iterable<Example>,
  batch: number,
  lengths: readonly number[],
): Generator<Example[]> {
  const waiting = new Map<number, Example[]>(lengths.map((length) => [length, []]));
  for (const example of examples) {
    const group = waiting.get(lengthFor([example], lengths))!;
    group.push(example);
    if (group.length === batch) yield group.splice(0);
  }
  // Shorter first, so that few rows are padded further than they need.
  const rest = [...waiting.values()].flat();
  while (rest.length > 0) yield rest.splice(0, batch);
}

function pad(group: readonly Example[], rows: number, lengths: readonly number[], epoch: number): TokenBatch {
  const length = lengthFor(group, lengths);
  const ids = new Int32Array(rows * length), labels = new Int32Array(rows * length).fill(IGNORED);
  let tokens = 0;
  group.forEach((example, row) => {
    for (let t = 0; t < positions(example); t++) {
      ids[row * length + t] = example.ids[t]!;
      if (!example.trained[t + 1]) continue;
      labels[row * length + t] = example.ids[t + 1]!;
      tokens++;
    }
  });
  const places = group.flatMap(({ where }) => where ?? []);
  return { ids, labels, rows, length, tokens, examples: group.length, places, epoch };
}

/** Fisher and Yates's shuffle, drawn from the seed and the epoch. */
function shuffled(examples: readonly Example[], seed: number, epoch: number): Example[] {
  const order = [...examples];
  const draw = randomBelow(mixBits(mixBits(seed) ^ epoch));
  for (let i = order.length - 1; i > 0; i--) {
    const j = draw(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Numbers in 0 ≤ n < limit from a counter whose bits are mixed. */
function randomBelow(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x9e3779b9) | 0;
    return Math.floor((mixBits(state) >>> 0) / 2 ** 32 * limit);
  };
}

/** A bijection of 32-bit words whose outputs look independent (xor, shift and multiply rounds). */
function mixBits(x: number): number {
  let y = x | 0;
  y = Math.imul(y ^ (y >>> 16), 0x7feb352d);
  y = Math.imul(y ^ (y >>> 15), 0x846ca68b);
  return y ^ (y >>> 16);
}
