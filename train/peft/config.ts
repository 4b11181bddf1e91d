/** `adapter_config.json` of Hugging Face PEFT: read field by field, and written. Facts: peft 0.21, the configuration classes of its tuners. @module */
import { MOST_TERMS } from "../adapter_specs.ts";
import { fieldsOf, type PeftFields } from "./fields.ts";

/** Value for the maps that a regular expression matches, as `rank_pattern` and `alpha_pattern` have it; the first match wins. */
export type PeftPattern = readonly (readonly [expression: string, value: number])[];

/** LoRA and what is made of it: s = alpha / rank, or alpha / √rank. */
export interface PeftLora {
  readonly kind: "LORA";
  readonly rank: number;
  readonly alpha: number;
  readonly rankStabilised: boolean;
  readonly dora: boolean;
  readonly dropout: number;
  readonly rankPattern: PeftPattern;
  readonly alphaPattern: PeftPattern;
}

/** Size of orthogonal blocks: given itself, or as their number, which divides the input. */
export type PeftBlocks = { readonly size: number } | { readonly count: number };

/** OFT; `neumannTerms` terms of the Cayley map's series, or null for the exact map. */
export interface PeftOft {
  readonly kind: "OFT";
  readonly blocks: PeftBlocks;
  readonly neumannTerms: number | null;
  readonly dropout: number;
}

/** BOFT with its row scale. */
export interface PeftBoft {
  readonly kind: "BOFT";
  readonly blocks: PeftBlocks;
  readonly factors: number;
  readonly dropout: number;
}

/** Householder reflections. */
export interface PeftHra {
  readonly kind: "HRA";
  readonly rank: number;
  /** Whether the vectors are made orthonormal first (`apply_GS`). */
  readonly gramSchmidt: boolean;
}

/** A method of PEFT and its sizes. */
export type PeftMethod = PeftLora | PeftOft | PeftBoft | PeftHra;

/** Which modules of a model are adapted; a text is a regular expression for the whole path, or `all-linear`. */
export interface PeftTargets {
  readonly modules: string | readonly string[];
  readonly exclude: string | readonly string[];
  /** Layers by number; null for all. */
  readonly layers: readonly number[] | null;
  /** Names of the list of layers; empty for any. */
  readonly layersPattern: readonly string[];
  /** Modules that are trained and saved whole. */
  readonly saved: readonly string[];
}

/** What a directory of PEFT says of its adapter. */
export interface PeftConfig {
  readonly method: PeftMethod;
  readonly targets: PeftTargets;
  readonly bias: "none" | "all" | "only";
  /** Whether the adapted layers of the base store their weights [in, out]. The adapter's own tensors are the same. */
  readonly fanInFanOut: boolean;
  readonly base: string | null;
  readonly taskType: string | null;
}

/** Fields that say nothing about the adapted function. */
const HARMLESS = ["auto_mapping", "revision", "inference_mode", "peft_version", "runtime_config"];
/** How a fresh adapter would start, or settings of methods that are off: the values in the file replace the former. */
const HARMLESS_HERE: Readonly<Record<PeftMethod["kind"], readonly string[]>> = {
  LORA: [
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "megatron_core",
    "qalora_group_size",
  ],
  OFT: ["init_weights", "eps"],
  BOFT: ["init_weights"],
  HRA: ["init_weights"],
};

/** Fields that must have one of these values, and what to do where they have not. */
const FIXED: Readonly<
  Record<PeftMethod["kind"], readonly (readonly [field: string, allowed: readonly unknown[], why: string])[]>
> = {
  LORA: [
    ["layer_replication", [null, []], "repeated layers make another model; save the grown model itself"],
    ["megatron_config", [null], "parallel layers of Megatron are not supported"],
    [
      "trainable_token_indices",
      [null, [], {}],
      "single trained tokens are not supported; save the embedding",
    ],
    ["use_qalora", [false], "QALoRA pools the input; merge it in PEFT"],
    ["lora_bias", [false], "low-rank maps have no bias"],
    ["target_parameters", [null, []], "only linear maps are adapted; name them in target_modules"],
    ["alora_invocation_tokens", [null], "activation by tokens is not supported"],
    ["use_bdlora", [null, false], "block-diagonal LoRA is not supported; merge it in PEFT"],
    ["velora_config", [null], "VeLoRA is not supported; set it to null to train without"],
    ["kasa_config", [null], "KaSA changes the base; merge it in PEFT"],
    ["arrow_config", [null], "routing between adapters is not supported"],
    ["monteclora_config", [null], "MonteCLoRA is not supported; set it to null to train without"],
    ["ensure_weight_tying", [false], "tied copies of saved modules are not supported"],
    [
      "init_lora_weights",
      [true, false, "gaussian", "eva", "orthogonal"],
      "PEFT changes the base model when it loads this; save it in PEFT with " +
      "path_initial_model_for_weight_conversion, which makes it plain LoRA",
    ],
  ],
  OFT: [
    ["coft", [false], "the constrained variant is not supported; use plain OFT"],
    ["block_share", [false], "shared blocks are not supported; use plain OFT"],
  ],
  BOFT: [],
  HRA: [],
};

/** From this version on, PEFT's series of the Cayley map is the one that Gyre knows. */
const NEUMANN_SINCE: readonly [number, number] = [0, 18];

/**
 * Understand `adapter_config.json`. Absent fields have PEFT's defaults. Throws PeftError, naming file, field, value and
 * what to do, for a field that is unknown, of another type, or set to what Gyre does not do.
 */
export function parsePeftConfig(json: unknown, file: string): PeftConfig {
  const fields = fieldsOf(json, file);
  const kind = fields.one("peft_type", ["LORA", "OFT", "BOFT", "HRA"] as const);
  for (const name of [...HARMLESS, ...HARMLESS_HERE[kind]]) fields.see(name);
  for (const [name, allowed, why] of FIXED[kind]) fields.fixed(name, allowed, why);
  const method = METHODS_OF[kind](fields);
  const only = `${kind.toLowerCase()}_only`;
  const bias = fields.one("bias", ["none", "all", only], "none");
  const config: PeftConfig = {
    method,
    targets: targetsOf(fields),
    bias: bias === only ? "only" : bias === "all" ? "all" : "none",
    fanInFanOut: kind === "HRA" ? false : fields.flag("fan_in_fan_out", false),
    base: fields.text("base_model_name_or_path"),
    taskType: fields.text("task_type"),
  };
  fields.refuseOthers(`an adapter of type ${kind}`);
  return config;
}

function targetsOf(fields: PeftFields): PeftTargets {
  const modules = fields.texts("target_modules");
  if (modules === null || modules.length === 0) {
    throw fields.bad(
      "target_modules",
      "expected names of modules, a regular expression, or all-linear: write down which maps have tensors",
    );
  }
  const layers = fields.counts("layers_to_transform");
  const pattern = fields.texts("layers_pattern") ?? [];
  const layersPattern = typeof pattern === "string" ? [pattern] : pattern;
  if (layers !== null && typeof modules === "string") {
    throw fields.bad("layers_to_transform", "PEFT takes it only with a list of target_modules; remove one");
  }
  if (layersPattern.length > 0 && layers === null) {
    throw fields.bad("layers_pattern", "it needs layers_to_transform; give the layers or remove it");
  }
  const saved = fields.texts("modules_to_save") ?? [];
  return {
    modules,
    exclude: fields.texts("exclude_modules") ?? [],
    layers,
    layersPattern,
    saved: typeof saved === "string" ? [saved] : saved,
  };
}

const METHODS_OF: { readonly [K in PeftMethod["kind"]]: (fields: PeftFields) => PeftMethod } = {
  LORA: (fields) => ({
    kind: "LORA",
    rank: fields.count("r", 8, 1),
    alpha: fields.number("lora_alpha", 8),
    rankStabilised: fields.flag("use_rslora", false),
    dora: fields.flag("use_dora", false),
    dropout: fields.share("lora_dropout"),
    rankPattern: fields.pattern(
      "rank_pattern",
      (v) => Number.isSafeInteger(v) && v >= 1,
      "whole numbers from 1",
    ),
    alphaPattern: fields.pattern("alpha_pattern", Number.isFinite, "numbers"),
  }),
  OFT: (fields) => {
    if (!fields.has("oft_block_size")) {
      throw fields.bad(
        "oft_block_size",
        "the old format of OFT, before PEFT 0.14, is another one; train it anew",
      );
    }
    const neumann = fields.flag("use_cayley_neumann", true);
    const terms = fields.count("num_cayley_neumann_terms", 5, 1);
    if (terms > MOST_TERMS) throw fields.bad("num_cayley_neumann_terms", `expected at most ${MOST_TERMS}`);
    if (neumann) requireVersion(fields);
    return {
      kind: "OFT",
      blocks: blocksOf(fields, ["oft_block_size", 32], ["r", 0]),
      neumannTerms: neumann ? terms : null,
      dropout: fields.share("module_dropout"),
    };
  },
  BOFT: (fields) => ({
    kind: "BOFT",
    blocks: blocksOf(fields, ["boft_block_size", 4], ["boft_block_num", 0]),
    factors: fields.count("boft_n_butterfly_factor", 1, 1),
    dropout: fields.share("boft_dropout"),
  }),
  HRA: (fields) => ({
    kind: "HRA",
    rank: fields.count("r", 8, 1),
    gramSchmidt: fields.flag("apply_GS", false),
  }),
};

function blocksOf(
  fields: PeftFields,
  [sizeField, sizeAbsent]: readonly [string, number],
  [countField, countAbsent]: readonly [string, number],
): PeftBlocks {
  const size = fields.count(sizeField, sizeAbsent, 0), count = fields.count(countField, countAbsent, 0);
  if ((size === 0) === (count === 0)) {
    throw fields.bad(
      countField,
      `expected one of ${sizeField} (${size}) and ${countField} to be 0 and one not`,
    );
  }
  return size > 0 ? { size } : { count };
}

function requireVersion(fields: PeftFields): void {
  const version = fields.text("peft_version");
  const [major = 0, minor = 0] = (version ?? "").split(".").map((part) => parseInt(part) || 0);
  if (major > NEUMANN_SINCE[0] || (major === NEUMANN_SINCE[0] && minor >= NEUMANN_SINCE[1])) return;
  throw fields.bad(
    "use_cayley_neumann",
    `the series was another one before PEFT ${NEUMANN_SINCE.join(".")}, and peft_version is ${
      JSON.stringify(version)
    }; train it anew, or set use_cayley_neumann to false for the exact map`,
  );
}
