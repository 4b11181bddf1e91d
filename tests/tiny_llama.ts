/** A tiny model of Llama's layout for tests. @module */
import { type LlamaConfig } from "../train/checkpoint.ts";
import { parseLlamaConfig } from "../train/llama_config.ts";

/** The configuration of a tiny model, as Hugging Face writes it. */
export const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 10,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 50000,
  hidden_act: "silu",
  attention_bias: false,
  rope_scaling: null,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: [2, 3],
};

/** It with changes, understood. Throws CheckpointError. */
export function parse(change: Readonly<Record<string, unknown>>): LlamaConfig {
  return parseLlamaConfig({ ...CONFIG, ...change }, "m/config.json");
}
