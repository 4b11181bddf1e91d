/** GLUE and XNLI for decoders: the label whose text is likeliest after the prompt. arXiv:1804.07461, arXiv:1809.05053. @module */
import { cutNotes, expectation, labelLikelihoods, largest } from "./choose.ts";
import { accuracy } from "./glue_metrics.ts";
import { GLUE_TASKS, glueScores, type GlueTask, type GlueTaskName } from "./glue_tasks.ts";
import { labelQuestion, type PromptStyle, scaleSteps } from "./label_prompts.ts";
import { labelledIn, type LabelledRow } from "./labelled_rows.ts";
import { asking, mean, type Numbers, type PreparedTask } from "./task.ts";

/** What {@linkcode prepareGlue} and {@linkcode prepareXnli} read. */
export interface ClassifyOptions {
  readonly files: readonly string[];
  /** Rows of each file. */
  readonly limit: number;
  readonly style: PromptStyle;
  readonly batch: number;
}

/** Rows that are scored together. */
interface Group {
  readonly name: string;
  readonly rows: readonly LabelledRow[];
}

/** Read the files of a task of GLUE, which are scored together, and each alone where there are several. Rejects with DataError. */
export async function prepareGlue(name: GlueTaskName, options: ClassifyOptions): Promise<PreparedTask> {
  const task = GLUE_TASKS[name];
  const groups = await Promise.all(
    options.files.map(async (file) => ({ name: baseName(file), rows: await readRows(file, task, options) })),
  );
  const numbers = (predicted: readonly number[], truth: readonly number[]): Numbers => {
    const { metrics, score } = glueScores(task, predicted, truth);
    const all = Object.entries({ ...metrics, score }).map(([key, value]) =>
      [key, Number.isFinite(value) ? value : null] as const
    );
    return {
      ...Object.fromEntries(all),
      ...(task.target.kind === "classes" ? { majority: majority(truth) } : {}),
      rows: truth.length,
    };
  };
  return classifying(task, groups, options, numbers, (all) => numbers(...all));
}

/** Read XNLI's files; a row's language is what its column says, or {@linkcode languageIn} its name. Rejects with DataError. */
export async function prepareXnli(options: ClassifyOptions): Promise<PreparedTask> {
  // Its rows are those of MNLI.
  const task = GLUE_TASKS.mnli;
  const files = await Promise.all(
    options.files.map(async (file) =>
      (await readRows(file, task, options)).map((row) => ({
        ...row,
        language: row.language ?? languageIn(file),
      }))
    ),
  );
  const rows = files.flat();
  const groups = [...Map.groupBy(rows, (row) => row.language)].map(([name, rows]) => ({ name, rows }));
  const numbers = (predicted: readonly number[], truth: readonly number[]): Numbers => ({
    accuracy: accuracy(predicted, truth),
    majority: majority(truth),
    rows: truth.length,
  });
  return classifying(task, groups, options, numbers, (_, parts) => ({
    // Each language counts alike.
    accuracy: mean(parts.map((part) => part["accuracy"]!)),
    languages: parts.length,
    rows: rows.length,
  }));
}

async function readRows(file: string, task: GlueTask, { limit }: ClassifyOptions): Promise<LabelledRow[]> {
  return (await labelledIn(file, task)).slice(0, limit);
}

function baseName(file: string): string {
  return file.slice(file.lastIndexOf("/") + 1);
}

/** `dev-sw.tsv`, `sw/test-00000-of-00001.parquet` → `sw`; without such an end or directory the file's own name. */
export function languageIn(file: string): string {
  return /[-_.]([a-z]{2,3})\.[a-z]+(\.gz)?$/.exec(baseName(file))?.[1] ??
    /(?:^|\/)([a-z]{2})\/[^/]*\.parquet$/.exec(file)?.[1] ?? baseName(file);
}

/** Share of the most frequent class: what always answering alike gives. */
function majority(truth: readonly number[]): number {
  return Math.max(...[...Map.groupBy(truth, (t) => t).values()].map((same) => same.length)) / truth.length;
}

type Pairs = readonly [predicted: readonly number[], truth: readonly number[]];

function classifying(
  task: GlueTask,
  groups: readonly Group[],
  { style, batch }: ClassifyOptions,
  numbers: (...pairs: Pairs) => Numbers,
  whole: (all: Pairs, parts: readonly Numbers[]) => Numbers,
): PreparedTask {
  const { target } = task;
  return asking(async (examinee, follow) => {
    const rows = groups.flatMap((group) => group.rows.map((row) => ({ ...row, group: group.name })));
    const questions = rows.map(({ sentences, where, form }) => ({
      ...labelQuestion(task, sentences, style, form),
      where,
    }));
    const { likelihoods, cut } = await labelLikelihoods(examinee, questions, batch, follow);
    const predicted = likelihoods.map((l) =>
      target.kind === "classes" ? largest(l) : expectation(scaleSteps(target), l)
    );
    const truth = rows.map((row) => row.target);
    let at = 0;
    const parts = groups.map((group) => {
      const from = at, to = at += group.rows.length;
      return { name: group.name, metrics: numbers(predicted.slice(from, to), truth.slice(from, to)) };
    });
    return {
      metrics: whole([predicted, truth], parts.map((p) => p.metrics)),
      parts: parts.length > 1 ? parts : [],
      items: rows.map(({ where, group, target }, i) => ({
        where,
        group,
        prompt: questions[i]!.prompt,
        labels: questions[i]!.labels,
        likelihoods: likelihoods[i],
        predicted: predicted[i],
        target,
      })),
      notes: [
        target.kind === "classes"
          ? `the class is that of the label whose text is likeliest, prompts as ${style}`
          : `the number is the mean of ${target.least} to ${target.most}, weighed by the likelihood of their texts, prompts as ${style}`,
        ...cutNotes(cut, rows.length, examinee.seq),
      ],
    };
  });
}
