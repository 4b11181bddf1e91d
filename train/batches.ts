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
  examples: readonly Example[],
  { batch, seq, pack = false, seed = 0 }: Pick<BatchOptions, "batch" | "seq" | "pack"> & {
    readonly seed?: number;
  },
): number {
  const groups = pack
    ? packedGroups(shuffled(examples, seed, 0), batch, seq)
    : epochGroups(examples, batch, bucketLengths(seq));
  return [...groups].length;
}

/**
 * Batches of `batch` rows, epoch after epoch, each example once an epoch, in an order that `seed` and the epoch decide.
 * A batch holds examples of like length; at the end of an epoch the rest are put together, and the last batch is filled
 * with rows in which nothing is learnt. Examples must fit `seq` (see fitExamples).
 */
export function* batches(examples: readonly Example[], options: BatchOptions): Generator<TokenBatch> {
  const { batch, seq, seed, epochs, pack = false, shuffle = true } = options;
  const tooLong = examples.find((e) => positions(e) > seq);
  if (tooLong) {
    throw new RangeError(`An example has ${tooLong.ids.length} ids, more than ${seq} positions take.`);
  }
  const lengths = bucketLengths(seq);
  for (let epoch = 0; epoch < epochs && examples.length > 0; epoch++) {
    const ordered = shuffle ? shuffled(examples, seed, epoch) : examples;
    if (pack) {
      for (const rows of packedGroups(ordered, batch, seq)) yield packed(rows, batch, lengths, epoch);
    } else for (const group of epochGroups(ordered, batch, lengths)) yield pad(group, batch, lengths, epoch);
  }
}

/** Positions that an example takes: its last id is only a target, except for encoders. */
export function positions({ ids, classified }: Example): number {
  return classified ? ids.length : ids.length - 1;
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

/**
 * Rows of examples that have `seq` positions at most together, `batch` rows a time. Each example goes into the fullest
 * row that has room for it; where none has, the batch is complete.
 */
function* packedGroups(examples: Iterable<Example>, batch: number, seq: number): Generator<Example[][]> {
  let rows: { used: number; readonly examples: Example[] }[] = [];
  for (const example of examples) {
    const size = positions(example);
    const fitting = rows.filter(({ used }) => used + size <= seq);
    let row = fitting.reduce<typeof rows[number] | null>((a, b) => a && a.used >= b.used ? a : b, null);
    if (!row) {
      if (rows.length === batch) {
        yield rows.map((r) => r.examples);
        rows = [];
      }
      rows.push(row = { used: 0, examples: [] });
    }
    row.used += size;
    row.examples.push(example);
  }
  if (rows.length > 0) yield rows.map((r) => r.examples);
}

function packed(
  groups: readonly (readonly Example[])[],
  rows: number,
  lengths: readonly number[],
  epoch: number,
): TokenBatch {
  const longest = Math.max(...groups.map((group) => group.reduce((n, e) => n + positions(e), 0)));
  const length = lengths.find((l) => l >= longest)!, size = rows * length;
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
  const length = lengthFor(group, lengths);
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
