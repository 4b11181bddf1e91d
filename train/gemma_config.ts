/** The configuration of a Gemma 2 or of a text model of Gemma 3, as Hugging Face writes it, checked field by field. @module */
import type { Windows } from "./attend.ts";
import { type ConfigFields, configFields, type FixedField, requireFixed, tokenIds } from "./config_fields.ts";
import type { LlamaConfig } from "./llama_config.ts";
import { parseRope, type RopeConfig, scalingOf } from "./rope_scaling.ts";

/** Sizes and constants of a model: those of Llama, and its own. */
export interface GemmaConfig extends Omit<LlamaConfig, "family"> {
  readonly family: "gemma";
  /** What scores are multiplied by. */
  readonly queryScale: number;
  /** Logits x become cap · tanh(x / cap); absent: they stay. */
  readonly logitCap?: number;
  /** θ of the layers with a window; absent: that of the others. */
  readonly localTheta?: number;
}

/** What differs between the two. */
interface Version {
  readonly architecture: string;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly logitCap: number | null;
  /** One layer of so many sees all. */
  readonly pattern: number;
  readonly headNorms: boolean;
}

const VERSIONS: Readonly<Record<"gemma2" | "gemma3_text", Version>> = {
  gemma2: {
    architecture: "Gemma2ForCausalLM",
    vocabSize: 256000,
    maxPositions: 8192,
    logitCap: 30,
    pattern: 2,
    headNorms: false,
  },
  gemma3_text: {
    architecture: "Gemma3ForCausalLM",
    vocabSize: 262208,
    maxPositions: 131072,
    logitCap: null,
    pattern: 6,
    headNorms: true,
  },
};

const ACTIVATION: Pick<FixedField, "allowed" | "why"> = {
  allowed: ["gelu_pytorch_tanh"],
  why: "the feed-forward block uses gelu by tanh",
};
const FIXED: readonly FixedField[] = [
  { field: "hidden_activation", ...ACTIVATION },
  { field: "hidden_act", ...ACTIVATION },
  { field: "attention_bias", allowed: [false], why: "Gemma's projections have no bias" },
  { field: "attention_dropout", allowed: [0], why: "attention has no dropout; set it to 0 to train without" },
  { field: "use_bidirectional_attention", allowed: [false], why: "Gyre trains decoders" },
  {
    field: "quantization_config",
    allowed: [],
    why: "quantised weights cannot be read; use the original model",
  },
];
const NO_SCORE_CAP: FixedField = {
  field: "attn_logit_softcapping",
  allowed: [],
  why: "Gemma 3 does not cap its scores",
};

/**
 * Understand `config.json` of model_type gemma2 or gemma3_text; absent fields get Hugging Face's defaults. Throws
 * CheckpointError naming file, field and value.
 */
export function parseGemmaConfig(json: unknown, file: string): GemmaConfig {
  const fields = configFields(json, file);
  const { all, present, size, bad } = fields;
  const type = all["model_type"] === "gemma3_text" ? "gemma3_text" : "gemma2", version = VERSIONS[type];
  requireFixed(fields, type === "gemma2" ? FIXED : [...FIXED, NO_SCORE_CAP]);
  const { architectures } = all;
  if (
    present("architectures") &&
    !(Array.isArray(architectures) && architectures.includes(version.architecture))
  ) {
    throw bad(
      "architectures",
      `Gyre trains ${version.architecture} of model_type ${type}; choose a model of that layout`,
    );
  }
  const heads = size("num_attention_heads", 8), kvHeads = size("num_key_value_heads", 4);
  if (heads % kvHeads !== 0) throw bad("num_key_value_heads", `expected a divisor of ${heads}`);
  const headDim = size("head_dim", 256), layers = size("num_hidden_layers", 26);
  if (headDim % 2 !== 0) {
    throw bad("head_dim", "expected an even number: rotary positions turn pairs of features");
  }
  const scoreCap = type === "gemma2" ? cap(fields, "attn_logit_softcapping", 50) : null;
  const logitCap = cap(fields, "final_logit_softcapping", version.logitCap);
  const windows = windowsOf(fields, layers, version.pattern);
  const { scaling, theta, local } = type === "gemma2" ? { ...parseRope(fields), local: null } : ropes(fields);
  return {
    family: "gemma",
    vocabSize: size("vocab_size", version.vocabSize),
    hiddenSize: size("hidden_size", 2304),
    intermediateSize: size("intermediate_size", 9216),
    layers,
    heads,
    kvHeads,
    headDim,
    rmsNormEps: fields.positive("rms_norm_eps", 1e-6),
    ropeTheta: theta,
    tiedEmbeddings: fields.flag("tie_word_embeddings", true),
    maxPositions: size("max_position_embeddings", version.maxPositions),
    bosId: tokenIds(fields, "bos_token_id")[0] ?? null,
    eosIds: tokenIds(fields, "eos_token_id"),
    queryScale: 1 / Math.sqrt(fields.positive("query_pre_attn_scalar", 256)),
    ...(scaling ? { ropeScaling: scaling } : {}),
    ...(version.headNorms ? { headNorms: true } : {}),
    ...(windows.some((w) => w !== null) ? { windows } : {}),
    ...(scoreCap === null ? {} : { scoreCap }),
    ...(logitCap === null ? {} : { logitCap }),
    ...(local === null ? {} : { localTheta: local }),
  };
}

/** A cap; null in the file means none. */
function cap({ all, positive }: ConfigFields, field: string, absent: number | null): number | null {
  const value = Object.hasOwn(all, field) ? all[field] : absent;
  return value === null ? null : positive(field, absent ?? undefined);
}

function windowsOf(fields: ConfigFields, layers: number, pattern: number): Windows {
  const window = fields.all["sliding_window"] === null ? null : fields.size("sliding_window", 4096);
  const every = fields.size("sliding_window_pattern", pattern);
  if (!fields.present("layer_types")) {
    return Array.from({ length: layers }, (_, i) => (i + 1) % every === 0 ? null : window);
  }
  const types = fields.all["layer_types"];
  const known = ["full_attention", "sliding_attention"];
  if (!Array.isArray(types) || types.length !== layers || !types.every((t) => known.includes(t))) {
    throw fields.bad("layer_types", `expected ${layers} entries, full_attention or sliding_attention`);
  }
  return types.map((t) => t === "full_attention" ? null : window);
}

/** Gemma 3's two θ; what is scaled are the layers that see all. */
function ropes(fields: ConfigFields): RopeConfig & { readonly local: number } {
  const legacy = {
    theta: fields.positive("rope_theta", 1e6),
    local: fields.positive("rope_local_base_freq", 1e4),
  };
  if (!fields.present("rope_parameters")) {
    return { ...legacy, ...(fields.present("rope_scaling") ? scalingOf(fields, "rope_scaling") : {}) };
  }
  const both = fields.object("rope_parameters");
  const of = (field: string) => both.present(field) ? scalingOf(both, field) : {};
  const full = of("full_attention"), sliding = of("sliding_attention");
  if (sliding.scaling) {
    throw both.bad("sliding_attention", "positions of layers with a window are not scaled");
  }
  return {
    theta: full.theta ?? legacy.theta,
    local: sliding.theta ?? legacy.local,
    ...(full.scaling ? { scaling: full.scaling } : {}),
  };
}
