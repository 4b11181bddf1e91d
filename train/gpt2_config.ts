/** The configuration of a GPT-2, as Hugging Face writes it in `config.json`, checked field by field. @module */
import type { Attention } from "./attend.ts";
import { configFields, type FixedField, requireFixed, tokenIds } from "./config_fields.ts";

/** Sizes and constants of a model. */
export interface Gpt2Config extends Attention {
  readonly family: "gpt2";
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Width of the feed-forward block. */
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** As many as `heads`. */
  readonly kvHeads: number;
  /** Features of a head. */
  readonly headDim: number;
  readonly normEps: number;
  /** Whether the embedding is also the head: then there is no `lm_head.weight`. */
  readonly tiedEmbeddings: boolean;
  /** Rows of the table of positions. */
  readonly maxPositions: number;
  readonly bosId: number | null;
  /** Tokens that end a text; may be empty. */
  readonly eosIds: readonly number[];
  /** Dropout that the model was made with, by field: Gyre trains without. */
  readonly dropout: Readonly<Record<string, number>>;
}

/** Fields with one supported value. */
const FIXED: readonly FixedField[] = [
  {
    field: "activation_function",
    allowed: ["gelu_new", "gelu_pytorch_tanh"],
    why: "the feed-forward block uses gelu by tanh",
  },
  { field: "scale_attn_weights", allowed: [true], why: "scores are divided by the root of the head's size" },
  {
    field: "scale_attn_by_inverse_layer_idx",
    allowed: [false],
    why: "scores of all layers are scaled alike",
  },
  { field: "add_cross_attention", allowed: [false], why: "Gyre trains decoders alone" },
  {
    field: "quantization_config",
    allowed: [],
    why: "quantised weights cannot be read; use the original model",
  },
];

const DROPOUTS = ["attn_pdrop", "embd_pdrop", "resid_pdrop"];

/**
 * Understand `config.json` of model_type gpt2. Absent optional fields get Hugging Face's defaults: 1024 positions, a
 * feed-forward block of 4 · hidden, ε 10⁻⁵, tied embeddings, dropout 0.1. Throws CheckpointError naming file, field and value.
 */
export function parseGpt2Config(json: unknown, file: string): Gpt2Config {
  const fields = configFields(json, file);
  const { all, present, size, bad } = fields;
  requireFixed(fields, FIXED);
  const { architectures } = all;
  if (
    present("architectures") && !(Array.isArray(architectures) && architectures.includes("GPT2LMHeadModel"))
  ) {
    throw bad(
      "architectures",
      "Gyre trains GPT2LMHeadModel of model_type gpt2; choose a model of that layout",
    );
  }
  const hiddenSize = size("n_embd", 768), heads = size("n_head", 12);
  if (hiddenSize % heads !== 0) throw bad("n_embd", `expected a multiple of n_head, ${heads}`);
  const dropout = DROPOUTS.map((field) => {
    const value = present(field) ? all[field] : 0.1;
    if (typeof value === "number" && value >= 0 && value < 1) return [field, value] as const;
    throw bad(field, "expected a share from 0 to below 1");
  });
  return {
    family: "gpt2",
    vocabSize: size("vocab_size", 50257),
    hiddenSize,
    intermediateSize: size("n_inner", 4 * hiddenSize),
    layers: size("n_layer", 12),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    normEps: fields.positive("layer_norm_epsilon", 1e-5),
    tiedEmbeddings: fields.flag("tie_word_embeddings", true),
    maxPositions: size("n_positions", 1024),
    bosId: tokenIds(fields, "bos_token_id")[0] ?? null,
    eosIds: tokenIds(fields, "eos_token_id"),
    dropout: Object.fromEntries(dropout.filter(([, p]) => p > 0)),
  };
}
