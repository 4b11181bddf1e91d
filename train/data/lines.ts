/** Lines of a text that comes in parts. @module */
import { requireShort } from "./value_reader.ts";

/** A line without its end, and its number from 1. */
export interface Line {
  readonly text: string;
  readonly line: number;
}

/** Takes the next part of a text and gives the lines that end in it; with `last`, also the one that is left. */
export function linesOf(file: string): (part: string, last: boolean) => Line[] {
  let rest = "", line = 1;
  return (part, last) => {
    if (!last && !part.includes("\n")) {
      rest += part;
      requireShort(rest, () => `${file}:${line}`);
      return [];
    }
    const texts = (rest + part).split("\n"), left = texts.pop()!;
    const lines = texts.map((text): Line => ({
      text: text.endsWith("\r") ? text.slice(0, -1) : text,
      line: line++,
    }));
    rest = last ? "" : left;
    return last ? [...lines, { text: left, line }] : lines;
  };
}
