/** The tasks of GLUE: what stands in their files, and how they are scored. arXiv:1804.07461. @module */
import { type MetricName, METRICS } from "./glue_metrics.ts";

/** Name of a task, as `--task` takes it. */
export type GlueTaskName = "cola" | "sst2" | "mrpc" | "stsb" | "qqp" | "mnli" | "qnli" | "rte" | "wnli";

/** A column: its name in the first line, or its number from 0 in files that name none. */
export type Column = string | number;

/** What a task predicts. */
export type GlueTarget =
  /** The class whose number is the place of its label in the list. */
  | { readonly kind: "classes"; readonly labels: readonly string[] }
  /** A number between two bounds, both included. */
  | { readonly kind: "regression"; readonly least: number; readonly most: number };

/** A task of GLUE. */
export interface GlueTask {
  readonly name: GlueTaskName;
  /** Whether the first line names the columns. */
  readonly named: boolean;
  /** Cells of a row where no line names them. */
  readonly cells?: number;
  /** One sentence, or two that belong together. */
  readonly sentences: readonly [Column] | readonly [Column, Column];
  readonly label: Column;
  /** What the columns are called in the release of Hugging Face's hub (nyu-mll/glue), where they are called otherwise. */
  readonly hub?: { readonly sentences: readonly string[]; readonly label: string };
  readonly target: GlueTarget;
  /** In the benchmark's order; a task's score is their mean. */
  readonly metrics: readonly MetricName[];
}

const BINARY = { kind: "classes", labels: ["0", "1"] } as const;
const ENTAILMENT = { kind: "classes", labels: ["entailment", "not_entailment"] } as const;

function task(
  name: GlueTaskName,
  sentences: GlueTask["sentences"],
  label: Column,
  target: GlueTarget,
  metrics: readonly MetricName[],
): GlueTask {
  return { name, named: true, sentences, label, target, metrics };
}

const HUB_PAIR = { sentences: ["sentence1", "sentence2"], label: "label" } as const;

/** All tasks by name. Class numbers are those of the benchmark's usual releases, so that heads can be exchanged. */
export const GLUE_TASKS: Readonly<Record<GlueTaskName, GlueTask>> = {
  cola: {
    ...task("cola", [3], 1, BINARY, ["matthews"]),
    named: false,
    cells: 4,
    hub: { sentences: ["sentence"], label: "label" },
  },
  sst2: task("sst2", ["sentence"], "label", BINARY, ["accuracy"]),
  mrpc: {
    ...task("mrpc", ["#1 String", "#2 String"], "Quality", BINARY, ["accuracy", "f1"]),
    hub: HUB_PAIR,
  },
  stsb: {
    ...task("stsb", ["sentence1", "sentence2"], "score", { kind: "regression", least: 0, most: 5 }, [
      "pearson",
      "spearman",
    ]),
    hub: HUB_PAIR,
  },
  qqp: {
    ...task("qqp", ["question1", "question2"], "is_duplicate", BINARY, ["accuracy", "f1"]),
    hub: { sentences: ["question1", "question2"], label: "label" },
  },
  mnli: {
    ...task("mnli", ["sentence1", "sentence2"], "gold_label", {
      kind: "classes",
      labels: ["entailment", "neutral", "contradiction"],
    }, ["accuracy"]),
    hub: { sentences: ["premise", "hypothesis"], label: "label" },
  },
  qnli: task("qnli", ["question", "sentence"], "label", ENTAILMENT, ["accuracy"]),
  rte: task("rte", ["sentence1", "sentence2"], "label", ENTAILMENT, ["accuracy"]),
  wnli: task("wnli", ["sentence1", "sentence2"], "label", BINARY, ["accuracy"]),
};

/** Names of all tasks. */
export const GLUE_TASK_NAMES: readonly GlueTaskName[] = Object.keys(GLUE_TASKS) as GlueTaskName[];

/** A task's numbers. */
export interface GlueScores {
  /** By metric, in the task's order. */
  readonly metrics: Readonly<Partial<Record<MetricName, number>>>;
  /** Their mean: what the benchmark averages over tasks. */
  readonly score: number;
}

/** Score predictions (class numbers, or numbers) by a task's metrics. Throws RangeError for lists of other lengths. */
export function glueScores(
  { metrics }: Pick<GlueTask, "metrics">,
  predicted: readonly number[],
  truth: readonly number[],
): GlueScores {
  const values = metrics.map((name) => [name, METRICS[name](predicted, truth)] as const);
  return {
    metrics: Object.fromEntries(values),
    score: values.reduce((sum, [, value]) => sum + value, 0) / values.length,
  };
}
