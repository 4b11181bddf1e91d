/** The configuration of a decoder of Llama's layout, as Hugging Face writes it in `config.json`, checked field by field. @module */
import type { Attention } from "./attend.ts";
import { type ConfigFields, configFields, type FixedField, requireFixed, tokenIds } from "./config_fields.ts";
import { FAMILIES, type Family, OTHER_TYPES } from "./model_families.ts";
import { parseRope, type RopeScaling } from "./rope_scaling.ts";

/** Sizes and constants of a model. */
export interface LlamaConfig extends Attention {
  readonly family?: "llama";
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Width of the feed-forward block. */
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Heads of keys and values; `heads` is a multiple of it. */
  readonly kvHeads: number;
  /** Features of a head, even. */
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  /** Whether the embedding is also the head: then there is no `lm_head.weight`. */
  readonly tiedEmbeddings: boolean;
  /** Longest sequence that the model was made for. */
  readonly maxPositions: number;
  readonly bosId: number | null;
  /** Tokens that end a text; may be empty. */
  readonly eosIds: readonly number[];
  /** How rotary frequencies differ from those of θ; absent: not at all. */
  readonly ropeScaling?: RopeScaling;
  /** Maps that add a bias, by the last part of their path (`q_proj`); absent: none. */
  readonly biases?: readonly string[];
  /** Whether queries and keys are normed head by head (`q_norm`, `k_norm`) before they are turned; absent: no. */
  readonly headNorms?: boolean;
}

/** Fields with one supported value in all families. */
const FIXED: readonly FixedField[] = [
  { field: "hidden_act", allowed: ["silu", "swish"], why: "the feed-forward block uses silu" },
  { field: "attention_dropout", allowed: [0], why: "attention has no dropout; set it to 0 to train without" },
  { field: "partial_rotary_factor", allowed: [1], why: "rotary positions turn all features of a head" },
  {
    field: "quantization_config",
    allowed: [],
    why: "quantised weights cannot be read; use the original model",
  },
];

/** The deepest decoders have a few hundred. */
const MOST_LAYERS = 4096;

/**
 * Understand `config.json`. `model_type` says the family, llama where it is absent; absent optional fields get Hugging
 * Face's defaults for it: for Llama as many key heads as heads, head size hidden/heads, 2048 positions, for all ε 10⁻⁶,
 * θ 10000, untied embeddings. Throws CheckpointError naming file, field and value.
 */
export function parseLlamaConfig(json: unknown, file: string): LlamaConfig {
  const fields = configFields(json, file);
  const { all, present, size, bad } = fields;
  const family = familyOf(fields);
  requireFixed(fields, [...family.fixed, ...FIXED]);

  const hiddenSize = size("hidden_size");
  const heads = size("num_attention_heads");
  // A null means what it means to plain Llama, in all families.
  const absent = (field: string, value?: number): number | undefined =>
    all[field] === null ? undefined : value;
  const kvHeads = size(
    "num_key_value_heads",
    absent("num_key_value_heads", family.absent.kvHeads) ?? heads,
  );
  if (heads % kvHeads !== 0) {
    throw bad(
      "num_key_value_heads",
      `expected a divisor of num_attention_heads, ${heads}${
        present("num_key_value_heads") ? "" : `; where it is absent it is ${kvHeads}`
      }`,
    );
  }
  const ownHeadDim = absent("head_dim", family.absent.headDim);
  if (!present("head_dim") && ownHeadDim === undefined && hiddenSize % heads !== 0) {
    throw bad(
      "hidden_size",
      `expected a multiple of num_attention_heads, ${heads}, or head_dim to be given`,
    );
  }
  const headDim = size("head_dim", ownHeadDim ?? hiddenSize / heads);
  if (headDim % 2 !== 0) {
    throw bad("head_dim", "expected an even number: rotary positions turn pairs of features");
  }
  const layers = size("num_hidden_layers");
  if (layers > MOST_LAYERS) throw bad("num_hidden_layers", `expected at most ${MOST_LAYERS}`);
  const { theta, scaling } = parseRope(fields);
  const biases = family.biases(fields), windows = family.windows(fields, layers);

  return {
    vocabSize: size("vocab_size"),
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    layers,
    heads,
    kvHeads,
    headDim,
    rmsNormEps: fields.positive("rms_norm_eps", 1e-6),
    ropeTheta: theta,
    tiedEmbeddings: fields.flag("tie_word_embeddings", false),
    maxPositions: size("max_position_embeddings", family.absent.maxPositions),
    bosId: tokenIds(fields, "bos_token_id")[0] ?? null,
    eosIds: tokenIds(fields, "eos_token_id"),
    ...(scaling ? { ropeScaling: scaling } : {}),
    ...(biases.length > 0 ? { biases } : {}),
    ...(family.headNorms ? { headNorms: true } : {}),
    ...(windows.some((w) => w !== null) ? { windows } : {}),
  };
}

function familyOf(fields: ConfigFields): Family {
  const type = fields.present("model_type") ? fields.all["model_type"] : "llama";
  const family = typeof type === "string" ? FAMILIES.get(type) : undefined;
  if (!family) {
    const types = [...FAMILIES.keys(), ...OTHER_TYPES].map((t) => JSON.stringify(t)).join(", ");
    throw fields.bad(
      "model_type",
      `expected one of ${types}: Gyre trains models of these families; bert and roberta learn tasks, see train.ts --task`,
    );
  }
  const { architectures } = fields.all;
  if (
    fields.present("architectures") &&
    !(Array.isArray(architectures) && architectures.includes(family.architecture))
  ) {
    throw fields.bad(
      "architectures",
      `Gyre trains ${family.architecture} of model_type ${type}; choose a model of that layout`,
    );
  }
  return family;
}
