/** Rows of a table in a text, by the names in its first line: CSV (RFC 4180) and TSV. @module */
import { DataError } from "../errors.ts";
import { linesOf } from "./lines.ts";
import { type PlacedValue, requireShort, type ValueReader } from "./value_reader.ts";

/** A line of a table. */
interface Cells {
  readonly cells: readonly string[];
  /** Where it begins, from 1. */
  readonly line: number;
}

/**
 * Rows of a CSV text as objects of texts, by the names in the first line. Cells may stand in quotation marks, which are
 * doubled inside them, and then hold commas and line breaks (RFC 4180, section 2). Throws DataError naming `file:line`.
 */
export function csvReader(file: string): ValueReader {
  const read = recordReader(file);
  let rest = "", line = 1, quoted = false;
  return (part, last) => {
    // Rows end at line ends that stand in no cell: behind an even number of quotation marks.
    let end = last ? part.length : 0;
    for (let at = 0; at < part.length; at++) {
      const c = part.charCodeAt(at);
      if (c === QUOTE) quoted = !quoted;
      else if (c === LINE_END && !quoted && !last) end = at + 1;
    }
    if (end === 0 && !last) {
      rest += part;
      requireShort(rest, () => `${file}:${line}`);
      return [];
    }
    const whole = rest + part.slice(0, end), from = line;
    rest = part.slice(end);
    line += lineEnds(whole);
    return read(csvCells(whole, file, from));
  };
}

/**
 * The same of a TSV text, as the files of GLUE are: cells end at tabs, rows at line ends, and quotation marks mean
 * nothing.
 */
export function tsvReader(file: string): ValueReader {
  const read = recordReader(file), split = linesOf(file);
  return (part, last) => {
    const lines = split(part, last).map(({ text, line }): Cells => ({ cells: text.split("\t"), line }));
    // A line of nothing is no row.
    return read(lines.filter(({ cells }) => cells.length > 1 || cells[0] !== ""));
  };
}

/** Makes records of the lines of a table, the first of which names the columns. */
function recordReader(file: string): (lines: Iterable<Cells>) => PlacedValue[] {
  let names: readonly string[] | null = null;
  return (lines) => {
    const values: PlacedValue[] = [];
    for (const { cells, line } of lines) {
      const where = `${file}:${line}`;
      if (names === null) names = checkNames(cells, where);
      else if (cells.length !== names.length) {
        throw new DataError(
          `${where}: has ${cells.length} cells; the first line names ${names.length} columns (${
            names.map((name) => JSON.stringify(name)).join(", ")
          }).`,
          { where },
        );
      } else values.push({ json: Object.fromEntries(names.map((name, i) => [name, cells[i]!])), where });
    }
    return values;
  };
}

function checkNames(cells: readonly string[], where: string): readonly string[] {
  const names = cells.map((cell) => cell.trim());
  const seen = new Set<string>();
  const wrong = names.findIndex((name) => name === "" || seen.size === seen.add(name).size);
  if (wrong < 0) return names;
  throw new DataError(
    `${where}: column ${wrong + 1} has ${
      names[wrong] === "" ? "no name" : `the name ${JSON.stringify(names[wrong])} of another`
    }; the first line must name the columns.`,
    { where },
  );
}

/** A cell without quotation marks, as far as it goes. */
const PLAIN = /[^,\n]*/y;

const QUOTE = 0x22, LINE_END = 0x0a;

function lineEnds(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count++;
  return count;
}

/** The lines of a text whose first is of number `first`. */
function* csvCells(text: string, file: string, first: number): Generator<Cells> {
  let at = 0, line = first;
  while (at < text.length) {
    const begin = line, from = at, cells: string[] = [];
    const fail = (problem: string): DataError =>
      new DataError(`${file}:${begin}: cell ${cells.length + 1} ${problem}.`, { file, line: begin });
    for (let more = true; more;) {
      if (text[at] === '"') {
        let cell = "";
        for (let again = true; again;) {
          const close = text.indexOf('"', at + 1);
          if (close < 0) throw fail("begins with a quotation mark that is never closed");
          cell += text.slice(at + 1, close);
          at = close + 1;
          again = text[at] === '"';
          if (again) cell += '"';
        }
        line += cell.split("\n").length - 1;
        if (!/^(,|\r?\n|\r?$)/.test(text.slice(at, at + 2))) {
          throw fail("goes on after its closing quotation mark; double the marks inside a cell");
        }
        if (text[at] === "\r") at++;
        cells.push(cell);
      } else {
        PLAIN.lastIndex = at;
        let [cell] = PLAIN.exec(text)!;
        at += cell.length;
        if (text[at] !== ",") cell = cell.replace(/\r$/, "");
        if (cell.includes('"')) {
          throw fail("has a quotation mark inside; put the cell in quotation marks and double those inside");
        }
        cells.push(cell);
      }
      more = text[at] === ",";
      at++;
    }
    line++;
    // A line of nothing is no row; a single cell that is empty stands in quotation marks.
    if (!/^\r?\n?$/.test(text.slice(from, at))) yield { cells, line: begin };
  }
}
