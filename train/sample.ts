/** Choosing the next token at random, as a pure graph: temperature, the k likeliest, the least mass p. @module */
import { fill, type Tensor } from "../core/mod.ts";
import {
  add,
  broadcastIn,
  broadcastTo,
  cast,
  div,
  exp,
  gather,
  iota,
  le,
  lt,
  max,
  minimum,
  mul,
  reshape,
  shiftRight,
  slice,
  sub,
  sum,
  threefryWord,
  where,
} from "../ops/mod.ts";

/** Numbers of a choice, each f32[]. A part that is absent leaves nothing out. */
export interface Filters {
  /** Logits are divided by it; above 0. */
  readonly temperature: Tensor;
  /** Keep the tokens that are at least as likely as the k-th likeliest. */
  readonly topK?: Tensor;
  /** Of those, keep the likeliest whose probabilities reach p together, and what is as likely as the last of them. */
  readonly topP?: Tensor;
}

/** A score below which e^score is 0 in f32: where the search for a threshold begins. */
const LOWEST = -128;
/** Halvings of 128 down to 2⁻²⁴, the rounding of a score near 1; scores that are further from 0 are rounded more. */
const HALVINGS = 32;

/** f32[rows] → f32[rows, n], the same along the row. */
function along(x: Tensor, n: number): Tensor {
  return broadcastIn(x, { shape: [x.shape[0]!, n], axes: [1] });
}

/** A number f32[] for each row: f32[rows]. */
function each(x: Tensor, rows: number): Tensor {
  return broadcastTo(reshape(x, [1]), [rows]);
}

/**
 * x f32[rows, n] in memory of its own. Rows of a gather are never computed again, so that what reads them does not
 * repeat the search that they came from.
 */
function kept(x: Tensor): Tensor {
  return gather(x, iota([x.shape[0]!], 0));
}

/** x f32[rows] in memory of its own. */
function keptRow(x: Tensor): Tensor {
  const [rows] = x.shape as [number];
  return reshape(kept(reshape(x, [rows, 1])), [rows]);
}

/** Steps of a bisection in one kernel: the next ones are the same kernel again, instead of one too long to compile. */
const TOGETHER = 4;

/**
 * The largest f32[rows] reached from `low` by adding `step`, half of it, a quarter, … , `steps` of them, each where
 * `enough` holds with it: if it holds for a number, it holds for smaller ones.
 */
function bisect(
  rows: number,
  { low, step, steps }: { readonly low: number; readonly step: number; readonly steps: number },
  enough: (at: Tensor) => Tensor,
): Tensor {
  let reached: Tensor = fill(low, [rows]), size: Tensor = fill(step, [rows]);
  for (let i = 1; i <= steps; i++) {
    reached = add(reached, where(enough(add(reached, size)), size, 0));
    size = mul(size, 0.5);
    if (i % TOGETHER === 0) [reached, size] = [keptRow(reached), keptRow(size)];
  }
  return keptRow(reached);
}

/** The largest threshold f32[rows] from {@linkcode LOWEST} to 0 for which `enough` holds; the first step leads to 0, the score of the likeliest. */
function threshold(rows: number, enough: (at: Tensor) => Tensor): Tensor {
  return bisect(rows, { low: LOWEST, step: -LOWEST, steps: HALVINGS }, enough);
}

/**
 * Weights f32[rows, vocab] of tokens, e^((logit − largest) / temperature), 0 for those that the filters leave out. No sort:
 * the score of the last token kept is found by bisection, to the rounding of f32, and all that share it stay. Tokens
 * with less than e⁻¹²⁸ of the likeliest's probability, which is 0 in f32, are left out by every filter.
 */
export function tokenWeights(logits: Tensor, { temperature, topK, topP }: Filters): Tensor {
  const [rows, vocab] = logits.shape as [number, number];
  const top = along(max(logits, { axes: [1] }), vocab);
  const scores = div(sub(logits, top), broadcastTo(temperature, [rows, vocab]));
  const total = (x: Tensor): Tensor => sum(x, { axes: [1] });
  let weights = exp(scores);
  if (topK) {
    const from = threshold(
      rows,
      (at) => le(each(topK, rows), total(where(le(along(at, vocab), scores), fill(1, [rows, vocab]), 0))),
    );
    weights = where(le(along(from, vocab), scores), weights, 0);
  }
  if (topP) {
    const all = kept(weights), needed = mul(total(all), each(topP, rows));
    const from = threshold(rows, (at) => le(needed, total(where(le(along(at, vocab), scores), all, 0))));
    weights = where(le(along(from, vocab), scores), all, 0);
  }
  return kept(weights);
}

/**
 * The token i32[rows] at which the running sum of `weights` f32[rows, vocab] passes `at` f32[rows] of the whole, from 0
 * to below 1: with `at` uniform, a choice with these weights. Found by bisection over the vocabulary.
 */
export function tokenAt(weights: Tensor, at: Tensor): Tensor {
  const [rows, vocab] = weights.shape as [number, number];
  const places = cast(iota([rows, vocab], 1), "f32");
  /** Weights of the first `count` tokens together. */
  const massOf = (count: Tensor): Tensor =>
    sum(where(lt(places, along(count, vocab)), weights, 0), { axes: [1] });
  const wanted = mul(sum(weights, { axes: [1] }), at);
  const halvings = Math.floor(Math.log2(vocab));
  const before = bisect(
    rows,
    { low: 0, step: 2 ** halvings, steps: halvings + 1 },
    (count) => le(massOf(count), wanted),
  );
  // Whatever rounding does, the last token that has a weight is the last that can be chosen.
  const last = max(where(lt(0, weights), places, 0), { axes: [1] });
  return cast(minimum(before, last), "i32");
}

/** A number f32[rows] from 0 to below 1 for each row's key u32[rows, 2] at a position f32[]: 23 bits, so that 1 stays out of reach. */
export function drawAt(keys: Tensor, position: Tensor): Tensor {
  const rows = keys.shape[0]!;
  const word = (i: 0 | 1): Tensor => reshape(slice(keys, { start: [0, i], stop: [rows, i + 1] }), [rows]);
  const bits = threefryWord({ word: 0 })(
    word(0),
    word(1),
    cast(each(position, rows), "u32"),
    fill(0, [rows], "u32"),
  );
  return mul(cast(shiftRight(bits, 9), "f32"), 2 ** -23);
}

/** What a choice reads. */
export interface Choice extends Filters {
  /** u32[rows, 2]: words of a key for each row. */
  readonly keys: Tensor;
}

/** Tokens i32[rows] chosen at a position f32[] by logits f32[rows, vocab]: the same keys and positions choose the same. */
export function chooseToken(logits: Tensor, choice: Choice, position: Tensor): Tensor {
  return tokenAt(tokenWeights(logits, choice), drawAt(choice.keys, position));
}
