/** What a study on GLUE is asked to do. @module */
import {
  GLUE_TASK_NAMES,
  type GlueTaskName,
  type MethodName,
  METHODS,
  parseFlags,
  type TableOf,
} from "../../train/mod.ts";
import * as Either from "fp-ts/Either.js";
import { flag, toggle } from "../../train/parse_flags.ts";
import { above0, oneOf, type Read, text, whole } from "../../train/readers.ts";

/** Who makes a run. */
export type Maker = "Gyre" | "PEFT";

/** What is asked for. */
export interface GlueStudy {
  readonly model: string;
  readonly data: string;
  readonly out: string;
  readonly tasks: readonly GlueTaskName[];
  readonly methods: readonly MethodName[];
  readonly seeds: readonly number[];
  readonly rates: ReadonlyMap<MethodName, number>;
  readonly rows: number;
  readonly evalRows: number;
  readonly steps: number;
  readonly batch: number;
  readonly seq: number;
  readonly rank: number;
  readonly device: string;
  readonly makers: readonly Maker[];
  /** Python with torch, transformers and peft; null: without the comparison. */
  readonly python: string | null;
  /** No run is begun after so many minutes. */
  readonly minutes: number;
  readonly page: string | null;
  readonly help: boolean;
}

function listOf<T>(read: Read<T>): Read<readonly T[]> {
  return (t) => {
    const found: T[] = [];
    for (const part of t.split(",")) {
      const one = read(part.trim());
      if (Either.isLeft(one)) return Either.left(`a list of values separated by commas, each ${one.left}`);
      found.push(one.right);
    }
    return Either.right(found);
  };
}

/** `lora=2e-3`. */
const rate: Read<readonly [MethodName, number]> = (t) => {
  const [name = "", value = ""] = t.split("=");
  return Either.flatMap((method: MethodName) =>
    Either.map((lr: number) => [method, lr] as const)(above0(value))
  )(oneOf(...METHODS)(name));
};

/** Learning rates of a run: of orthogonal parameters, and of all others, the head's too. */
export interface Rates {
  readonly lr: number;
  readonly orthogonalLr: number;
}

/**
 * Learning rates by method, chosen among two or three with one seed on 1,000 rows of SST-2's training file, by the loss on
 * 200 others of that file; a method that was not tried has that of its kind. Orthogonal parameters have half of it, but
 * the hybrid's, whose low-rank branch starts large, have more.
 */
const RATES: Readonly<Record<MethodName, number | Rates>> = {
  full: 1e-4,
  lora: 2e-3,
  rslora: 2e-3,
  dora: 2e-3,
  "lora-ga": 3e-4,
  pissa: 1e-3,
  olora: 1e-3,
  hybrid: { lr: 3e-4, orthogonalLr: 5e-3 },
  oft: 1e-2,
  boft: 1e-2,
  hra: 2e-2,
  givens: 4e-2,
  unitary: 4e-2,
};

const TABLE: TableOf<GlueStudy, { readonly root: string }> = {
  model: {
    value: "DIR",
    read: text,
    help: "encoder in the Hugging Face layout",
    absent: () => "",
    shown: "none: it must be given",
  },
  data: {
    value: "DIR",
    read: text,
    help: "GLUE's directory, with SST-2, CoLA, RTE, STS-B and so on in it",
    absent: () => "",
    shown: "none: it must be given",
  },
  out: flag("DIR", text, "runs/glue", "directory of the study; finished runs in it are not repeated"),
  tasks: {
    value: "LIST",
    read: listOf(oneOf(...GLUE_TASK_NAMES)),
    help: "tasks",
    absent: () => ["sst2", "cola", "rte", "stsb"],
    shown: "sst2,cola,rte,stsb",
  },
  methods: {
    value: "LIST",
    read: listOf(oneOf(...METHODS)),
    help: "methods",
    absent: () => METHODS,
    shown: "all",
  },
  seeds: { value: "LIST", read: listOf(whole(0)), help: "seeds", absent: () => [0, 1, 2], shown: "0,1,2" },
  rates: {
    value: "LIST",
    read: (t) =>
      Either.map((list: readonly (readonly [MethodName, number])[]) => new Map(list))(listOf(rate)(t)),
    join: (a, b) => new Map([...a, ...b]),
    help: "learning rates in place of the study's own, as lora=2e-3,full=3e-4",
    absent: () => new Map(),
    shown: "see examples/glue/options.ts",
  },
  rows: flag("N", whole(1), 2000, "rows of the training file, evenly spread over it"),
  evalRows: flag("N", whole(1), 200, "rows of the dev file, evenly spread over it"),
  steps: flag("N", whole(1), 40, "optimiser steps of a run"),
  batch: flag("N", whole(1), 16, "rows of a step"),
  seq: flag("N", whole(8), 64, "longest sequence, in tokens"),
  rank: flag("N", whole(1), 8, "rank of low-rank adapters, number of reflections of hra"),
  device: flag("NAME", text, "cpu", "as for train.ts; the comparison runs on the CPU"),
  makers: {
    value: "LIST",
    read: listOf(oneOf("Gyre", "PEFT")),
    help: "whose runs to make; finished ones of both are in the table",
    absent: (get) => get("python") === null ? ["Gyre"] : ["Gyre", "PEFT"],
    shown: "Gyre, and with --python PEFT too",
  },
  python: {
    value: "PATH",
    read: text,
    help: "Python with torch, transformers and peft, which runs what PEFT has of the methods",
    absent: () => null,
    shown: "none: no comparison",
  },
  minutes: {
    value: "X",
    read: above0,
    help: "begin no run after so many minutes; the same command goes on later",
    absent: () => Infinity,
    shown: "no limit",
  },
  page: {
    value: "FILE#NAME",
    read: text,
    help: "put the table between the lines <!-- study NAME --> and <!-- end --> of a markdown page",
    absent: () => null,
    shown: "none",
  },
  help: toggle("show this text"),
};

/** Understand the command line. Throws OptionError. */
export function parseGlueStudy(argv: readonly string[]): GlueStudy {
  return parseFlags(TABLE, argv, { root: "" });
}

/** The table of flags, for the help. */
export const GLUE_FLAGS: typeof TABLE = TABLE;

/** The learning rates of a method. */
export function ratesOf({ rates }: Pick<GlueStudy, "rates">, method: MethodName): Rates {
  const own = rates.get(method) ?? RATES[method];
  return typeof own === "number" ? { lr: own, orthogonalLr: own / 2 } : own;
}
