/** Families of decoders by `model_type`: how each differs from plain Llama, and what its absent fields mean. @module */
import type { ConfigFields, FixedField } from "./config_fields.ts";

/** A family of models. */
export interface Family {
  /** The class in Hugging Face transformers. */
  readonly architecture: string;
  /** Hugging Face's values of absent fields; no number: as many key heads as heads, head size hidden / heads. */
  readonly absent: {
    readonly kvHeads?: number;
    readonly headDim?: number;
    readonly maxPositions: number;
  };
  /** Fields with one supported value. */
  readonly fixed: readonly FixedField[];
  /** Maps that add a bias, by the last part of their path. */
  readonly biases: (fields: ConfigFields) => readonly string[];
  /** Whether queries and keys are normed head by head before they are turned. */
  readonly headNorms: boolean;
  /** How many positions each layer sees, itself included; null: all before it. */
  readonly windows: (fields: ConfigFields, layers: number) => readonly (number | null)[];
}

const QKV: readonly string[] = ["q_proj", "k_proj", "v_proj"];
const QKVO: readonly string[] = [...QKV, "o_proj"];
const MLP: readonly string[] = ["gate_proj", "up_proj", "down_proj"];

const SAME_LAYERS: FixedField = {
  field: "layer_types",
  allowed: [],
  why: "all layers of this family attend alike",
};
const NO_MLP_BIAS: FixedField = {
  field: "mlp_bias",
  allowed: [false],
  why: "the feed-forward block of this family has no bias",
};
/** Hugging Face's, where the field is absent. */
const WINDOW = 4096;

/** The window that `sliding_window` says; null means none, absence the default. */
function slidingWindow(fields: ConfigFields): number | null {
  return fields.all["sliding_window"] === null ? null : fields.size("sliding_window", WINDOW);
}

/** Qwen's layers: all of them see everything, or some have a window, by `layer_types` or from `max_window_layers` on. */
function qwenWindows(fields: ConfigFields, layers: number): readonly (number | null)[] {
  const window = fields.flag("use_sliding_window", false) ? slidingWindow(fields) : null;
  if (!fields.present("layer_types")) {
    const from = fields.all["max_window_layers"] === 0 ? 0 : fields.size("max_window_layers", 28);
    return Array.from({ length: layers }, (_, i) => i >= from ? window : null);
  }
  const types = fields.all["layer_types"];
  if (!Array.isArray(types) || types.length !== layers) {
    throw fields.bad("layer_types", `expected a list with one entry for each of ${layers} layers`);
  }
  return types.map((type) => {
    if (type === "full_attention") return null;
    if (type !== "sliding_attention") {
      throw fields.bad("layer_types", "layers are full_attention or sliding_attention");
    }
    if (window !== null) return window;
    throw fields.bad("layer_types", "sliding_attention needs use_sliding_window true and sliding_window");
  });
}

/** Types of models with a layout of their own. */
export const OTHER_TYPES: readonly string[] = ["gpt2", "gemma2", "gemma3_text"];

/** Families of Llama's layout by `model_type`. */
export const FAMILIES: ReadonlyMap<string, Family> = new Map<string, Family>([
  ["llama", {
    architecture: "LlamaForCausalLM",
    absent: { maxPositions: 2048 },
    fixed: [SAME_LAYERS, {
      field: "sliding_window",
      allowed: [],
      why: "Llama attends to all earlier positions; of model_type mistral are those that do not",
    }],
    biases: (fields) => [
      ...(fields.flag("attention_bias", false) ? QKVO : []),
      ...(fields.flag("mlp_bias", false) ? MLP : []),
    ],
    headNorms: false,
    windows: (_, layers) => Array<null>(layers).fill(null),
  }],
  ["mistral", {
    architecture: "MistralForCausalLM",
    absent: { kvHeads: 8, maxPositions: 131072 },
    fixed: [SAME_LAYERS, NO_MLP_BIAS, {
      field: "attention_bias",
      allowed: [false],
      why: "Mistral's projections have no bias",
    }],
    biases: () => [],
    headNorms: false,
    windows: (fields, layers) => Array<number | null>(layers).fill(slidingWindow(fields)),
  }],
  ["qwen2", {
    architecture: "Qwen2ForCausalLM",
    absent: { kvHeads: 32, maxPositions: 32768 },
    fixed: [NO_MLP_BIAS, {
      field: "attention_bias",
      allowed: [true],
      why: "Qwen2's queries, keys and values have a bias",
    }],
    biases: () => QKV,
    headNorms: false,
    windows: qwenWindows,
  }],
  ["qwen3", {
    architecture: "Qwen3ForCausalLM",
    absent: { kvHeads: 32, headDim: 128, maxPositions: 32768 },
    fixed: [NO_MLP_BIAS],
    biases: (fields) => fields.flag("attention_bias", false) ? QKVO : [],
    headNorms: true,
    windows: qwenWindows,
  }],
]);
