/** `adapter_config.json` of Hugging Face PEFT, written. @module */
import type { PeftConfig, PeftMethod } from "./config.ts";

/** Version of PEFT whose formats Gyre writes. */
const PEFT_VERSION = "0.21.2";

/** A configuration as PEFT reads it. The inverse of `parsePeftConfig`. */
export function peftConfigJson(config: PeftConfig): Record<string, unknown> {
  const { method, targets, bias, base, taskType, fanInFanOut } = config;
  const texts = (value: string | readonly string[]): unknown => value.length === 0 ? null : value;
  return {
    peft_type: method.kind,
    peft_version: PEFT_VERSION,
    auto_mapping: null,
    base_model_name_or_path: base,
    revision: null,
    task_type: taskType,
    inference_mode: true,
    target_modules: targets.modules,
    exclude_modules: texts(targets.exclude),
    layers_to_transform: targets.layers,
    layers_pattern: texts(targets.layersPattern),
    modules_to_save: texts(targets.saved),
    bias: bias === "only" ? `${method.kind.toLowerCase()}_only` : bias,
    ...(method.kind === "HRA" ? {} : { fan_in_fan_out: fanInFanOut }),
    ...methodJson(method),
  };
}

function methodJson(method: PeftMethod): Record<string, unknown> {
  switch (method.kind) {
    case "LORA":
      return {
        r: method.rank,
        lora_alpha: method.alpha,
        use_rslora: method.rankStabilised,
        use_dora: method.dora,
        lora_dropout: method.dropout,
        rank_pattern: Object.fromEntries(method.rankPattern),
        alpha_pattern: Object.fromEntries(method.alphaPattern),
        init_lora_weights: true,
      };
    case "OFT":
      return {
        oft_block_size: "size" in method.blocks ? method.blocks.size : 0,
        r: "count" in method.blocks ? method.blocks.count : 0,
        use_cayley_neumann: method.neumannTerms !== null,
        ...(method.neumannTerms === null ? {} : { num_cayley_neumann_terms: method.neumannTerms }),
        module_dropout: method.dropout,
        coft: false,
        block_share: false,
        init_weights: true,
      };
    case "BOFT":
      return {
        boft_block_size: "size" in method.blocks ? method.blocks.size : 0,
        boft_block_num: "count" in method.blocks ? method.blocks.count : 0,
        boft_n_butterfly_factor: method.factors,
        boft_dropout: method.dropout,
        init_weights: true,
      };
    case "HRA":
      return { r: method.rank, apply_GS: method.gramSchmidt, init_weights: true };
  }
}
