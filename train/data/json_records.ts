/** Values of a JSON text with their places: one a line, or the items of one array. @module */
import { DataError } from "../errors.ts";
import { linesOf } from "./lines.ts";
import { type PlacedValue, requireShort, type ValueReader } from "./value_reader.ts";

/** Values of JSON lines; empty lines are passed over. Throws DataError naming `file:line`. */
export function jsonLines(text: string, file: string): PlacedValue[] {
  return jsonLineReader(file)(text, true);
}

/** {@linkcode jsonLines} of a text that comes in parts. */
export function jsonLineReader(file: string): ValueReader {
  const split = linesOf(file);
  return (part, last) =>
    split(part, last).flatMap(({ text, line }) =>
      text.trim() === "" ? [] : [
        valueOf(
          text,
          `${file}:${line}`,
          "each line must be one JSON object, or the file one array of them",
        ),
      ]
    );
}

/**
 * Items of an array, each read on its own: a broken one is named by its line and its number from 1. Throws DataError,
 * also for an array that does not end or that something follows.
 */
export function jsonItemReader(file: string): ValueReader {
  let line = 1, count = 0;
  let state: "before" | "between" | "item" | "behind" = "before";
  // Of the item that is being read: its text so far, where it began, and what is open in it.
  let item = "", begin = 1, depth = 0, quoted = false, escaped = false;
  const fail = (problem: string): DataError => new DataError(`${file}:${line}: ${problem}.`, { file, line });
  const where = (): string => `${file}:${begin} (item ${count + 1})`;
  /** Where the item ends in `part`, of which `from` on is new; -1 where it goes on. */
  const endOf = (part: string, from: number): number => {
    for (let at = from; at < part.length; at++) {
      const c = part.charCodeAt(at);
      if (c === LINE_END) line++;
      if (escaped) escaped = false;
      else if (quoted) {
        if (c === BACKSLASH) escaped = true;
        else if (c === QUOTE) quoted = false;
      } else if (c === QUOTE) quoted = true;
      else if (c === OPEN || c === OPEN_BRACE) depth++;
      else if (c === CLOSE || c === CLOSE_BRACE) {
        if (depth === 0 && c === CLOSE) return at;
        depth = Math.max(0, depth - 1);
      } else if (c === COMMA && depth === 0) return at;
    }
    return -1;
  };
  return (part, last) => {
    const values: PlacedValue[] = [];
    for (let at = 0; at < part.length;) {
      const c = part.charCodeAt(at);
      if (state === "item") {
        const end = endOf(part, at);
        item += part.slice(at, end < 0 ? part.length : end);
        if (end < 0) break;
        values.push(valueOf(item, where(), "each item must be a JSON object"));
        count++;
        state = part.charCodeAt(end) === CLOSE ? "behind" : "between";
        [item, at] = ["", end + 1];
      } else if (c === SPACE || c === LINE_END || c === TAB || c === RETURN) {
        if (c === LINE_END) line++;
        at++;
      } else if (state === "before") {
        if (c !== OPEN) throw fail("expected [, which begins an array");
        state = "between";
        at++;
      } else if (state === "behind") throw fail("text after the end of the array; remove it");
      else if (c === CLOSE && count === 0) {
        state = "behind";
        at++;
      } else {
        state = "item";
        begin = line;
      }
    }
    requireShort(item, where);
    if (last && state !== "behind") {
      if (state === "before") throw fail("expected [, which begins an array");
      if (state === "between") begin = line;
      throw new DataError(`${where()}: the array has no end; the file may be cut short.`, { where: where() });
    }
    return values;
  };
}

const [QUOTE, BACKSLASH, COMMA, OPEN, CLOSE, OPEN_BRACE, CLOSE_BRACE] = [...'"\\,[]{}'].map((c) =>
  c.charCodeAt(0)
);
const [SPACE, LINE_END, TAB, RETURN] = [..." \n\t\r"].map((c) => c.charCodeAt(0));

function valueOf(text: string, where: string, expected: string): PlacedValue {
  try {
    return { json: JSON.parse(text), where };
  } catch (error) {
    // The message may quote the text, line breaks and all.
    const why = (error as Error).message.replace(/\s+/g, " ");
    throw new DataError(`${where}: not JSON (${why}); ${expected}.`, { where });
  }
}
