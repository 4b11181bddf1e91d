/** The flags of `train.ts` as one table: what they take, what they mean, their defaults. @module */
import * as Either from "fp-ts/Either.js";
import { type AdapterSettings, DEFAULT_SETTINGS } from "./adapter_specs.ts";
import { type MethodName, METHODS } from "./methods.ts";
import { nearest } from "./nearest.ts";
import type { ScheduleName } from "./schedule.ts";

export type { MethodName } from "./methods.ts";

/** What a run is asked to do. */
export interface TrainOptions extends AdapterSettings {
  readonly model: string;
  readonly data: string;
  /** Null: no evaluation. */
  readonly eval: string | null;
  readonly out: string;
  readonly method: MethodName;
  /** Batches whose gradients LoRA-GA starts from. */
  readonly startBatches: number;
  readonly target: string;
  readonly rank: number;
  readonly alpha: number;
  /** Null: the largest of 8, 4 and 2 that fits a map. */
  readonly block: number | null;
  /** Null: 2 where they fit a map, else 1. */
  readonly factors: number | null;
  /** Null: as many as the epochs have. */
  readonly steps: number | null;
  readonly epochs: number;
  readonly batch: number;
  readonly accumulate: number;
  readonly seq: number;
  readonly lr: number;
  readonly orthogonalLr: number;
  readonly schedule: ScheduleName;
  /** Below 1 a share of all steps, otherwise steps. */
  readonly warmup: number;
  /** 0: no clipping. */
  readonly clip: number;
  readonly seed: number;
  readonly device: "auto" | "cpu" | "gpu";
  readonly dtype: "f32" | "f16";
  readonly merge: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

/** What defaults depend on. */
export interface Site {
  /** Directory of the repository, where the bundled model and data are. */
  readonly root: string;
  /** Names the default output directory. */
  readonly now: Date;
}

/** The value of a flag, or what was expected instead. */
export type Read<T> = (text: string) => Either.Either<string, T>;

/** The value of another flag. */
export type Get = <K extends keyof TrainOptions>(key: K) => TrainOptions[K];

/** A flag. */
export interface Flag<T> {
  /** Begins a section of the help. */
  readonly section?: string;
  /** What the value is called; null for flags without a value. */
  readonly value: string | null;
  readonly help: string;
  readonly read: Read<T>;
  /** The value when the flag is not given; may ask for other flags, but not in a circle. */
  readonly absent: (get: Get, site: Site) => T;
  /** The default, for the help. */
  readonly shown: string;
}

/** A flag for each option. */
export type Table = { readonly [K in keyof TrainOptions]: Flag<TrainOptions[K]> };

const text: Read<string> = (t) => Either.right(t);

function number(expected: string, holds: (n: number) => boolean): Read<number> {
  return (t) => {
    const n = t.trim() === "" ? NaN : Number(t);
    return Number.isFinite(n) && holds(n) ? Either.right(n) : Either.left(expected);
  };
}

function whole(from: number, to = Number.MAX_SAFE_INTEGER): Read<number> {
  const expected = to === Number.MAX_SAFE_INTEGER ? `from ${from} on` : `from ${from} to ${to}`;
  return number(`a whole number ${expected}`, (n) => Number.isSafeInteger(n) && n >= from && n <= to);
}

function oneOf<T extends string>(...choices: readonly T[]): Flag<T>["read"] {
  return (t) => {
    const found = choices.find((c) => c === t);
    const near = nearest(t, choices);
    const hint = near === null ? "" : `; did you mean ${near}?`;
    return found === undefined ? Either.left(`one of ${choices.join(", ")}${hint}`) : Either.right(found);
  };
}

const above0 = number("a number above 0", (n) => n > 0);
const share = number("a number from 0 to below 1", (n) => n >= 0 && n < 1);
const from0 = number("a number from 0 on", (n) => n >= 0);

/** A flag with a fixed default. */
function flag<T extends string | number>(value: string, read: Read<T>, absent: T, help: string): Flag<T> {
  return { value, read, help, absent: () => absent, shown: String(absent) };
}

function bundled(value: string, path: string, help: string): Flag<string> {
  return { value, read: text, help, absent: (_, { root }) => `${root}/${path}`, shown: path };
}

function toggle(help: string): Flag<boolean> {
  return { value: null, read: () => Either.right(true), help, absent: () => false, shown: "" };
}

const DATA = "examples/data/train.jsonl", EVAL = "examples/data/eval.jsonl";

const BASE = "examples/base";

/** Learning rates that suit a method, used when `--lr` is not given: the small bundled model takes a higher one. */
function learningRate(method: MethodName, isBundled: boolean): number {
  if (method === "full") return 5e-4;
  return isBundled ? 6e-3 : 1e-3;
}

/** All flags, in the order of the help. */
export const FLAGS: Table = {
  model: {
    ...bundled("DIR", BASE, "model directory in the Hugging Face layout"),
    section: "Model and data",
  },
  data: bundled(
    "FILE",
    DATA,
    'rows to learn, JSON lines: {"question","answer"}, {"prompt","completion"}, {"text"} or {"messages"}',
  ),
  eval: {
    value: "FILE",
    read: (t) => Either.right(t === "none" ? null : t),
    help: "rows to measure on before and after, or none",
    absent: (get, { root }) => get("data") === `${root}/${DATA}` ? `${root}/${EVAL}` : null,
    shown: `${EVAL} with the default data, else none`,
  },
  out: {
    value: "DIR",
    read: text,
    help: "directory for the adapter, the metrics and the settings",
    absent: (get, { now }) =>
      `runs/${now.toISOString().slice(0, 19).replace("T", "-").replaceAll(":", "")}-${get("method")}`,
    shown: "runs/<date>-<method>",
  },
  method: {
    ...flag(
      "NAME",
      oneOf(...METHODS),
      "hybrid",
      `${METHODS.slice(0, -1).join(", ")} or ${METHODS.at(-1)}`,
    ),
    section: "Method",
  },
  target: flag("NAMES", text, "all-linear", "linear maps to adapt: q_proj,v_proj or patterns with *"),
  rank: flag("N", whole(1), DEFAULT_SETTINGS.rank, "rank of low-rank adapters, number of reflections of hra"),
  alpha: {
    value: "X",
    read: above0,
    help: "strength of the low-rank branch: alpha/rank multiplies it",
    absent: (get) => 2 * get("rank"),
    shown: "twice the rank",
  },
  block: {
    value: "N",
    read: whole(2),
    help: "size of the orthogonal blocks",
    absent: () => null,
    shown: "the largest of 8, 4, 2 that fits each map",
  },
  factors: {
    value: "N",
    read: whole(1),
    help: "butterfly factors: features mix within block·2^(factors−1)",
    absent: () => null,
    shown: "2 where they fit, else 1",
  },
  gamma: flag("X", above0, DEFAULT_SETTINGS.gamma, "LoRA-GA: γ, which makes its start smaller"),
  variant: flag(
    "NAME",
    oneOf("paper", "peft"),
    DEFAULT_SETTINGS.variant,
    "LoRA-GA: start as in the paper, or as in PEFT",
  ),
  startBatches: flag("N", whole(1), 4, "LoRA-GA: batches whose gradients it starts from"),
  layers: flag(
    "N",
    whole(1),
    DEFAULT_SETTINGS.layers,
    "givens: layers of rotations, at distances 1, 2, 4, …",
  ),
  rowScale: toggle("orthogonal methods: train a factor for each row of the weight too"),
  dropout: flag(
    "X",
    share,
    DEFAULT_SETTINGS.dropout,
    "orthogonal methods: share of the blocks that a step leaves out",
  ),
  neumann: {
    value: "N",
    read: whole(2),
    help: "orthogonal methods: terms of the Neumann series in place of the exact Cayley map",
    absent: () => null,
    shown: "exact",
  },
  space: flag(
    "NAME",
    oneOf("update", "delta", "generator"),
    DEFAULT_SETTINGS.space,
    "hybrid: where its weights act: update, delta or generator",
  ),
  scope: flag(
    "NAME",
    oneOf("module", "layer"),
    DEFAULT_SETTINGS.scope,
    "hybrid: weights for each map, or for each layer",
  ),
  input: flag(
    "NAME",
    oneOf("rotated", "raw"),
    DEFAULT_SETTINGS.input,
    "hybrid: what the low-rank branch reads",
  ),
  steps: {
    value: "N",
    read: whole(1),
    help: "optimiser steps; overrides --epochs",
    absent: () => null,
    shown: "what --epochs gives",
    section: "Training",
  },
  epochs: flag("X", above0, 1, "times over the data"),
  batch: flag("N", whole(1), 16, "rows of an optimiser step"),
  accumulate: flag(
    "N",
    whole(1),
    1,
    "equal parts that a batch is computed in, one after the other, to save memory",
  ),
  seq: flag("N", whole(2), 128, "longest sequence, in tokens; longer rows are cut and counted"),
  lr: {
    value: "X",
    read: above0,
    help: "learning rate",
    absent: (get, { root }) => learningRate(get("method"), get("model") === `${root}/${BASE}`),
    shown: `${learningRate("hybrid", false)}, bundled model ${learningRate("hybrid", true)}, full ${
      learningRate("full", true)
    }`,
  },
  orthogonalLr: {
    value: "X",
    read: above0,
    help: "learning rate of orthogonal parameters",
    absent: (get) => get("lr") / 2,
    shown: "half of --lr",
  },
  schedule: flag("NAME", oneOf("cosine", "linear", "constant"), "cosine", "cosine, linear or constant"),
  warmup: flag("X", from0, 0.05, "warm-up: a share of all steps below 1, otherwise steps"),
  clip: flag("X", from0, 1, "largest norm of the gradient; 0 for no limit"),
  seed: flag("N", whole(0, 2 ** 32 - 1), 0, "decides the order of the rows and the initial parameters"),
  device: { ...flag("NAME", oneOf("auto", "cpu", "gpu"), "auto", "auto, cpu or gpu"), section: "Running" },
  dtype: flag("NAME", oneOf("f32", "f16"), "f32", "storage of frozen weights, f32 or f16"),
  merge: toggle("write the model with what was trained merged in, as a model directory, to <out>/merged"),
  json: toggle("print the result as JSON on standard output"),
  help: toggle("show this text"),
};
