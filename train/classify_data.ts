/** Rows of GLUE's files as examples for an encoder. @module */
import { readText } from "./data/text_file.ts";
import type { Dataset, Example } from "./data.ts";
import type { SentenceTokenizer } from "./encoder_tokenizer.ts";
import { DataError } from "./errors.ts";
import type { Column, GlueTask } from "./evaluation/glue_tasks.ts";
import { valuesOf } from "./rows.ts";

/** A row: its sentences, and the number of its class or the number that it stands for. */
export interface LabelledRow {
  readonly sentences: readonly string[];
  readonly target: number;
  readonly where: string;
}

/** What a cell is, by the column's name or number. */
type Cells = (column: Column) => string | number | boolean | undefined;

/**
 * Understand a task's file: TSV as the benchmark has it, or CSV, JSON lines or a JSON array with the same names. Throws
 * DataError naming `file:line` and the column.
 */
export function labelledRows(text: string, file: string, task: GlueTask): LabelledRow[] {
  const rows = placedCells(text, file, task).map(({ cells, where }) => rowOf(cells, where, task));
  if (rows.length > 0) return rows;
  throw new DataError(`${file}: has no rows.`, { file });
}

function placedCells(
  text: string,
  file: string,
  task: GlueTask,
): { readonly cells: Cells; readonly where: string }[] {
  if (task.named) {
    return valuesOf(text.replace(/^\uFEFF/, ""), file).map(({ json, where }) => {
      const record = Object(json) as Readonly<Record<string, string | number | boolean>>;
      return { where, cells: (column) => Object.hasOwn(record, column) ? record[column] : undefined };
    });
  }
  return text.split(/\r?\n/).flatMap((line, i) => {
    if (line === "") return [];
    const where = `${file}:${i + 1}`, list = line.split("\t");
    if (list.length !== task.cells) {
      throw new DataError(
        `${where}: has ${list.length} cells; expected ${task.cells}, as the files of ${task.name} have without a line of names.`,
        { where },
      );
    }
    return [{ where, cells: (column: Column) => list[Number(column)] }];
  });
}

function rowOf(cells: Cells, where: string, { name, sentences, label, target }: GlueTask): LabelledRow {
  const show = (column: Column): string => typeof column === "number" ? `cell ${column + 1}` : `"${column}"`;
  const read = (column: Column): string => {
    const value = cells(column);
    if (value !== undefined && value !== null && typeof value !== "object") return String(value).trim();
    throw new DataError(`${where}: has no ${show(column)}; rows of ${name} have it, see --task.`, {
      where,
      column,
    });
  };
  const texts = sentences.map((column) => {
    const found = read(column);
    if (found !== "") return found;
    throw new DataError(`${where}: ${show(column)} is empty; expected a sentence.`, { where, column });
  });
  const found = read(label);
  const bad = (expected: string): DataError =>
    new DataError(`${where}: ${show(label)} is ${JSON.stringify(found)}; expected ${expected}.`, {
      where,
      label,
    });
  if (target.kind === "classes") {
    const at = target.labels.indexOf(found);
    if (at < 0) throw bad(`one of ${target.labels.join(", ")}`);
    return { sentences: texts, target: at, where };
  }
  const number = found === "" ? NaN : Number(found);
  // Written so that NaN fails.
  if (!(number >= target.least && number <= target.most)) {
    throw bad(`a number from ${target.least} to ${target.most}`);
  }
  return { sentences: texts, target: number, where };
}

/** Read a task's file into examples of at most `seq` tokens. Throws DataError. */
export function loadLabelled(
  file: string,
  task: GlueTask,
  tokenizer: Pick<SentenceTokenizer, "encode">,
  seq: number,
): Dataset {
  return labelledDataset(labelledRows(readText(file), file, task), tokenizer, seq);
}

/** Examples of rows; none is left out. */
export function labelledDataset(
  rows: readonly LabelledRow[],
  tokenizer: Pick<SentenceTokenizer, "encode">,
  seq: number,
): Dataset {
  let truncated = 0;
  const examples = rows.map(({ sentences, target }): Example => {
    const { ids, types, cut } = tokenizer.encode(sentences, seq);
    if (cut) truncated++;
    return {
      ids,
      trained: ids.map(() => false),
      promptLength: ids.length,
      prompt: sentences.join(" ⏐ "),
      classified: { types, target },
    };
  });
  return { examples, truncated, dropped: 0 };
}
