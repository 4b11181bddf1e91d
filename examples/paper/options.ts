/** What a comparison is asked to do. @module */
import * as Either from "fp-ts/Either.js";
import { type MethodName, METHODS, OptionError, parseFlags, type TableOf } from "../../train/mod.ts";
import { flag, optional, toggle } from "../../train/parse_flags.ts";
import { type DeviceChoice, DEVICES } from "../../train/devices.ts";
import { above0, number, oneOf, type Read, text, whole } from "../../train/readers.ts";
import { type Budget, type PaperTask, SUITE_NAMES, type SuiteName, SUITES } from "./suites.ts";

/** Who makes a run. */
export type Maker = "Gyre" | "PEFT";

/** What is asked for. */
export interface PaperOptions {
  readonly suite: SuiteName;
  readonly model: string;
  /** What results call the model; null: the end of its path. */
  readonly name: string | null;
  readonly data: string;
  readonly out: string;
  readonly work: string;
  /** Names of the suite's tasks; null: all. */
  readonly tasks: readonly string[] | null;
  readonly methods: readonly MethodName[];
  /** Seeds from 0 on. */
  readonly seeds: number;
  /** In place of the tasks' own budgets; null: those. */
  readonly steps: number | null;
  readonly batch: number | null;
  readonly seq: number | null;
  readonly rates: ReadonlyMap<MethodName, number>;
  /** Multiples of usual rates to choose from; empty: the usual ones are taken. */
  readonly tune: readonly number[];
  /** Tasks that rates are chosen on; null: all. */
  readonly tuneTasks: readonly string[] | null;
  readonly rank: number;
  readonly rows: number;
  /** Null: as many as each task says. */
  readonly evalRows: number | null;
  readonly device: DeviceChoice;
  readonly dtype: "f32" | "f16";
  readonly jobs: number;
  readonly timingSteps: number;
  readonly makers: readonly Maker[];
  /** Python with torch, transformers and peft; null: without the comparison. */
  readonly python: string | null;
  /** No run is begun after so many minutes. */
  readonly minutes: number;
  /** Seconds without a sign of life after which a process is ended. */
  readonly patience: number;
  /** Endpoint and model of the judge of MT-Bench; null: none. */
  readonly judgeUrl: string | null;
  readonly judgeModel: string | null;
  readonly pack: string | null;
  readonly dryRun: boolean;
  readonly report: boolean;
  readonly page: string | null;
  readonly help: boolean;
}

/** A list of values between commas, each of them as `read` takes it. */
function listOf<T>(read: Read<T>): Read<readonly T[]> {
  return (t) => {
    const found: T[] = [];
    for (const part of t.split(",")) {
      const one = read(part.trim());
      if (Either.isLeft(one)) return Either.left(`a list of values separated by commas, each ${one.left}`);
      found.push(one.right);
    }
    return Either.right([...new Set(found)]);
  };
}

/** `lora=2e-3`. */
const rate: Read<readonly [MethodName, number]> = (t) => {
  const [name = "", value = ""] = t.split("=");
  return Either.flatMap((method: MethodName) =>
    Either.map((lr: number) => [method, lr] as const)(above0(value))
  )(oneOf(...METHODS)(name));
};

/** The flags, in the order of the help. */
export const PAPER_FLAGS: TableOf<PaperOptions, { readonly root: string }> = {
  suite: {
    ...flag("NAME", oneOf(...SUITE_NAMES), "minilm", SUITE_NAMES.join(", ")),
    section: "What is compared",
  },
  model: flag("DIR", text, "", "model directory in the Hugging Face layout, or an id of its hub"),
  name: optional("TEXT", text, "the end of its path", "what the results call the model"),
  data: flag("DIR", text, "", "directory with the suite's files: SST-2/train.tsv and so on for GLUE"),
  tasks: optional(
    "LIST",
    listOf(text),
    "all of the suite",
    "tasks of the suite",
  ),
  methods: {
    value: "LIST",
    read: listOf(oneOf(...METHODS)),
    help: METHODS.join(","),
    absent: () => METHODS,
    shown: "all",
  },
  seeds: flag("N", whole(1), 3, "runs of each method and task, with seeds 0 to N − 1"),
  makers: {
    value: "LIST",
    read: listOf(oneOf("Gyre", "PEFT")),
    help: "whose runs to make; finished ones of both are in the tables",
    absent: (get) => get("python") === null ? ["Gyre"] : ["Gyre", "PEFT"],
    shown: "Gyre, and with --python PEFT too",
  },
  python: optional(
    "PATH",
    text,
    "none: no comparison",
    "Python with torch, transformers and peft, which runs what PEFT has of the methods",
  ),
  steps: {
    ...optional("N", whole(1), "each task's own", "optimiser steps of a run"),
    section: "Budget of a run",
  },
  batch: optional("N", whole(1), "each task's own", "rows of a step"),
  seq: optional("N", whole(8), "each task's own", "longest sequence, in tokens"),
  rows: flag("N", whole(1), 5000, "rows of a training file, evenly spread over it"),
  evalRows: optional(
    "N",
    whole(1),
    "each task's own",
    "rows of each file that are measured on, evenly spread over it",
  ),
  rank: flag("N", whole(1), 8, "rank of low-rank adapters, number of reflections of hra"),
  rates: {
    value: "LIST",
    read: (t) =>
      Either.map((list: readonly (readonly [MethodName, number])[]) => new Map(list))(listOf(rate)(t)),
    join: (a, b) => new Map([...a, ...b]),
    help: "learning rates in place of the comparison's own, as lora=2e-3,full=3e-4",
    absent: () => new Map(),
    shown: "see examples/paper/rates.ts",
  },
  tune: {
    value: "LIST",
    read: listOf(above0),
    help:
      "first choose each method's rate among these multiples of its usual one, by the loss on a fifth of the rows to " +
      "learn that is held out for this; --tune 0.3,1,3",
    absent: () => [],
    shown: "none: the usual ones",
  },
  tuneTasks: optional("LIST", listOf(text), "all that are asked for", "tasks that rates are chosen on"),
  timingSteps: flag(
    "N",
    number("0, or a whole number from 12 on", (n) => n === 0 || (Number.isSafeInteger(n) && n >= 12)),
    24,
    "steps that each method runs alone to have its time and its memory measured; 0: none",
  ),
  device: {
    ...flag(
      "NAME",
      oneOf(...DEVICES),
      "auto",
      "as for train.ts; PEFT runs with CUDA on a GPU, and where auto finds it",
    ),
    section: "Running",
  },
  dtype: flag("NAME", oneOf("f32", "f16"), "f32", "as for train.ts"),
  judgeUrl: optional(
    "URL",
    text,
    "answers are not judged",
    "mtbench: endpoint of the judge, as for evaluate.ts",
  ),
  judgeModel: optional("NAME", text, "must be given with --judge-url", "mtbench: model that judges"),
  jobs: flag("N", whole(1), 1, "processes of each maker that run side by side"),
  minutes: {
    value: "X",
    read: above0,
    help: "begin no run after so many minutes; the same command goes on later",
    absent: () => Infinity,
    shown: "no limit",
  },
  patience: flag(
    "SECONDS",
    above0,
    300,
    "end a process that gives no sign of life for so long, note its run as failed, and go on; the same command tries it again",
  ),
  out: flag("DIR", text, "runs/paper", "directory of the results; what is in them is not run again"),
  work: {
    value: "DIR",
    read: text,
    help: "directory for what runs need and leave, which may be removed",
    absent: (get) => `${get("out")}/work`,
    shown: "work in --out",
  },
  dryRun: toggle("run nothing: list the runs that are left and about how long they take"),
  report: toggle("make the tables of the results that are there, and run nothing"),
  page: optional(
    "FILE#NAME",
    text,
    "none",
    "put the table between the lines <!-- study NAME --> and <!-- end --> of a markdown page",
  ),
  pack: optional(
    "DIR",
    text,
    "none",
    "run nothing: write the model in f16 and the suite's files, packed, into a directory for another machine",
  ),
  help: toggle("show this text"),
};

/** Understand the command line. Throws OptionError. */
export function parsePaperFlags(argv: readonly string[]): PaperOptions {
  const options = parseFlags(PAPER_FLAGS, argv, { root: "" });
  const { help, report, model, data, makers, python } = options;
  if (help) return options;
  requirePage(options);
  if (report) return options;
  if (model === "" || data === "") {
    throw new OptionError(
      "Give --model, a model's directory, and --data, the directory of the suite's files.",
    );
  }
  if (makers.includes("PEFT") && python === null) {
    throw new OptionError("--makers PEFT needs --python, with torch, transformers and peft.");
  }
  const tasks = tasksOf(options), { tuneTasks } = options;
  const unknown = tuneTasks?.find((name) => !tasks.some((task) => task.name === name));
  if (unknown !== undefined) {
    throw new OptionError(`--tune-tasks has ${unknown}, which is not among the tasks.`, { task: unknown });
  }
  if ((options.judgeUrl === null) !== (options.judgeModel === null)) {
    throw new OptionError("A judge needs --judge-url and --judge-model: give both.");
  }
  if (options.judgeUrl === null && tasks.some((task) => task.name === "mtbench")) {
    throw new OptionError(
      "mtbench needs a judge: give --judge-url and --judge-model, or other tasks with --tasks.",
    );
  }
  return options;
}

/** Refuse a page that is no file with a section before anything is run for it. Throws OptionError. */
function requirePage({ page }: PaperOptions): void {
  if (page !== null && !/^.+#.+$/.test(page)) {
    throw new OptionError(
      `--page is "${page}"; give a file and the name of its section, as docs/PAPER.md#small.`,
      { page },
    );
  }
}

/** The tasks that are asked for, with the budgets that are. Throws OptionError for a task that the suite has not. */
export function tasksOf({ suite, tasks, steps, batch, seq }: PaperOptions): readonly PaperTask[] {
  const all: readonly PaperTask[] = SUITES[suite];
  const asked = tasks === null ? all : tasks.map((name) => {
    const found = all.find((task) => task.name === name);
    if (found) return found;
    throw new OptionError(
      `--tasks has ${name}, which suite ${suite} has not: give ${all.map((task) => task.name).join(", ")}.`,
      { task: name },
    );
  });
  return asked.map((task): PaperTask => {
    const own = task.budget;
    const budget: Budget = { steps: steps ?? own.steps, batch: batch ?? own.batch, seq: seq ?? own.seq };
    return { ...task, budget };
  });
}
