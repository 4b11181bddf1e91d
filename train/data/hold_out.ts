/** Rows that are held out of the data to measure on. @module */
import { shuffledNumbers } from "../batches.ts";
import { DataError } from "../errors.ts";
import type { Examples } from "./examples.ts";

/** The share that a text such as `5%` asks for; null where it is none, as the name of a file. */
export function heldShare(text: string): number | null {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  return percent === undefined ? null : Number(percent) / 100;
}

/** Numbers of examples, rising. */
export interface Parts {
  readonly train: Uint32Array;
  readonly held: Uint32Array;
}

/**
 * Hold out a share of the `count` examples of `files`, at least one, and leave at least one, as `seed` decides. Throws
 * DataError for fewer than two.
 */
export function holdOut(count: number, share: number, seed: number, files: string): Parts {
  if (count < 2) {
    throw new DataError(
      `${files}: has one row to learn, of which --eval can hold out none; give more rows.`,
      { files },
    );
  }
  const order = shuffledNumbers(count, seed, HOLDING_OUT);
  const held = Math.max(1, Math.min(count - 1, Math.round(count * share)));
  return { held: order.slice(0, held).sort(), train: order.slice(held).sort() };
}

/** No epoch's number: the order of none is that of holding out. */
const HOLDING_OUT = -1;

/** The examples of these numbers. */
export function pickExamples(examples: Examples, numbers: Uint32Array): Examples {
  const { outline } = examples;
  return {
    length: numbers.length,
    at: (i) => i < numbers.length ? examples.at(numbers[i]!) : undefined,
    ...(outline
      ? {
        outline: {
          idsAt: (i) => outline.idsAt(numbers[i]!),
          answeredAt: (i) => outline.answeredAt(numbers[i]!),
          // Asked of few, as those that are held out.
          get longestAsked() {
            const asked = numbers.filter((i) => outline.answeredAt(i));
            return asked.length === 0
              ? null
              : asked.reduce((n, i) => Math.max(n, examples.at(i)!.promptLength), 0);
          },
        },
      }
      : {}),
  };
}
