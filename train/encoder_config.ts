/** The configuration of an encoder of BERT's layout, as Hugging Face writes it in `config.json`, checked field by field. @module */
import { configFields, type FixedField, requireFixed } from "./config_fields.ts";

/** Families of encoders: BERT, arXiv:1810.04805; RoBERTa, arXiv:1907.11692. */
export type EncoderFamily = "bert" | "roberta";

/** Activations of the feed-forward block: the exact GELU, and that by tanh. */
export type EncoderActivation = "gelu" | "gelu_tanh";

/** Sizes and constants of an encoder. */
export interface EncoderConfig {
  /** Also what the names of all its weights begin with. */
  readonly family: EncoderFamily;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Width of the feed-forward block. */
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Rows of the table of positions. */
  readonly positionRows: number;
  /** Row of the first position: RoBERTa leaves those up to its padding token's out. */
  readonly firstPosition: number;
  /** Longest sequence. */
  readonly maxPositions: number;
  /** Kinds of tokens: those of the first and of the second sentence. */
  readonly typeCount: number;
  readonly layerNormEps: number;
  readonly activation: EncoderActivation;
  readonly dropout: EncoderDropout;
}

/** Shares that a training step leaves out, in [0, 1). */
export interface EncoderDropout {
  /** Of the embeddings, and of what each block adds. */
  readonly hidden: number;
  /** Of the weights of attention. */
  readonly attention: number;
  /** Of what the head reads. */
  readonly head: number;
}

const ACTIVATIONS: ReadonlyMap<unknown, EncoderActivation> = new Map([
  ["gelu", "gelu"],
  ["gelu_new", "gelu_tanh"],
  ["gelu_pytorch_tanh", "gelu_tanh"],
]);

/** Fields with one supported value. */
const FIXED: readonly FixedField[] = [
  { field: "position_embedding_type", allowed: ["absolute"], why: "positions are learnt vectors" },
  { field: "is_decoder", allowed: [false], why: "encoders attend to all positions" },
  { field: "add_cross_attention", allowed: [false], why: "encoders attend to themselves alone" },
  {
    field: "quantization_config",
    allowed: [],
    why: "quantised weights cannot be read; use the original model",
  },
];

/** Whether a `config.json` is that of an encoder, by its `model_type`. */
export function isEncoderConfig(json: unknown): boolean {
  const type = (Object(json) as { readonly model_type?: unknown }).model_type;
  return type === "bert" || type === "roberta";
}

/**
 * Understand `config.json`. Absent fields have Hugging Face's defaults: 2 kinds of tokens, ε 10⁻¹², the exact GELU, 512
 * positions, padding token 1 of RoBERTa, dropout of 0.1, of the head as of hidden states. Throws CheckpointError naming file, field and value.
 */
export function parseEncoderConfig(json: unknown, file: string): EncoderConfig {
  const fields = configFields(json, file), { all, present, size, positive, bad } = fields;
  const family = all["model_type"];
  if (family !== "bert" && family !== "roberta") {
    throw bad("model_type", 'expected "bert" or "roberta": Gyre classifies with encoders of these families');
  }
  requireFixed(fields, FIXED);
  const activation = ACTIVATIONS.get(present("hidden_act") ? all["hidden_act"] : "gelu");
  if (!activation) throw bad("hidden_act", `expected one of ${[...ACTIVATIONS.keys()].join(", ")}`);
  const hiddenSize = size("hidden_size"), heads = size("num_attention_heads");
  if (hiddenSize % heads !== 0) {
    throw bad("hidden_size", `expected a multiple of num_attention_heads, ${heads}`);
  }
  const positionRows = size("max_position_embeddings", 512);
  const padId = all["pad_token_id"] ?? 1;
  if (family === "roberta" && !(Number.isSafeInteger(padId) && Number(padId) >= 0)) {
    throw bad("pad_token_id", "expected a token's number: positions are counted from behind it");
  }
  const firstPosition = family === "roberta" ? Number(padId) + 1 : 0;
  if (firstPosition >= positionRows) {
    throw bad("max_position_embeddings", `expected more than ${firstPosition}, where positions begin`);
  }
  const rate = (field: string, absent: number): number => {
    const value = all[field] ?? absent;
    if (typeof value === "number" && value >= 0 && value < 1) return value;
    throw bad(field, "expected a number from 0 up to, but not, 1");
  };
  const hidden = rate("hidden_dropout_prob", 0.1);
  return {
    family,
    vocabSize: size("vocab_size"),
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    layers: size("num_hidden_layers"),
    heads,
    positionRows,
    firstPosition,
    maxPositions: positionRows - firstPosition,
    typeCount: size("type_vocab_size", 2),
    layerNormEps: positive("layer_norm_eps", 1e-12),
    activation,
    dropout: {
      hidden,
      attention: rate("attention_probs_dropout_prob", 0.1),
      head: rate("classifier_dropout", hidden),
    },
  };
}

/** The configuration with one rate of dropout everywhere, where it is given. */
export function withDropout(config: EncoderConfig, rate: number | null): EncoderConfig {
  return rate === null ? config : { ...config, dropout: { hidden: rate, attention: rate, head: rate } };
}
