/** Rows of GLUE's and XNLI's files: sentences and what they are labelled with. @module */
import { DataError } from "../errors.ts";
import { valuesOf } from "../rows.ts";
import type { Column, GlueTask } from "./glue_tasks.ts";

/** A row: its sentences, and the number of its class or the number that it stands for. */
export interface LabelledRow {
  readonly sentences: readonly string[];
  readonly target: number;
  /** What the row's `language` column says; null without one. */
  readonly language: string | null;
  readonly where: string;
}

/** A row's cell in a column. */
type Cells = (column: Column) => unknown;

/**
 * Understand a task's file: TSV as it is published, or CSV, JSON lines or a JSON array with the same names. Throws
 * DataError naming `file:line` and the column.
 */
export function labelledRows(text: string, file: string, task: GlueTask): LabelledRow[] {
  const rows = placedCells(text, file, task).map(({ cells, where }) => rowOf(cells, where, task));
  if (rows.length > 0) return rows;
  throw new DataError(`${file}: has no rows; expected labelled rows of ${task.name}.`, { file });
}

function placedCells(
  text: string,
  file: string,
  { named, cells: count, name }: GlueTask,
): { readonly cells: Cells; readonly where: string }[] {
  if (named) {
    return valuesOf(text.replace(/^\uFEFF/, ""), file).map(({ json, where }) => {
      const record = new Map(Object.entries(Object(json) as object));
      return { where, cells: (column) => record.get(String(column)) };
    });
  }
  return text.split(/\r?\n/).flatMap((line, i) => {
    if (line === "") return [];
    const where = `${file}:${i + 1}`, list = line.split("\t");
    if (list.length === count) return [{ where, cells: (column: Column) => list[Number(column)] }];
    throw new DataError(
      `${where}: has ${list.length} cells; files of ${name} have ${count}, and no line of names.`,
      { where },
    );
  });
}

function rowOf(cells: Cells, where: string, { name, sentences, label, target }: GlueTask): LabelledRow {
  const show = (column: Column): string =>
    typeof column === "number" ? `cell ${column + 1}` : JSON.stringify(column);
  const read = (column: Column): string => {
    const value = cells(column);
    const text = ["string", "number", "boolean"].includes(typeof value) ? String(value).trim() : "";
    if (text !== "") return text;
    throw new DataError(`${where}: ${show(column)} is empty or not there; rows of ${name} have it.`, {
      where,
    });
  };
  const found = read(label), language = cells("language");
  const value = target.kind === "classes"
    ? target.labels.indexOf(found)
    : Number(found) >= target.least && Number(found) <= target.most
    ? Number(found)
    : -1;
  if (value >= 0) {
    return {
      sentences: sentences.map(read),
      target: value,
      language: typeof language === "string" ? language : null,
      where,
    };
  }
  const expected = target.kind === "classes"
    ? `one of ${target.labels.join(", ")}`
    : `a number from ${target.least} to ${target.most}`;
  throw new DataError(`${where}: ${show(label)} is ${JSON.stringify(found)}; expected ${expected}.`, {
    where,
  });
}
