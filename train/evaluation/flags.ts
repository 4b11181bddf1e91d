/** The flags of `evaluate.ts` as one table: what they take, what they mean, which tasks understand them. @module */
import * as Either from "fp-ts/Either.js";
import { ASKING_FLAGS, type GenerateFlags } from "../generate_options.ts";
import { flag, type PlainFlag, type TableOf, toggle } from "../parse_flags.ts";
import { above0, oneOf, type Read, text, whole } from "../readers.ts";
import { FORMAT_NAMES, type FormatName } from "../rows.ts";
import { GLUE_TASK_NAMES, type GlueTaskName } from "./glue_tasks.ts";
import { PROMPT_STYLES, type PromptStyle } from "./label_prompts.ts";

/** The tasks, in the order of the help. */
export const TASKS = ["perplexity", "gsm8k", "glue", "xnli", "flores", "humaneval", "mtbench"] as const;
/** Name of a task, as `--task` takes it. */
export type TaskName = typeof TASKS[number];

type Shared = Pick<
  GenerateFlags,
  "model" | "adapter" | "temperature" | "topK" | "topP" | "seed" | "device" | "dtype" | "help"
>;

/** What is evaluated, and how. */
export interface EvaluateFlags extends Shared {
  /** Null only beside `help`. */
  readonly task: TaskName | null;
  readonly data: readonly string[];
  /** Null: all rows. */
  readonly limit: number | null;
  /** Null: standard output alone. */
  readonly out: string | null;
  readonly json: boolean;
  /** Null: the model's positions, at most {@linkcode LONGEST}. */
  readonly seq: number | null;
  readonly batch: number;
  /** Null: the sequence's length. */
  readonly stride: number | null;
  readonly format: FormatName | "auto" | null;
  /** Solved questions before each one, and their file; both or none are given. */
  readonly shots: number | null;
  readonly shotsFrom: string | null;
  readonly subset: GlueTaskName | null;
  /** Null: as rows. */
  readonly prompts: PromptStyle | null;
  readonly pairs: string | null;
  readonly template: string | null;
  readonly spm: string | null;
  /** Answers of an earlier run, in place of a model's. */
  readonly answers: string | null;
  /** Null: 1. */
  readonly samples: number | null;
  /** Null: 10. */
  readonly timeout: number | null;
  /** MiB; null: 512. */
  readonly memory: number | null;
  /** Null: python3. */
  readonly python: string | null;
  readonly unsafeRun: boolean;
  readonly judgeUrl: string | null;
  readonly judgeModel: string | null;
  /** Name of a variable; null: {@linkcode JUDGE_KEY}. */
  readonly judgeKeyEnv: string | null;
  readonly references: string | null;
  readonly against: string | null;
  readonly chat: boolean;
  /** Null: {@linkcode MAX_NEW} of the task. */
  readonly maxNew: number | null;
}

/** What defaults depend on. */
export interface EvaluateSite {
  /** Directory of the repository, where the bundled model is. */
  readonly root: string;
}

/** Longest sequence that is not asked for. */
export const LONGEST = 2048;
/** Variable of the environment with the judge's key. */
export const JUDGE_KEY = "OPENAI_API_KEY";
/** Most tokens of an answer, by task; the other tasks let nothing be written. */
export const MAX_NEW: Readonly<Partial<Record<TaskName, number>>> = {
  gsm8k: 256,
  flores: 128,
  humaneval: 512,
  mtbench: 1024,
};

/** Tasks in which something is written. */
export const WRITING = Object.keys(MAX_NEW) as readonly TaskName[];

/** Which tasks understand a flag; all others are for every task. */
export const USED_BY = {
  stride: ["perplexity"],
  format: ["perplexity"],
  shots: ["gsm8k"],
  shotsFrom: ["gsm8k"],
  subset: ["glue"],
  prompts: ["glue", "xnli"],
  pairs: ["flores"],
  template: ["flores"],
  spm: ["flores"],
  answers: ["humaneval", "mtbench"],
  judgeUrl: ["mtbench"],
  judgeModel: ["mtbench"],
  judgeKeyEnv: ["mtbench"],
  references: ["mtbench"],
  against: ["mtbench"],
  samples: ["humaneval"],
  timeout: ["humaneval"],
  memory: ["humaneval"],
  python: ["humaneval"],
  unsafeRun: ["humaneval"],
  chat: ["gsm8k", "flores", "humaneval"],
  maxNew: WRITING,
  topK: WRITING,
} as const satisfies Partial<Record<keyof EvaluateFlags, readonly TaskName[]>>;

/** A flag that some tasks alone understand; null when it is not given. */
function only<T>(
  key: keyof typeof USED_BY,
  value: string,
  read: Read<T>,
  shown: string,
  help: string,
): PlainFlag<T | null> {
  return { value, read, help: `${USED_BY[key].join(", ")}: ${help}`, absent: () => null, shown };
}

/** All flags, in the order of the help. */
export const EVALUATE_FLAGS: TableOf<EvaluateFlags, EvaluateSite> = {
  task: {
    value: "NAME",
    read: oneOf(...TASKS),
    help: TASKS.join(", "),
    absent: () => null,
    shown: "must be given",
    section: "What is evaluated",
  },
  model: ASKING_FLAGS.model,
  adapter: ASKING_FLAGS.adapter,
  data: {
    value: "FILE",
    read: (t) => Either.right([t]),
    join: (earlier, later) => [...earlier, ...later],
    help:
      "the task's file as it is published, also packed by gzip, or glue's, xnli's and flores's in parquet; may be given several times",
    absent: () => [],
    shown: "must be given",
  },
  limit: {
    value: "N",
    read: whole(1),
    help: "take the first N rows of each file alone",
    absent: () => null,
    shown: "all",
  },
  stride: {
    ...only(
      "stride",
      "N",
      whole(1),
      "as --seq",
      "tokens from one window to the next where a row is longer than --seq",
    ),
    section: "Tasks",
  },
  format: only(
    "format",
    "NAME",
    oneOf("auto", ...FORMAT_NAMES),
    "auto",
    "what rows look like, as for train.ts; a file that ends in .txt is one text",
  ),
  shots: only("shots", "N", whole(1), "none", "solved questions put before each one"),
  shotsFrom: only(
    "shotsFrom",
    "FILE",
    text,
    "must be given with --shots",
    "where they are, as train.jsonl; the first ones are taken",
  ),
  subset: only(
    "subset",
    "NAME",
    oneOf(...GLUE_TASK_NAMES),
    "must be given for glue",
    GLUE_TASK_NAMES.join(", "),
  ),
  prompts: only(
    "prompts",
    "STYLE",
    oneOf(...PROMPT_STYLES),
    "rows",
    "what labels are weighed after: rows, as train.ts shows the file, or words, a question in English",
  ),
  pairs: only(
    "pairs",
    "LIST",
    text,
    "from the first file's language into each other",
    "languages by the names of files or columns, as eng-deu,deu-eng",
  ),
  template: only(
    "template",
    "TEXT",
    (t) => Either.right(t.replaceAll("\\n", "\n")),
    "one for texts, one for chats",
    "prompt with {source}, {source_language} and {target_language}; \\n is a line break",
  ),
  spm: only(
    "spm",
    "FILE",
    text,
    "no spBLEU",
    "tokenizer.json of a SentencePiece model, over whose pieces spBLEU is counted",
  ),
  answers: only(
    "answers",
    "FILE",
    text,
    "none",
    'answers of an earlier run, as --out wrote them, in place of a model\'s: {"task_id", "completion"} or MT-Bench\'s answers',
  ),
  samples: only(
    "samples",
    "N",
    whole(1),
    "1",
    "programs for each problem; pass@10 needs 10, pass@100 needs 100",
  ),
  timeout: only("timeout", "S", above0, "10", "seconds that a program may run"),
  memory: only("memory", "N", whole(64), "512", "MiB that a program may take"),
  python: only("python", "NAME", text, "python3", "what runs the programs"),
  judgeUrl: only(
    "judgeUrl",
    "URL",
    text,
    "answers are not judged",
    "OpenAI-compatible endpoint of the judge, as http://127.0.0.1:8080/v1",
  ),
  judgeModel: only("judgeModel", "NAME", text, "must be given with --judge-url", "model that judges"),
  judgeKeyEnv: only(
    "judgeKeyEnv",
    "NAME",
    text,
    JUDGE_KEY,
    "variable of the environment with the endpoint's key; where it is not set none is sent",
  ),
  references: only("references", "FILE", text, "none", "answers known to be right, shown to the judge"),
  against: only(
    "against",
    "FILE",
    text,
    "answers are scored from 1 to 10",
    "answers of another model, to be compared with in place of scores",
  ),
  unsafeRun: toggle("humaneval: run programs without a sandbox, with all rights that you have"),
  chat: toggle("gsm8k, flores, humaneval: ask through the model's chat template"),
  maxNew: {
    ...only(
      "maxNew",
      "N",
      whole(1),
      WRITING.map((t) => `${t} ${MAX_NEW[t]}`).join(", "),
      "most tokens of an answer",
    ),
    section: "Answers",
  },
  temperature: ASKING_FLAGS.temperature,
  topK: ASKING_FLAGS.topK,
  topP: ASKING_FLAGS.topP,
  seed: ASKING_FLAGS.seed,
  out: {
    value: "FILE",
    read: text,
    help: "write a JSON line for each row: what was asked, what came, how it was judged",
    absent: () => null,
    shown: "none",
    section: "Running",
  },
  seq: {
    value: "N",
    read: whole(2),
    help: "longest sequence in tokens, prompt and answer together",
    absent: () => null,
    shown: `what the model has, at most ${LONGEST}`,
  },
  batch: flag("N", whole(1), 8, "rows computed at once"),
  device: ASKING_FLAGS.device,
  dtype: ASKING_FLAGS.dtype,
  json: toggle("print the result as one JSON line on standard output"),
  help: ASKING_FLAGS.help,
};
