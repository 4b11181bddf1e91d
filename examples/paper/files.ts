/** Rows of a comparison: parts of the published files, and the order in which a seed learns them. @module */
import {
  batches,
  bucketLengths,
  type Example,
  GLUE_TASKS,
  loadEncoderConfig,
  loadLabelled,
  loadSentenceTokenizer,
  loadTokenizer,
  openDataset,
  positions,
} from "../../train/mod.ts";
import { writeTextAtomically } from "../../train/atomic_file.ts";
import type { PaperOptions } from "./options.ts";
import { glueLines, linesOf, publishedFile } from "./published.ts";
import { spread } from "./spread.ts";
import type { PaperTask, SentenceTask } from "./suites.ts";
import { writeTextFiles } from "./text_files.ts";

/** Files of rows that are made for a task. */
export interface TaskFiles {
  readonly train: string;
  /** Of sentences one file, of texts one for each published one. */
  readonly dev: readonly string[];
}

/** What decides which rows are taken; `evalRows` null: as many as the task says. */
export type RowOptions = Pick<PaperOptions, "data" | "work" | "rows" | "evalRows">;

/** Rows of sentences that are measured on where nothing else is asked for. */
const EVAL_ROWS = 1000;

/** Rows that a task is measured on, of each file. */
export function evalRowsOf({ evalRows }: Pick<RowOptions, "evalRows">, task: PaperTask): number {
  return evalRows ?? (task.kind === "text" ? task.evalRows : EVAL_ROWS);
}

/** Write a task's parts of the published files into the working directory. Rejects with DataError. */
export async function writeTaskFiles(options: RowOptions, task: PaperTask): Promise<TaskFiles> {
  Deno.mkdirSync(`${options.work}/data`, { recursive: true });
  const most = evalRowsOf(options, task);
  return await (task.kind === "text"
    ? writeTextFiles(options, task, most)
    : writeSentenceFiles(options, task, most));
}

async function writeSentenceFiles(
  { data, work, rows }: RowOptions,
  { name, glue, train, dev }: SentenceTask,
  evalRows: number,
): Promise<TaskFiles> {
  const { named } = GLUE_TASKS[glue];
  const write = async (file: string, parts: readonly string[], most: number): Promise<void> => {
    const texts = await Promise.all(parts.map((part) => glueLines(publishedFile(data, part)!, glue)));
    const head = named ? texts[0]!.slice(0, 1) : [];
    const body = texts.flatMap((lines) => lines.slice(named ? 1 : 0));
    writeTextAtomically(file, [...head, ...spread(body, most), ""].join("\n"));
  };
  const to = { train: `${work}/data/${name}-train.tsv`, dev: `${work}/data/${name}-dev.tsv` };
  await write(to.train, train, rows);
  await write(to.dev, dev, evalRows);
  return { train: to.train, dev: [to.dev] };
}

/** The rows of a task's file as a model sees them, in their order. Throws DataError. */
export async function examplesOf(model: string, task: PaperTask, file: string): Promise<readonly Example[]> {
  const { seq } = task.budget;
  if (task.kind === "text") return (await openDataset(file, loadTokenizer(model), seq)).examples;
  const tokenizer = loadSentenceTokenizer(model, loadEncoderConfig(model));
  return (await loadLabelled(file, GLUE_TASKS[task.glue], tokenizer, seq)).examples;
}

/** Every so many rows to learn are held out of them where rates are tried, and so many at most. */
const HELD_OUT_EVERY = 5, HELD_OUT = 400;

/** Write the rows of a training file into one to learn and one to measure on, which have none in common. */
export function writeHeldOut(task: PaperTask, { train }: TaskFiles): TaskFiles {
  const isNamed = task.kind === "sentences" && GLUE_TASKS[task.glue].named;
  const lines = linesOf(train), head = isNamed ? lines.splice(0, 1) : [];
  const isHeld = (i: number): boolean => i % HELD_OUT_EVERY === HELD_OUT_EVERY - 1;
  const write = (name: string, rows: readonly string[]): string => {
    const file = train.replace("-train.", `-${name}.`);
    writeTextAtomically(file, [...head, ...rows, ""].join("\n"));
    return file;
  };
  return {
    train: write("rates-train", lines.filter((_, i) => !isHeld(i))),
    dev: [write("rates-dev", spread(lines.filter((_, i) => isHeld(i)), HELD_OUT))],
  };
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
export async function writeEvenRows(
  model: string,
  task: PaperTask,
  { train }: TaskFiles,
): Promise<EvenRows> {
  const lengths = bucketLengths(task.budget.seq), examples = await examplesOf(model, task, train);
  const lengthOf = (example: Example): number => lengths.find((length) => length >= positions(example))!;
  const size = (length: number): number => length * examples.filter((e) => lengthOf(e) === length).length;
  const length = lengths.reduce((a, b) => size(b) > size(a) ? b : a);
  const isNamed = task.kind === "sentences" && GLUE_TASKS[task.glue].named;
  const lines = linesOf(train), head = isNamed ? lines.splice(0, 1) : [];
  // Of texts some rows may have been left out: each says where it stands.
  const lineOf = ({ where }: Example, i: number): number =>
    task.kind === "text" ? Number(where!.split(":").at(-1)) - 1 : i;
  const chosen = examples.flatMap((e, i) => lengthOf(e) === length ? [lines[lineOf(e, i)]!] : []);
  const file = train.replace("-train.", "-even.");
  writeTextAtomically(file, [...head, ...chosen, ""].join("\n"));
  return { file, length };
}
