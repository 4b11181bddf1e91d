/** Examples by their numbers, wherever they lie. @module */
import type { Example } from "../data.ts";

/** Examples in memory, or in a file from which each is read when it is asked for. */
export interface Examples {
  readonly length: number;
  /** The example of a number from 0 to below `length`. */
  at(index: number): Example | undefined;
  /** What is known of those that are not read; where this is absent, reading costs nothing. */
  readonly outline?: Outline;
}

/** What an index says of examples. */
export interface Outline {
  readonly idsAt: (index: number) => number;
  /** Whether there is an answer to compare with. */
  readonly answeredAt: (index: number) => boolean;
  /** The most ids of a prompt with an answer; null: no example has one. */
  readonly longestAsked: number | null;
}

/** Positions that an example takes: its last id is only a target, except for encoders. */
export function positions({ ids, classified }: Example): number {
  return classified ? ids.length : ids.length - 1;
}

/** How many ids the example of a number has. */
export function idsAt(examples: Examples, index: number): number {
  return examples.outline ? examples.outline.idsAt(index) : examples.at(index)!.ids.length;
}

/** {@linkcode positions} of the example of a number. */
export function positionsAt(examples: Examples, index: number): number {
  return examples.outline ? examples.outline.idsAt(index) - 1 : positions(examples.at(index)!);
}

/** Whether the example of a number has an answer to compare with. */
export function answeredAt(examples: Examples, index: number): boolean {
  return examples.outline ? examples.outline.answeredAt(index) : examples.at(index)!.answer !== undefined;
}

/** The most ids of a prompt with an answer; null where no example has one. */
export function longestAsked(examples: Examples): number | null {
  if (examples.outline) return examples.outline.longestAsked;
  let longest: number | null = null;
  for (let i = 0; i < examples.length; i++) {
    const { answer, promptLength } = examples.at(i)!;
    if (answer !== undefined) longest = Math.max(longest ?? 0, promptLength);
  }
  return longest;
}

/** The first examples, at most `count`, of which `asked` is true. */
export function firstExamples(
  examples: Examples,
  count: number,
  asked: (index: number) => boolean = () => true,
): Example[] {
  const found: Example[] = [];
  for (let i = 0; i < examples.length && found.length < count; i++) {
    if (asked(i)) found.push(examples.at(i)!);
  }
  return found;
}
