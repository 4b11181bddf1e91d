/** Examples as the model sees them, and what a set of them comes to, for people. @module */
import { batches, type BatchOptions, batchShapes, type TokenBatch } from "../batches.ts";
import type { Example } from "../data.ts";
import type { Examples } from "./examples.ts";
import type { Tokenizer } from "../tokenizer.ts";

/** A token, or several that make up one character. */
export interface Piece {
  readonly text: string;
  /** Its ids are those from here on, up to the next piece's. */
  readonly from: number;
  readonly trained: boolean;
}

/** The text of each token of an example, special tokens too. The first id is never trained: nothing stands before it. */
export function piecesOf({ ids, trained }: Example, { decode }: Pick<Tokenizer, "decode">): Piece[] {
  const pieces: Piece[] = [];
  const text = (from: number, to: number): string => decode(ids.slice(from, to), { special: true });
  // Decoders treat the first token of a text by rules of its own: each is decoded behind the one before it.
  for (let before = 0, from = 0, to = 1; to <= ids.length; to++) {
    const whole = text(before, to);
    // A character whose bytes are spread over tokens is not whole yet.
    if (whole.endsWith("\uFFFD") && to < ids.length) continue;
    pieces.push({
      text: whole.slice(text(before, from).length),
      from,
      trained: trained.slice(from, to).some((t, i) => t && from + i > 0),
    });
    [before, from] = [from, to];
  }
  return pieces;
}

const GREEN = "\x1b[32m", DIM = "\x1b[2m", PLAIN = "\x1b[0m";

/**
 * Tokens between bars, line breaks as ⏎ before the break. What is trained is green with `colour`, otherwise between
 * ⟦ and ⟧. Control characters are written as `\u….`, so that no row can command the terminal.
 */
export function showPieces(pieces: readonly Piece[], colour: boolean): string {
  const [bar, begin, end] = colour ? [`${DIM}|${PLAIN}`, GREEN, PLAIN] : ["|", "⟦", "⟧"];
  return pieces.map(({ text, trained }, i) => {
    const first = trained && (colour || !pieces[i - 1]?.trained);
    const last = trained && (colour || !pieces[i + 1]?.trained);
    const joint = i === 0 ? "" : bar;
    return `${joint}${first ? begin : ""}${printable(text)}${last ? end : ""}`;
  }).join("");
}

function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => {
    if (c === "\n") return "⏎\n";
    return c === "\t" ? c : `\\u{${c.codePointAt(0)!.toString(16)}}`;
  });
}

/** What one epoch comes to. */
export interface EpochShape {
  readonly steps: number;
  /** Positions of all batches, and those of them without a token. */
  readonly positions: number;
  readonly padding: number;
  /** The longest length of a batch. */
  readonly longest: number;
}

/** Go through the batches of the first epoch. */
export function epochShape(
  examples: Examples,
  options: Pick<BatchOptions, "batch" | "seq" | "seed" | "pack">,
): EpochShape {
  let steps = 0, positions = 0, longest = 0, filled = 0;
  for (const shape of batchShapes(examples, { ...options, epochs: 1 })) {
    steps++;
    positions += shape.rows * shape.length;
    longest = Math.max(longest, shape.length);
    filled += shape.filled;
  }
  return { steps, positions, padding: positions - filled, longest };
}

/** Of the first `most` batches the first one of each length; only these are made. */
export function lengthSamples(
  examples: Examples,
  options: BatchOptions,
  most = Infinity,
): readonly TokenBatch[] {
  const found = new Map<number, number>();
  let n = 0;
  for (const { length } of batchShapes(examples, options)) {
    if (n === most) break;
    if (!found.has(length)) found.set(length, n);
    n++;
  }
  return [...found.values()].flatMap((before) => batches(examples, options, before).next().value ?? []);
}

/** Least, middle and greatest of some numbers; of an even count the middle is the mean of two. */
export function spread(
  numbers: readonly number[] | Uint32Array,
): { readonly min: number; readonly median: number; readonly max: number } {
  const sorted = numbers.toSorted((a, b) => a - b), half = (sorted.length - 1) / 2;
  if (sorted.length === 0) throw new RangeError("There are no numbers: give at least one.");
  return {
    min: sorted[0]!,
    median: (sorted[Math.floor(half)]! + sorted[Math.ceil(half)]!) / 2,
    max: sorted.at(-1)!,
  };
}
