/** Flags of `train.ts` on what is trained. @module */
import * as Either from "fp-ts/Either.js";
import { DEFAULT_SETTINGS, SETTING_READERS } from "../adapter_specs.ts";
import { METHODS } from "../methods.ts";
import { flag, toggle } from "../parse_flags.ts";
import { oneOf, text, whole } from "../readers.ts";
import type { Table } from "../train_options.ts";

/** In the order of the help. */
export const METHOD_FLAGS = {
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
} satisfies Partial<Table>;
