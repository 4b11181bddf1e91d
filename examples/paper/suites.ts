/** The tables of the paper as suites of tasks: files, budgets, what is measured. arXiv 2507.18076. @module */
import type { TaskName } from "../../train/evaluation/flags.ts";
import { GLUE_TASKS, type GlueTaskName } from "../../train/mod.ts";

/** What a run of a task may take. */
export interface Budget {
  readonly steps: number;
  /** Rows of a step. */
  readonly batch: number;
  /** Longest sequence, in tokens. */
  readonly seq: number;
}

/** A number of a task, as the tables show it. */
export interface Column {
  readonly metric: string;
  readonly title: string;
  /** Whether it is a share, shown in hundredths. */
  readonly share: boolean;
}

interface Task {
  /** As `--tasks` takes it. */
  readonly name: string;
  readonly title: string;
  /** The first one stands for the task. */
  readonly columns: readonly Column[];
  /** Files of rows to learn, below the directory of data; several parts stand one after the other. */
  readonly train: readonly string[];
  /** Files that are measured on. */
  readonly dev: readonly string[];
  readonly budget: Budget;
}

/** Labelled sentences, which an encoder learns with a head; its files stand one after the other. */
export interface SentenceTask extends Task {
  readonly kind: "sentences";
  readonly glue: GlueTaskName;
}

/** Something that a language model learns as text. */
export interface TextTask extends Task {
  readonly kind: "text";
  /** What the files to learn hold: rows as `train.ts` takes them, or the same sentence in each line of every file. */
  readonly learns: "rows" | "translations";
  /** What `evaluate.ts` measures on the files, as its `--task` names it. */
  readonly measures: readonly TaskName[];
  /** Rows of each file that are measured on where nothing else is asked for. */
  readonly evalRows: number;
}

/** A task that methods are compared on. */
export type PaperTask = SentenceTask | TextTask;

function glue(
  glue: GlueTaskName,
  title: string,
  budget: Budget,
  train = ["train.tsv"],
  dev = ["dev.tsv"],
): SentenceTask {
  const below = (files: readonly string[]): readonly string[] => files.map((file) => `${title}/${file}`);
  const columns = [{ metric: "score", title: GLUE_TASKS[glue].metrics.join("/"), share: true }];
  return {
    kind: "sentences",
    name: glue,
    title,
    columns,
    glue,
    train: below(train),
    dev: below(dev),
    budget,
  };
}

/** Tasks of GLUE; budgets as a small encoder needs them to be well above chance. */
const GLUE: readonly SentenceTask[] = [
  glue("sst2", "SST-2", { steps: 150, batch: 32, seq: 64 }),
  glue("cola", "CoLA", { steps: 300, batch: 32, seq: 64 }, ["in_domain_train.tsv"], [
    "in_domain_dev.tsv",
    "out_of_domain_dev.tsv",
  ]),
  glue("rte", "RTE", { steps: 200, batch: 32, seq: 128 }),
  glue("stsb", "STS-B", { steps: 150, batch: 32, seq: 64 }),
  glue("mrpc", "MRPC", { steps: 150, batch: 32, seq: 128 }),
  glue("qnli", "QNLI", { steps: 300, batch: 32, seq: 128 }),
  glue("qqp", "QQP", { steps: 300, batch: 32, seq: 64 }),
  glue("mnli", "MNLI", { steps: 300, batch: 32, seq: 128 }, ["train.tsv"], ["dev_matched.tsv"]),
];

const PERPLEXITY: Column = { metric: "perplexity", title: "perplexity", share: false };

const GSM8K: TextTask = {
  kind: "text",
  name: "gsm8k",
  title: "GSM8K",
  columns: [{ metric: "exact_match", title: "exact match", share: true }, PERPLEXITY],
  train: ["gsm8k/train.jsonl"],
  dev: ["gsm8k/test.jsonl"],
  learns: "rows",
  measures: ["gsm8k", "perplexity"],
  evalRows: 1319,
  budget: { steps: 1000, batch: 16, seq: 512 },
};

/** HumanEval has no rows to learn: instructions with programs are to be put beside it. */
const HUMANEVAL: TextTask = {
  kind: "text",
  name: "humaneval",
  title: "HumanEval",
  columns: [{ metric: "pass@1", title: "pass@1", share: true }],
  train: ["humaneval/train.jsonl"],
  dev: ["humaneval/HumanEval.jsonl.gz"],
  learns: "rows",
  measures: ["humaneval"],
  evalRows: 164,
  budget: { steps: 1000, batch: 16, seq: 512 },
};

/** As for HumanEval: chats to learn are to be put beside the questions. */
const MTBENCH: TextTask = {
  kind: "text",
  name: "mtbench",
  title: "MT-Bench",
  columns: [{ metric: "score", title: "mean score, 1 to 10", share: false }],
  train: ["mtbench/train.jsonl"],
  dev: ["mtbench/question.jsonl"],
  learns: "rows",
  measures: ["mtbench"],
  evalRows: 80,
  budget: { steps: 1000, batch: 16, seq: 1024 },
};

/** Languages by the names of their files. */
const XNLI_LANGUAGES = ["ar", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "vi", "zh"];
const FLORES_LANGUAGES = [
  ...["eng_Latn", "deu_Latn", "swh_Latn", "hau_Latn", "npi_Deva", "asm_Beng", "mlt_Latn", "zul_Latn"],
];

/** Learnt on the dev files of all languages, measured on the test files. */
const XNLI: TextTask = {
  kind: "text",
  name: "xnli",
  title: "XNLI",
  columns: [{ metric: "accuracy", title: "accuracy, mean over languages", share: true }],
  train: XNLI_LANGUAGES.map((language) => `xnli/dev-${language}.tsv`),
  dev: XNLI_LANGUAGES.map((language) => `xnli/test-${language}.tsv`),
  learns: "rows",
  measures: ["xnli"],
  evalRows: 1000,
  budget: { steps: 1000, batch: 32, seq: 256 },
};

/** Translations from English, learnt on dev, measured on devtest. */
const FLORES: TextTask = {
  kind: "text",
  name: "flores",
  title: "FLORES",
  columns: [
    { metric: "chrf++", title: "chrF++, mean over pairs", share: false },
    { metric: "bleu", title: "BLEU", share: false },
  ],
  train: FLORES_LANGUAGES.map((language) => `flores/dev/${language}.dev`),
  dev: FLORES_LANGUAGES.map((language) => `flores/devtest/${language}.devtest`),
  learns: "translations",
  measures: ["flores"],
  evalRows: 200,
  budget: { steps: 1000, batch: 16, seq: 256 },
};

/** Budgets and rows for models of less than a million parameters on a processor. */
const SMALL: readonly TextTask[] = [
  { ...GSM8K, evalRows: 32, budget: { steps: 40, batch: 8, seq: 256 } },
  {
    ...XNLI,
    train: ["xnli/dev-en.tsv"],
    dev: ["xnli/test-en.tsv"],
    evalRows: 64,
    budget: { steps: 40, batch: 8, seq: 256 },
  },
];

/** Suites by name. */
export const SUITES = {
  glue: GLUE,
  gsm8k: [GSM8K],
  humaneval: [HUMANEVAL],
  mtbench: [MTBENCH],
  xnli: [XNLI],
  flores: [FLORES],
  decoder: [GSM8K, HUMANEVAL, MTBENCH],
  multilingual: [XNLI, FLORES],
  minilm: GLUE.slice(0, 4),
  small: SMALL,
} as const satisfies Readonly<Record<string, readonly PaperTask[]>>;

/** Name of a suite, as `--suite` takes it. */
export type SuiteName = keyof typeof SUITES;

/** Names of the suites. */
export const SUITE_NAMES: readonly SuiteName[] = Object.keys(SUITES) as SuiteName[];

/** A task by its name, whatever suite it is of. */
export function taskNamed(name: string): PaperTask | undefined {
  return Object.values<readonly PaperTask[]>(SUITES).flat().find((task) => task.name === name);
}
