/** Readers of values from a text that comes in parts. @module */
import { DataError } from "../errors.ts";

/** A value and where it stands: `file:line`, in an array with the number of the item. */
export interface PlacedValue {
  readonly json: unknown;
  readonly where: string;
}

/**
 * Takes the next part of a text and gives the values that are complete with it; with `last`, all that are left. Where the
 * parts end makes no difference. Throws DataError for a value that is broken.
 */
export type ValueReader = (part: string, last: boolean) => PlacedValue[];

/** Longest row of a text that comes in parts, in UTF-16 units. */
export const LONGEST_ROW: number = 2 ** 26;

/** Refuse a row of which so much was read without an end. Throws DataError naming `where`. */
export function requireShort(unfinished: string, where: () => string): void {
  if (unfinished.length <= LONGEST_ROW) return;
  throw new DataError(`${where()}: a row has more than ${LONGEST_ROW} characters; cut it into several.`, {
    where: where(),
  });
}
