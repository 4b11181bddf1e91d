/** The flags of `train.ts` as one table: what they take, what they mean, their defaults. @module */
import * as Either from "fp-ts/Either.js";
import { type AdapterSettings, DEFAULT_SETTINGS, SETTING_READERS } from "./adapter_specs.ts";
import { LARGE, STREAMS } from "./data/open_rows.ts";
import { type DeviceChoice, DEVICES } from "./devices.ts";
import { EVAL_FORMS } from "./evaluation/asked.ts";
import { GLUE_TASK_NAMES, type GlueTaskName } from "./evaluation/glue_tasks.ts";
import { type MethodName, METHODS } from "./methods.ts";
import { above0, from0, number, oneOf, text, whole } from "./readers.ts";
import { bundled, flag, type TableOf, toggle } from "./parse_flags.ts";
import { FORMAT_NAMES, type FormatName } from "./rows.ts";
import type { ScheduleName } from "./schedule.ts";

export type { MethodName } from "./methods.ts";
export type { Read } from "./readers.ts";

/** What a run is asked to do. */
export interface TrainOptions extends AdapterSettings {
  readonly model: string;
  readonly data: string;
  /** Rows and tasks to measure by, as parseAsked takes them; null: no evaluation. */
  readonly eval: string | null;
  /** Steps between evaluations; 0: before the first step and after the last alone. */
  readonly evalEvery: number;
  /** Rows of each file of `eval`, the first ones; null: all. */
  readonly evalLimit: number | null;
  /** Keep the state with the least held-out loss, and leave that. */
  readonly keepBest: boolean;
  /** Dropout of an encoder in place of its `config.json`'s; null: that. */
  readonly modelDropout: number | null;
  /** What rows look like; "auto": their fields say. */
  readonly format: FormatName | "auto";
  /** When rows are kept in a file of tokens in place of memory: "auto" for large files. */
  readonly stream: typeof STREAMS[number];
  /** Directory of those files; null: in the user's cache directory. */
  readonly tokenCache: string | null;
  /** Task of GLUE that an encoder learns; null: a language model learns the rows as text. */
  readonly task: GlueTaskName | null;
  readonly out: string;
  /** "compose" where an expression says what is trained. */
  readonly method: MethodName | "compose";
  /** Expression of adapters and their places; null: the method says what goes where. */
  readonly compose: string | null;
  /** Weights trained whole beside the adapters, as patterns separated by commas; null: none. */
  readonly saveModules: string | null;
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
  /** Put several examples into a row. */
  readonly pack: boolean;
  readonly lr: number;
  readonly orthogonalLr: number;
  readonly schedule: ScheduleName;
  /** Below 1 a share of all steps, otherwise steps. */
  readonly warmup: number;
  /** 0: no clipping. */
  readonly clip: number;
  readonly seed: number;
  readonly device: DeviceChoice;
  readonly dtype: "f32" | "f16";
  /** Null: dynamic with f16, none with f32. */
  readonly lossScale: "dynamic" | number | null;
  /** Null: a fresh adapter. */
  readonly adapter: string | null;
  readonly merge: boolean;
  /** Go on with the run in `out`. */
  readonly resume: boolean;
  /** Steps between checkpoints; 0: only when training ends. */
  readonly saveEvery: number;
  /** Checkpoints kept, the newest ones. */
  readonly keep: number;
  /** The file that flags were read from; null: none. */
  readonly config: string | null;
  /** Measure the tiles of products. */
  readonly tuneKernels: boolean;
  /** Keep no plans between runs. */
  readonly noCache: boolean;
  readonly dryRun: boolean;
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

/** A flag for each option. */
export type Table = TableOf<TrainOptions, Site>;

const DATA = "examples/data/train.jsonl", EVAL = "examples/data/eval.jsonl";

const BASE = "examples/base";

/**
 * Learning rates that suit a method, used when `--lr` is not given. For the bundled model they were chosen by measuring
 * (docs/RESULTS.md); larger models take lower ones.
 */
function learningRate(method: MethodName | "compose", isBundled: boolean): number {
  switch (method) {
    case "full":
      return isBundled ? 1.5e-3 : 5e-4;
    case "lora-ga":
    case "pissa":
    case "olora":
    case "hybrid":
    case "compose":
      return isBundled ? 1.8e-3 : 3e-4;
    case "boft":
    case "oft":
      return isBundled ? 1.8e-2 : 3e-3;
    default:
      return isBundled ? 6e-3 : 1e-3;
  }
}

const lossScaleNumber = number("dynamic, or a number above 0", (n) => n > 0);

/** All flags, in the order of the help. */
export const FLAGS: Table = {
  model: {
    ...bundled("DIR", BASE, "model directory in the Hugging Face layout, or an id of its hub: owner/name"),
    section: "Model and data",
  },
  data: bundled(
    "FILES",
    DATA,
    'rows to learn: a file, several with commas between, or a pattern as "rows-*.jsonl"; JSON lines, a JSON array, ' +
      'CSV or TSV, also packed by gzip, or parquet: {"question","answer"}, ' +
      '{"prompt","completion"}, {"text"}, {"messages"}, {"conversations"}, {"instruction","input","output"} or ' +
      '{"sentence","label"}',
  ),
  eval: {
    value: "FILE",
    read: (t) => Either.right(t === "none" ? null : t),
    join: (earlier, later) => [earlier, later].filter((t) => t !== null).join(",") || null,
    help:
      `rows to measure on before and after: a file, a pattern, a share of the data that is held out of it, as 5%, or none; tasks of evaluate.ts too, as ${EVAL_FORMS}; may be given several times`,
    absent: (get, { root }) => get("data") === `${root}/${DATA}` ? `${root}/${EVAL}` : null,
    shown: `${EVAL} with the default data, else none`,
  },
  format: flag(
    "NAME",
    oneOf("auto", ...FORMAT_NAMES),
    "auto",
    `what rows look like: ${
      FORMAT_NAMES.join(", ")
    }; auto: their fields say; otherwise fields too many are passed over`,
  ),
  evalEvery: flag(
    "N",
    whole(0),
    0,
    "steps between evaluations while training goes on; 0: only before and after",
  ),
  evalLimit: {
    value: "N",
    read: whole(1),
    help: "take the first N rows of each file of --eval",
    absent: () => null,
    shown: "all",
  },
  stream: flag(
    "NAME",
    oneOf(...STREAMS),
    "auto",
    `keep rows in a file of tokens in place of memory: always, never, or, with auto, above ${
      LARGE.text / 2 ** 20
    } MiB ` +
      `(${LARGE.packed / 2 ** 20} MiB of gzip or parquet)`,
  ),
  tokenCache: {
    value: "DIR",
    read: text,
    help: "directory for the tokens of large files, which may be removed when no run uses them",
    absent: () => null,
    shown: "tokens/ in GYRE_CACHE, by default ~/.cache/gyre",
  },
  task: {
    value: "NAME",
    read: oneOf(...GLUE_TASK_NAMES),
    help: `task of GLUE that an encoder (BERT, RoBERTa) with a head learns from its files: ${
      GLUE_TASK_NAMES.join(", ")
    }`,
    absent: () => null,
    shown: "none: a language model",
  },
  modelDropout: {
    value: "X",
    read: SETTING_READERS.dropout,
    help: "--task: share of hidden states, attention and the head's input that a step leaves out; 0: none",
    absent: () => null,
    shown: "what config.json says",
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
    value: "NAME",
    read: oneOf(...METHODS),
    help: `${METHODS.slice(0, -1).join(", ")} or ${METHODS.at(-1)}`,
    absent: (get) => get("compose") === null ? "hybrid" : "compose",
    shown: "hybrid",
    section: "Method",
  },
  compose: {
    value: "EXPR",
    read: (t) => Either.right(t),
    help:
      'adapters and their places in place of --method, as "on(attn, hybrid(lora-ga(r=16), boft(b=8))) + ' +
      'on(mlp, dora)"; see docs/ADAPTERS.md',
    absent: () => null,
    shown: "none",
  },
  target: flag("NAMES", text, "all-linear", "linear maps to adapt: q_proj,v_proj or patterns with *"),
  saveModules: {
    value: "NAMES",
    read: (t) => Either.right(t),
    help:
      "weights to train whole beside the adapters: lm_head, norm or patterns as *layernorm; embed_tokens trains " +
      "the head too where they are tied",
    absent: () => null,
    shown: "none",
  },
  rank: flag(
    "N",
    SETTING_READERS.rank,
    DEFAULT_SETTINGS.rank,
    "rank of low-rank adapters, number of reflections of hra",
  ),
  alpha: {
    value: "X",
    read: SETTING_READERS.alpha,
    help: "strength of the low-rank branch: alpha/rank multiplies it",
    absent: (get) => 2 * get("rank"),
    shown: "twice the rank",
  },
  block: {
    value: "N",
    read: SETTING_READERS.block,
    help: "size of the orthogonal blocks",
    absent: () => null,
    shown: "the largest of 8, 4, 2 that fits each map",
  },
  factors: {
    value: "N",
    read: SETTING_READERS.factors,
    help: "butterfly factors: features mix within block·2^(factors−1)",
    absent: () => null,
    shown: "2 where they fit, else 1",
  },
  gamma: flag(
    "X",
    SETTING_READERS.gamma,
    DEFAULT_SETTINGS.gamma,
    "LoRA-GA: γ, which makes its start smaller",
  ),
  variant: flag(
    "NAME",
    SETTING_READERS.variant,
    DEFAULT_SETTINGS.variant,
    "LoRA-GA: start as in the paper, or as in PEFT",
  ),
  startBatches: flag("N", whole(1), 4, "LoRA-GA: batches whose gradients it starts from"),
  layers: {
    value: "N",
    read: SETTING_READERS.layers,
    help: "givens: layers of rotations, at distances 1, 2, 4, …",
    absent: () => DEFAULT_SETTINGS.layers,
    shown: "as many as fit each map, at most 3",
  },
  rowScale: toggle("orthogonal methods: train a factor for each row of the weight too"),
  dropout: flag(
    "X",
    SETTING_READERS.dropout,
    DEFAULT_SETTINGS.dropout,
    "orthogonal methods: share of the blocks that a step leaves out",
  ),
  neumann: {
    value: "N",
    read: SETTING_READERS.neumann,
    help: "orthogonal methods: terms of the Neumann series in place of the exact Cayley map",
    absent: () => null,
    shown: "exact",
  },
  space: flag(
    "NAME",
    SETTING_READERS.space,
    DEFAULT_SETTINGS.space,
    "hybrid: where its weights act: update, delta or generator",
  ),
  scope: flag(
    "NAME",
    SETTING_READERS.scope,
    DEFAULT_SETTINGS.scope,
    "hybrid: weights for each map, or for each layer",
  ),
  input: flag(
    "NAME",
    SETTING_READERS.input,
    DEFAULT_SETTINGS.input,
    "hybrid: what the low-rank branch reads",
  ),
  ema: flag(
    "X",
    SETTING_READERS.ema,
    DEFAULT_SETTINGS.ema,
    "hybrid: share of its old weights that a step keeps",
  ),
  clamp: flag("X", SETTING_READERS.clamp, DEFAULT_SETTINGS.clamp, "hybrid: the least weight of a branch"),
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
  pack: toggle(
    "put several rows of the data into one of --seq positions, each seeing itself alone: less padding, larger batches",
  ),
  lr: {
    value: "X",
    read: above0,
    help: "learning rate",
    absent: (get, { root }) => learningRate(get("method"), get("model") === `${root}/${BASE}`),
    shown: `by method: hybrid ${learningRate("hybrid", false)}, bundled model ${
      learningRate("hybrid", true)
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
  device: {
    ...flag("NAME", oneOf(...DEVICES), "auto", `${DEVICES.slice(0, -1).join(", ")} or ${DEVICES.at(-1)}`),
    section: "Running",
  },
  dtype: flag(
    "NAME",
    oneOf("f32", "f16"),
    "f32",
    "storage of frozen weights, f32 or f16; with f16, matrix units may multiply in f16, adding up in f32",
  ),
  lossScale: {
    value: "X",
    read: (t) => t === "dynamic" ? Either.right(t) : lossScaleNumber(t),
    help:
      "with f16: factor of the loss, so that small gradients are held: dynamic (lower after a step that overflows, " +
      "higher after 2000 that do not), or a number, by the sum of the losses",
    absent: (get) => get("dtype") === "f16" ? "dynamic" : null,
    shown: "dynamic with f16, else none",
  },
  adapter: {
    value: "DIR",
    read: text,
    help:
      "go on with this adapter: one that a run left, or a directory of Hugging Face PEFT; its method stands",
    absent: () => null,
    shown: "none",
  },
  merge: toggle("write the model with what was trained merged in, as a model directory, to <out>/merged"),
  resume: toggle(
    "go on with the run in --out from its newest checkpoint; its flags stand, --steps is the total",
  ),
  saveEvery: flag(
    "N",
    whole(0),
    100,
    "steps between checkpoints; 0: one when training ends or is interrupted",
  ),
  keep: flag("N", whole(1), 2, "checkpoints to keep, the newest ones"),
  keepBest: toggle(
    "keep the state with the least held-out loss of --eval-every in <out>/best, and leave that at the end",
  ),
  config: {
    value: "FILE",
    read: text,
    help:
      "flags from a JSON or TOML file, such as the config.json that a run left; those of the command line win",
    absent: () => null,
    shown: "none",
  },
  tuneKernels: toggle(
    "measure which tiles the products of a step are fastest with on this GPU, once: kept in the cache; numbers change " +
      "in their last digits",
  ),
  noCache: toggle(
    "neither read nor keep plans and tiles of earlier runs (in GYRE_CACHE, by default ~/.cache/gyre; at most 64 MiB)",
  ),
  dryRun: toggle(
    "only show the first rows as the model sees them, their lengths, the steps and the memory; nothing is written",
  ),
  json: toggle("print the result as JSON on standard output"),
  help: toggle("show this text"),
};
