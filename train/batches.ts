/** Batches: examples padded to a few fixed lengths, in an order that a seed decides. @module */
import type { Example } from "./data.ts";
import { type Examples, positions, positionsAt } from "./data/examples.ts";

export { positions } from "./data/examples.ts";

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
  /** These examples; unless rows are packed, a row each. */
  readonly members: readonly Example[];
  /** Where the examples are for an encoder. */
  readonly classified?: ClassifiedRows;
  /** Counted from 0. */
  readonly epoch: number;
  /** Where rows may hold several examples: which of them, from 1, and where in it; 0 in the padding. */
  readonly packing?: { readonly segments: Int32Array; readonly positions: Int32Array };
}

/** What encoders read and predict beside the ids. */
export interface ClassifiedRows {
  /** i32[rows · length]: kinds of tokens; 0 in the padding. */
  readonly types: Int32Array;
  /** i32[rows]: tokens of each row; 0 of a row that is padding. */
  readonly lengths: Int32Array;
  /** f32[rows]: classes or numbers; 0 of a row that is padding. */
  readonly targets: Float32Array;
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
  /** Put several examples into a row. Default false. */
  readonly pack?: boolean;
  /** False keeps the order of the examples (within a length). Default true. */
  readonly shuffle?: boolean;
}

/** The lengths that batches are padded to: quarters of `seq`, rounded up to multiples of 8, and `seq`. */
export function bucketLengths(seq: number): number[] {
  const quarters = [1, 2, 3].map((q) => Math.ceil(q * seq / 4 / 8) * 8).filter((length) => length < seq);
  return [...new Set(quarters), seq];
}

/**
 * Batches of one epoch: how many there are does not depend on the seed, unless rows are packed; then they are those of
 * the first epoch.
 */
export function batchesPerEpoch(
  examples: Examples,
  options: Pick<BatchOptions, "batch" | "seq" | "pack"> & { readonly seed?: number },
): number {
  let count = 0;
  for (const _ of groupsOf(examples, { seed: 0, shuffle: options.pack ?? false, ...options }, 0)) count++;
  return count;
}

/** What a batch is filled with, before it is: its length, and how many positions of it hold a token. */
export interface BatchShape {
  readonly rows: number;
  readonly length: number;
  readonly filled: number;
}

/** The shapes of {@linkcode batches}, for which no example is read that has an outline. */
export function* batchShapes(examples: Examples, options: BatchOptions): Generator<BatchShape> {
  const lengths = bucketLengths(options.seq);
  for (let epoch = 0; epoch < options.epochs && examples.length > 0; epoch++) {
    for (const rows of groupsOf(examples, options, epoch)) {
      const sizes = rows.map((row) => row.reduce((n, i) => n + positionsAt(examples, i), 0));
      yield {
        rows: options.batch,
        length: lengthFor(Math.max(...sizes), lengths),
        filled: sizes.reduce((n, size) => n + size, 0),
      };
    }
  }
}

/**
 * Batches of `batch` rows, epoch after epoch, each example once an epoch, in an order that `seed` and the epoch decide.
 * A batch holds examples of like length; at the end of an epoch the rest are put together, and the last batch is filled
 * with rows in which nothing is learnt. Examples must fit `seq` (see fitExamples). The first `skip` batches are left out
 * without being made.
 */
export function* batches(examples: Examples, options: BatchOptions, skip = 0): Generator<TokenBatch> {
  const { batch, seq, epochs, pack = false } = options;
  for (let i = 0; i < examples.length; i++) {
    const size = positionsAt(examples, i);
    if (size <= seq) continue;
    throw new RangeError(
      `An example has ${examples.at(i)!.ids.length} ids, more than ${seq} positions take.`,
    );
  }
  const lengths = bucketLengths(seq);
  let left = skip;
  for (let epoch = 0; epoch < epochs && examples.length > 0; epoch++) {
    for (const group of groupsOf(examples, options, epoch)) {
      if (left-- > 0) continue;
      const rows = group.map((row) => row.map((i) => examples.at(i)!));
      yield pack ? packed(rows, batch, lengths, epoch) : pad(rows.flat(), batch, lengths, epoch);
    }
  }
}

/** The numbers of an epoch's examples, batch after batch, by rows. */
function groupsOf(
  examples: Examples,
  { batch, seq, seed, pack = false, shuffle = true }: Omit<BatchOptions, "epochs">,
  epoch: number,
): Iterable<readonly (readonly number[])[]> {
  const order = shuffle ? shuffledNumbers(examples.length, seed, epoch) : numbersTo(examples.length);
  const sizeOf = (i: number): number => positionsAt(examples, i);
  return pack
    ? packedGroups(order, sizeOf, batch, seq)
    : epochGroups(order, sizeOf, batch, bucketLengths(seq));
}

function lengthFor(longest: number, lengths: readonly number[]): number {
  return lengths.find((length) => length >= longest)!;
}

function* epochGroups(
  order: Iterable<number>,
  sizeOf: (index: number) => number,
  batch: number,
  lengths: readonly number[],
): Generator<number[][]> {
  const waiting = new Map<number, number[][]>(lengths.map((length) => [length, []]));
  for (const index of order) {
    const group = waiting.get(lengthFor(sizeOf(index), lengths))!;
    group.push([index]);
    if (group.length === batch) yield group.splice(0);
  }
  // Shorter first, so that few rows are padded further than they need.
  const rest = [...waiting.values()].flat();
  while (rest.length > 0) yield rest.splice(0, batch);
}

/**
 * Rows of examples that have `seq` positions at most together, `batch` rows a time. Each example goes into the fullest
 * row that has room for it; where none has, the batch is complete.
 */
function* packedGroups(
  order: Iterable<number>,
  sizeOf: (index: number) => number,
  batch: number,
  seq: number,
): Generator<number[][]> {
  let rows: { used: number; readonly members: number[] }[] = [];
  for (const index of order) {
    const size = sizeOf(index);
    const fitting = rows.filter(({ used }) => used + size <= seq);
    let row = fitting.reduce<typeof rows[number] | null>((a, b) => a && a.used >= b.used ? a : b, null);
    if (!row) {
      if (rows.length === batch) {
        yield rows.map((r) => r.members);
        rows = [];
      }
      rows.push(row = { used: 0, members: [] });
    }
    row.used += size;
    row.members.push(index);
  }
  if (rows.length > 0) yield rows.map((r) => r.members);
}

function packed(
  groups: readonly (readonly Example[])[],
  rows: number,
  lengths: readonly number[],
  epoch: number,
): TokenBatch {
  const longest = Math.max(...groups.map((group) => group.reduce((n, e) => n + positions(e), 0)));
  const length = lengthFor(longest, lengths), size = rows * length;
  const ids = new Int32Array(size), labels = new Int32Array(size).fill(IGNORED);
  const segments = new Int32Array(size), places = new Int32Array(size);
  let tokens = 0;
  groups.forEach((group, row) => {
    let at = row * length;
    group.forEach((example, i) => {
      for (let t = 0; t < positions(example); t++, at++) {
        ids[at] = example.ids[t]!;
        segments[at] = i + 1;
        places[at] = t;
        if (!example.trained[t + 1]) continue;
        labels[at] = example.ids[t + 1]!;
        tokens++;
      }
    });
  });
  const all = groups.flat();
  return {
    ids,
    labels,
    packing: { segments, positions: places },
    rows,
    length,
    tokens,
    examples: all.length,
    members: all,
    epoch,
  };
}

function pad(group: readonly Example[], rows: number, lengths: readonly number[], epoch: number): TokenBatch {
  const length = lengthFor(Math.max(...group.map(positions)), lengths);
  const ids = new Int32Array(rows * length), labels = new Int32Array(rows * length).fill(IGNORED);
  let tokens = 0;
  const classified = group.some((e) => e.classified)
    ? {
      types: new Int32Array(rows * length),
      lengths: new Int32Array(rows),
      targets: new Float32Array(rows),
    }
    : null;
  group.forEach((example, row) => {
    if (classified && example.classified) {
      const { types, target } = example.classified;
      classified.types.set(types, row * length);
      classified.lengths[row] = types.length;
      classified.targets[row] = target;
      ids.set(example.ids, row * length);
      return;
    }
    for (let t = 0; t < positions(example); t++) {
      ids[row * length + t] = example.ids[t]!;
      if (!example.trained[t + 1]) continue;
      labels[row * length + t] = example.ids[t + 1]!;
      tokens++;
    }
  });
  return {
    ids,
    labels,
    rows,
    length,
    tokens: classified ? group.length : tokens,
    examples: group.length,
    members: group,
    epoch,
    ...(classified ? { classified } : {}),
  };
}

function* numbersTo(count: number): Generator<number> {
  for (let i = 0; i < count; i++) yield i;
}

/** Fisher and Yates's shuffle of the numbers below `count`, drawn from the seed and the epoch. */
export function shuffledNumbers(count: number, seed: number, epoch: number): Uint32Array {
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
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
