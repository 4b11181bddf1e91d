/** Rows of a table in a text, by the names in its first line: CSV (RFC 4180) and TSV. @module */
import { DataError } from "../errors.ts";
import type { PlacedValue } from "./json_records.ts";

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
export function csvRecords(text: string, file: string): PlacedValue[] {
  return recordsOf(csvCells(text, file), file);
}

/**
 * The same of a TSV text, as the files of GLUE are: cells end at tabs, rows at line ends, and quotation marks mean
 * nothing.
 */
export function tsvRecords(text: string, file: string): PlacedValue[] {
  const lines = text.split(/\r?\n/).map((line, i): Cells => ({ cells: line.split("\t"), line: i + 1 }));
  // A line of nothing is no row.
  return recordsOf(lines.filter(({ cells }) => cells.length > 1 || cells[0] !== ""), file);
}

function recordsOf(lines: Iterable<Cells>, file: string): PlacedValue[] {
  const values: PlacedValue[] = [];
  let names: readonly string[] | null = null;
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

function* csvCells(text: string, file: string): Generator<Cells> {
  let at = 0, line = 1;
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
