/** The tables of the paper as suites of tasks: files, budgets, what is measured. arXiv 2507.18076. @module */
import { GLUE_TASKS, type GlueTaskName } from "../../train/mod.ts";

/** What a run of a task may take. */
export interface Budget {
  readonly steps: number;
  /** Rows of a step. */
  readonly batch: number;
  /** Longest sequence, in tokens. */
  readonly seq: number;
}

/** A task that methods are compared on. */
export interface PaperTask {
  /** As `--tasks` takes it. */
  readonly name: string;
  /** As the tables show it, with what is measured. */
  readonly title: string;
  /** The task of GLUE that an encoder learns. */
  readonly glue: GlueTaskName;
  /** Files of rows below the directory of data; several parts stand one after the other. */
  readonly train: readonly string[];
  readonly dev: readonly string[];
  readonly budget: Budget;
}

function glue(
  glue: GlueTaskName,
  name: string,
  budget: Budget,
  train = ["train.tsv"],
  dev = ["dev.tsv"],
): PaperTask {
  const below = (files: readonly string[]): readonly string[] => files.map((file) => `${name}/${file}`);
  const title = `${name} (${GLUE_TASKS[glue].metrics.join("/")})`;
  return { name: glue, title, glue, train: below(train), dev: below(dev), budget };
}

/** Tasks of GLUE; budgets as a small encoder needs them to be well above chance. */
const GLUE: readonly PaperTask[] = [
  glue("sst2", "SST-2", { steps: 150, batch: 32, seq: 64 }),
  glue("cola", "CoLA", { steps: 250, batch: 32, seq: 64 }, ["in_domain_train.tsv"], [
    "in_domain_dev.tsv",
    "out_of_domain_dev.tsv",
  ]),
  glue("rte", "RTE", { steps: 150, batch: 32, seq: 128 }),
  glue("stsb", "STS-B", { steps: 300, batch: 32, seq: 64 }),
  glue("mrpc", "MRPC", { steps: 150, batch: 32, seq: 128 }),
  glue("qnli", "QNLI", { steps: 300, batch: 32, seq: 128 }),
  glue("qqp", "QQP", { steps: 300, batch: 32, seq: 64 }),
  glue("mnli", "MNLI", { steps: 300, batch: 32, seq: 128 }, ["train.tsv"], ["dev_matched.tsv"]),
];

/** Suites by name. */
export const SUITES = {
  minilm: GLUE.slice(0, 4),
  glue: GLUE,
} as const satisfies Readonly<Record<string, readonly PaperTask[]>>;

/** Name of a suite, as `--suite` takes it. */
export type SuiteName = keyof typeof SUITES;

/** Names of the suites. */
export const SUITE_NAMES: readonly SuiteName[] = Object.keys(SUITES) as SuiteName[];

/** A task by its name, whatever suite it is of. */
export function taskNamed(name: string): PaperTask | undefined {
  return Object.values(SUITES).flat().find((task) => task.name === name);
}
