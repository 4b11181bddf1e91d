/** The configuration of a Llama-layout model, as Hugging Face writes it in `config.json`, checked field by field. @module */
import { CheckpointError } from "./errors.ts";

/** Sizes and constants of a model. */
export interface LlamaConfig {
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
}

/** Fields with one supported value, what absence means, and what to say of others. */
const FIXED: readonly {
  readonly field: string;
  readonly allowed: readonly unknown[];
  readonly why: string;
}[] = [
  { field: "model_type", allowed: ["llama"], why: "Gyre trains models of the Llama layout" },
  { field: "hidden_act", allowed: ["silu", "swish"], why: "the feed-forward block uses silu" },
  { field: "attention_bias", allowed: [false], why: "projections have no bias" },
  { field: "mlp_bias", allowed: [false], why: "projections have no bias" },
  { field: "attention_dropout", allowed: [0], why: "attention has no dropout; set it to 0 to train without" },
  {
    field: "quantization_config",
    allowed: [],
    why: "quantised weights cannot be read; use the original model",
  },
];

/**
 * Understand `config.json`. Absent optional fields get Hugging Face's defaults: as many key heads as heads, head size
 * hidden/heads, ε 10⁻⁶, θ 10000, 2048 positions, untied embeddings. Throws CheckpointError naming file, field and value.
 */
export function parseLlamaConfig(json: unknown, file: string): LlamaConfig {
  const bad = (field: string, value: unknown, expected: string): CheckpointError =>
    new CheckpointError(`${file}: ${field} is ${JSON.stringify(value)}; ${expected}.`, {
      file,
      field,
      value,
    });
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new CheckpointError(`${file}: expected a JSON object with the model's sizes.`, { file });
  }
  const fields = json as Readonly<Record<string, unknown>>;
  const present = (field: string): boolean => fields[field] !== undefined && fields[field] !== null;
  const size = (field: string, absent?: number): number => {
    const value = present(field) ? fields[field] : absent;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1) return value;
    throw bad(field, value ?? null, "expected a whole number from 1 on");
  };
  const positive = (field: string, value: unknown): number => {
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
    throw bad(field, value, "expected a number above 0");
  };
  const flag = (field: string, absent: boolean): boolean => {
    const value = present(field) ? fields[field] : absent;
    if (typeof value === "boolean") return value;
    throw bad(field, value, "expected true or false");
  };

  const { architectures } = fields;
  if (
    present("architectures") && !(Array.isArray(architectures) && architectures.includes("LlamaForCausalLM"))
  ) {
    throw bad("architectures", architectures, "Gyre trains LlamaForCausalLM; choose a model of that layout");
  }
  for (const { field, allowed, why } of FIXED) {
    if (!present(field) || allowed.includes(fields[field])) continue;
    const values = allowed.map((v) => JSON.stringify(v)).join(" or ") || "it to be absent";
    throw bad(field, fields[field], `expected ${values}: ${why}`);
  }

  const hiddenSize = size("hidden_size");
  const heads = size("num_attention_heads");
  const kvHeads = size("num_key_value_heads", heads);
  if (heads % kvHeads !== 0) {
    throw bad("num_key_value_heads", kvHeads, `expected a divisor of num_attention_heads, ${heads}`);
  }
  if (!present("head_dim") && hiddenSize % heads !== 0) {
    throw bad(
      "hidden_size",
      hiddenSize,
      `expected a multiple of num_attention_heads, ${heads}, or head_dim to be given`,
    );
  }
  const headDim = size("head_dim", hiddenSize / heads);
  if (headDim % 2 !== 0) {
    throw bad("head_dim", headDim, "expected an even number: rotary positions turn pairs of features");
  }

  return {
    vocabSize: size("vocab_size"),
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    layers: size("num_hidden_layers"),
    heads,
    kvHeads,
    headDim,
    rmsNormEps: positive("rms_norm_eps", fields["rms_norm_eps"] ?? 1e-6),
    ropeTheta: positive("rope_theta", ropeTheta(fields, bad)),
    tiedEmbeddings: flag("tie_word_embeddings", false),
    maxPositions: size("max_position_embeddings", 2048),
    bosId: tokenIds(fields, "bos_token_id", bad)[0] ?? null,
    eosIds: tokenIds(fields, "eos_token_id", bad),
  };
}

type Bad = (field: string, value: unknown, expected: string) => CheckpointError;

/** θ, from `rope_theta` or from the newer `rope_parameters`; refuses scaled rotary positions. */
function ropeTheta(fields: Readonly<Record<string, unknown>>, bad: Bad): unknown {
  let theta = fields["rope_theta"];
  for (const field of ["rope_scaling", "rope_parameters"]) {
    const value = fields[field];
    if (value === undefined || value === null) continue;
    const { rope_type, type, rope_theta } = value as Readonly<Record<string, unknown>>;
    if ((rope_type ?? type ?? "default") !== "default") {
      throw bad(
        field,
        value,
        "scaled rotary positions are not supported; use a model without (null or type default)",
      );
    }
    theta ??= rope_theta;
  }
  return theta ?? 10000;
}

function tokenIds(fields: Readonly<Record<string, unknown>>, field: string, bad: Bad): readonly number[] {
  const value = fields[field];
  if (value === undefined || value === null) return [];
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (ids.every((id): id is number => Number.isSafeInteger(id))) return ids;
  throw bad(field, value, "expected a token id or a list of them");
}
