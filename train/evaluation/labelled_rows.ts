/** Rows of GLUE's and XNLI's files: sentences and what they are labelled with. @module */
import { isParquet, valuesIn } from "../data/row_parts.ts";
import { readText } from "../data/text_file.ts";
import type { PlacedValue } from "../data/value_reader.ts";
import { DataError } from "../errors.ts";
import { valuesOf } from "../rows.ts";
import type { Column, GlueTarget, GlueTask } from "./glue_tasks.ts";

/** A row: its sentences, and the number of its class or the number that it stands for. */
export interface LabelledRow {
  readonly sentences: readonly string[];
  readonly target: number;
  /** What the row's `language` column says; null without one. */
  readonly language: string | null;
  readonly where: string;
  readonly form: RowForm;
}

/** How the file has a row, which is how training shows it to a decoder. */
export interface RowForm extends Pick<GlueTask, "sentences" | "label"> {
  /** Whether the label is a number instead of a text. */
  readonly numbered: boolean;
}

/** What a row has in its columns, and what these are called. */
interface Cells extends Pick<GlueTask, "sentences" | "label"> {
  readonly at: (column: Column) => unknown;
  readonly where: string;
}

/** {@linkcode labelledRows} of a file's text, or of a parquet file's columns. Rejects with DataError. */
export async function labelledIn(file: string, task: GlueTask): Promise<LabelledRow[]> {
  return isParquet(file)
    ? rowsFrom((await valuesIn(file)).map((value) => namedCells(value, task)), file, task)
    : labelledRows(readText(file), file, task);
}

/**
 * Understand a task's file: TSV as it is published, or CSV, JSON lines or a JSON array with the same names or those of
 * Hugging Face's hub. Throws DataError naming `file:line` and the column.
 */
export function labelledRows(text: string, file: string, task: GlueTask): LabelledRow[] {
  const cells = task.named || NAMING.test(file)
    ? valuesOf(text.replace(/^\uFEFF/, ""), file).map((value) => namedCells(value, task))
    : numberedCells(text, file, task);
  return rowsFrom(cells, file, task);
}

/** Files whose rows name their columns, whatever the task's published ones do. */
const NAMING = /\.(csv|json|jsonl|ndjson)(\.gz)?$/i;

function rowsFrom(cells: readonly Cells[], file: string, task: GlueTask): LabelledRow[] {
  if (cells.length > 0) return cells.map((row) => rowOf(row, task));
  throw new DataError(`${file}: has no rows; expected labelled rows of ${task.name}.`, { file });
}

function namedCells({ json, where }: PlacedValue, { named, sentences, label, hub }: GlueTask): Cells {
  const record = new Map(Object.entries(Object(json) as object)), has = (c: Column) => record.has(String(c));
  const isHub = hub &&
    (!named || (![...sentences, label].every(has) && [...hub.sentences, hub.label].some(has)));
  return {
    ...(isHub ? hub as Pick<GlueTask, "sentences" | "label"> : { sentences, label }),
    at: (column) => record.get(String(column)),
    where,
  };
}

function numberedCells(text: string, file: string, { cells, name, sentences, label }: GlueTask): Cells[] {
  return text.split(/\r?\n/).flatMap((line, i) => {
    if (line === "") return [];
    const where = `${file}:${i + 1}`, list = line.split("\t");
    if (list.length === cells) {
      return [{ sentences, label, where, at: (column: Column) => list[Number(column)] }];
    }
    throw new DataError(
      `${where}: has ${list.length} cells; files of ${name} have ${cells}, and no line of names.`,
      { where },
    );
  });
}

function rowOf({ at, where, sentences, label }: Cells, { name, target }: GlueTask): LabelledRow {
  const show = (column: Column): string =>
    typeof column === "number" ? `cell ${column + 1}` : JSON.stringify(column);
  const read = (column: Column): string => {
    const value = at(column);
    const text = ["string", "number", "boolean"].includes(typeof value) ? String(value).trim() : "";
    if (text !== "") return text;
    throw new DataError(`${where}: ${show(column)} is empty or not there; rows of ${name} have it.`, {
      where,
    });
  };
  const found = read(label), language = at("language"), value = targetOf(at(label), found, target);
  if (value !== null) {
    return {
      sentences: sentences.map(read),
      target: value,
      language: typeof language === "string" ? language : null,
      where,
      form: { sentences, label, numbered: typeof at(label) === "number" },
    };
  }
  const expected = target.kind === "classes"
    ? `one of ${target.labels.join(", ")}`
    : `a number from ${target.least} to ${target.most}`;
  const hidden = Number(found) === -1
    ? " (−1 stands for what is not published: take the validation rows)"
    : "";
  throw new DataError(
    `${where}: ${show(label)} is ${JSON.stringify(found)}; expected ${expected}${hidden}.`,
    {
      where,
    },
  );
}

/** The target that a label stands for, a class by its text or, where the file has numbers, by its own; null where it is none. */
function targetOf(value: unknown, text: string, target: GlueTarget): number | null {
  if (target.kind === "regression") {
    return Number(text) >= target.least && Number(text) <= target.most ? Number(text) : null;
  }
  const number = target.labels.indexOf(text);
  if (number >= 0) return number;
  return typeof value === "number" && value in target.labels ? value : null;
}
