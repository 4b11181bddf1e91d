/** Rows of a comparison: parts of the published files, and the order in which a seed learns them. @module */
import {
  batches,
  bucketLengths,
  DataError,
  type Example,
  GLUE_TASKS,
  loadEncoderConfig,
  loadLabelled,
  loadSentenceTokenizer,
  positions,
} from "../../train/mod.ts";
import { exists, writeTextAtomically } from "../../train/atomic_file.ts";
import { readText } from "../../train/data/text_file.ts";
import type { PaperOptions } from "./options.ts";
import type { PaperTask } from "./suites.ts";

/** Files of rows that are made for a task. */
export interface TaskFiles {
  readonly train: string;
  readonly dev: string;
}

/** Refuse a task whose files are not there. Throws DataError naming all that lack. */
export function requireFiles(data: string, tasks: readonly PaperTask[]): void {
  const lacking = tasks.flatMap(({ train, dev }) => [...train, ...dev]).filter((f) =>
    !exists(`${data}/${f}`)
  );
  if (lacking.length === 0) return;
  throw new DataError(
    `--data ${data}: has no ${
      lacking.join(", ")
    }; put the published files there, or choose others with --tasks.`,
    { data, lacking },
  );
}

/** Write a task's parts of the published files into the working directory. Throws DataError. */
export function writeTaskFiles(
  { data, work, rows, evalRows }: Pick<PaperOptions, "data" | "work" | "rows" | "evalRows">,
  { name, glue, train, dev }: PaperTask,
): TaskFiles {
  const to = { train: `${work}/data/${name}-train.tsv`, dev: `${work}/data/${name}-dev.tsv` };
  Deno.mkdirSync(`${work}/data`, { recursive: true });
  const write = (file: string, parts: readonly string[], most: number): void => {
    const { named } = GLUE_TASKS[glue];
    const texts = parts.map((part) => linesOf(`${data}/${part}`));
    const head = named ? texts[0]!.slice(0, 1) : [];
    const body = texts.flatMap((lines) => lines.slice(named ? 1 : 0));
    writeTextAtomically(file, [...head, ...spread(body, most), ""].join("\n"));
  };
  write(to.train, train, rows);
  write(to.dev, dev, evalRows);
  return to;
}

function linesOf(file: string): string[] {
  return readText(file).split("\n").filter((line) => line !== "");
}

/** At most `most` items at even distances. */
export function spread<T>(items: readonly T[], most: number): T[] {
  const count = Math.min(most, items.length);
  return Array.from({ length: count }, (_, i) => items[Math.floor(i * items.length / count)]!);
}

/** The rows of a task's file as a model sees them, in their order. */
export function examplesOf(model: string, { glue, budget }: PaperTask, file: string): readonly Example[] {
  const tokenizer = loadSentenceTokenizer(model, loadEncoderConfig(model));
  return loadLabelled(file, GLUE_TASKS[glue], tokenizer, budget.seq).examples;
}

/** Rows of a step, and the length that they are padded to. */
export interface PlannedBatch {
  readonly rows: readonly number[];
  readonly length: number;
}

/** The first `steps` batches that a run of this seed takes, by number of row. */
export function plannedBatches(
  examples: readonly Example[],
  { steps, batch, seq }: PaperTask["budget"],
  seed: number,
): PlannedBatch[] {
  const places = new Map(examples.map((example, i) => [example, i]));
  const planned: PlannedBatch[] = [];
  for (const { members, length } of batches(examples, { batch, seq, seed, epochs: Infinity })) {
    if (planned.length === steps) break;
    planned.push({ rows: members.map((m) => places.get(m)!), length });
  }
  return planned;
}

/** Rows that are all padded to one length. */
export interface EvenRows {
  readonly file: string;
  readonly length: number;
}

/**
 * Write those rows of a training file that are padded to the same length, that with the most positions in all: every
 * step on them has the same shape, and its time is one number.
 */
export function writeEvenRows(
  { model, work }: Pick<PaperOptions, "model" | "work">,
  task: PaperTask,
  { train }: TaskFiles,
): EvenRows {
  const lengths = bucketLengths(task.budget.seq), examples = examplesOf(model, task, train);
  const lengthOf = (example: Example): number => lengths.find((length) => length >= positions(example))!;
  const size = (length: number): number => length * examples.filter((e) => lengthOf(e) === length).length;
  const length = lengths.reduce((a, b) => size(b) > size(a) ? b : a);
  const lines = linesOf(train), head = GLUE_TASKS[task.glue].named ? lines.splice(0, 1) : [];
  const file = `${work}/data/${task.name}-even.tsv`;
  writeTextAtomically(
    file,
    [...head, ...lines.filter((_, i) => lengthOf(examples[i]!) === length), ""].join("\n"),
  );
  return { file, length };
}
