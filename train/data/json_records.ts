/** Values of a JSON text with their places: one a line, or the items of one array. @module */
import { DataError } from "../errors.ts";

/** A value and where it stands: `file:line`, in an array with the number of the item. */
export interface PlacedValue {
  readonly json: unknown;
  readonly where: string;
}

/** Values of JSON lines; empty lines are passed over. Throws DataError naming `file:line`. */
export function jsonLines(text: string, file: string): PlacedValue[] {
  return text.split(/\r?\n/).flatMap((line, i) =>
    line.trim() === "" ? [] : [
      valueOf(line, `${file}:${i + 1}`, "each line must be one JSON object, or the file one array of them"),
    ]
  );
}

/**
 * Items of an array, each read on its own: a broken one is named by its line and its number from 1. Throws DataError,
 * also for an array that does not end or that something follows.
 */
export function jsonItems(text: string, file: string): PlacedValue[] {
  const values: PlacedValue[] = [];
  let line = 1, at = 0;
  const skip = (): void => {
    for (; at < text.length && " \t\r\n".includes(text[at]!); at++) if (text[at] === "\n") line++;
  };
  const fail = (problem: string): DataError => new DataError(`${file}:${line}: ${problem}.`, { file, line });
  skip();
  if (text[at++] !== "[") throw fail("expected [, which begins an array");
  skip();
  if (text[at] === "]") at++;
  else {
    for (let ended = false; !ended; at++) {
      skip();
      const begin = line, end = itemEnd(text, at);
      const where = `${file}:${begin} (item ${values.length + 1})`;
      if (end === text.length) {
        throw new DataError(`${where}: the array has no end; the file may be cut short.`, { where });
      }
      values.push(valueOf(text.slice(at, end), where, "each item must be a JSON object"));
      for (let i = at; i < end; i++) if (text[i] === "\n") line++;
      at = end;
      ended = text[end] === "]";
    }
  }
  skip();
  if (at < text.length) throw fail("text after the end of the array; remove it");
  return values;
}

/** Where the item that begins at `from` ends: at a comma or bracket of its array, or at the end of the text. */
function itemEnd(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    switch (text[at]) {
      case '"':
        for (at++; at < text.length && text[at] !== '"'; at++) if (text[at] === "\\") at++;
        break;
      case "[":
      case "{":
        depth++;
        break;
      case "]":
      case "}":
        if (depth-- === 0) return at;
        break;
      case ",":
        if (depth === 0) return at;
        break;
    }
  }
  return text.length;
}

function valueOf(text: string, where: string, expected: string): PlacedValue {
  try {
    return { json: JSON.parse(text), where };
  } catch (error) {
    // The message may quote the text, line breaks and all.
    const why = (error as Error).message.replace(/\s+/g, " ");
    throw new DataError(`${where}: not JSON (${why}); ${expected}.`, { where });
  }
}
