/** Configurations of decoders: what is read, and what is refused with which words. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { CheckpointError } from "../train/errors.ts";
import { parseLlamaConfig } from "../train/llama_config.ts";
import { CONFIG, parse } from "./tiny_llama.ts";

Deno.test("config: every size is read", () => {
  assertEquals(parse({}), {
    vocabSize: 10,
    hiddenSize: 8,
    intermediateSize: 12,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 2,
    rmsNormEps: 1e-5,
    ropeTheta: 50000,
    tiedEmbeddings: true,
    maxPositions: 64,
    bosId: 1,
    eosIds: [2, 3],
  });
});

Deno.test("config: absent fields mean what they mean to Hugging Face", () => {
  const { hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, vocab_size } = CONFIG;
  const least = { hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, vocab_size };
  const { kvHeads, headDim, rmsNormEps, ropeTheta, tiedEmbeddings, maxPositions, bosId, eosIds } =
    parseLlamaConfig(least, "m");
  assertEquals([kvHeads, headDim, rmsNormEps, ropeTheta, tiedEmbeddings, maxPositions, bosId, eosIds], [
    4,
    2,
    1e-6,
    10000,
    false,
    2048,
    null,
    [],
  ]);
  assertEquals(parse({ head_dim: 6 }).headDim, 6);
  assertEquals(parse({ rope_scaling: { rope_type: "default" } }).ropeTheta, 50000);
  const newer = parse({ rope_theta: undefined, rope_parameters: { rope_type: "default", rope_theta: 7 } });
  assertEquals(newer.ropeTheta, 7);
});

const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 16,
};
const MISTRAL = { model_type: "mistral", architectures: ["MistralForCausalLM"] };
const QWEN2 = { model_type: "qwen2", architectures: ["Qwen2ForCausalLM"], attention_bias: true };
const QWEN3 = { model_type: "qwen3", architectures: ["Qwen3ForCausalLM"] };

Deno.test("config: families have Hugging Face's defaults and their own fields", () => {
  const { windows, biases, maxPositions } = parse({ ...MISTRAL, max_position_embeddings: undefined });
  assertEquals([windows, biases, maxPositions], [[4096, 4096], undefined, 131072]);
  assertEquals(parse({ ...MISTRAL, sliding_window: null }).windows, undefined);
  assertEquals(parse({ ...MISTRAL, sliding_window: 7 }).windows, [7, 7]);
  assertEquals(parse(QWEN2).biases, ["q_proj", "k_proj", "v_proj"]);
  // A window that is not used is none.
  assertEquals(parse({ ...QWEN2, sliding_window: 5, max_window_layers: 0 }).windows, undefined);
  const some = { ...QWEN2, use_sliding_window: true, sliding_window: 5 };
  assertEquals(parse({ ...some, max_window_layers: 1 }).windows, [null, 5]);
  assertEquals(parse({ ...some, max_window_layers: 0 }).windows, [5, 5]);
  assertEquals(parse(some).windows, undefined);
  assertEquals(parse({ ...some, layer_types: ["sliding_attention", "full_attention"] }).windows, [5, null]);
  const { headDim, headNorms } = parse({ ...QWEN3 });
  assertEquals([headDim, headNorms, parse({ ...QWEN3, head_dim: null }).headDim], [128, true, 2]);
  assertEquals(parse({ ...QWEN3, attention_bias: true }).biases, ["q_proj", "k_proj", "v_proj", "o_proj"]);
  assertEquals(parse({ mlp_bias: true }).biases, ["gate_proj", "up_proj", "down_proj"]);
  assertEquals(parse({ rope_scaling: LLAMA3 }).ropeScaling, {
    kind: "llama3",
    factor: 8,
    low: 1,
    high: 4,
    originalPositions: 16,
  });
  const linear = parse({
    rope_theta: undefined,
    rope_parameters: { type: "linear", factor: 2, rope_theta: 9 },
  });
  assertEquals([linear.ropeScaling, linear.ropeTheta], [{ kind: "linear", factor: 2 }, 9]);
});

const REFUSED: readonly (readonly [change: Readonly<Record<string, unknown>>, says: string])[] = [
  [
    { architectures: ["Qwen2ForCausalLM"] },
    `architectures is ["Qwen2ForCausalLM"]; Gyre trains LlamaForCausalLM`,
  ],
  [{ model_type: "gemma3" }, `model_type is "gemma3"; expected one of "llama", "mistral", "qwen2", "qwen3"`],
  [{ model_type: "constructor" }, `model_type is "constructor"; expected one of`],
  [{ model_type: "mistral" }, `architectures is ["LlamaForCausalLM"]; Gyre trains MistralForCausalLM`],
  [{ hidden_act: "gelu" }, `hidden_act is "gelu"; expected "silu" or "swish"`],
  [{ attention_bias: 1 }, "attention_bias is 1; expected true or false"],
  [{ mlp_bias: "no" }, `mlp_bias is "no"; expected true or false`],
  [{ sliding_window: 8 }, "sliding_window is 8; expected it to be absent"],
  [{ layer_types: ["full_attention"] }, `layer_types is ["full_attention"]; expected it to be absent`],
  [{ partial_rotary_factor: 0.5 }, "partial_rotary_factor is 0.5; expected 1"],
  [{ ...MISTRAL, attention_bias: true }, "attention_bias is true; expected false"],
  [{ ...MISTRAL, mlp_bias: true }, "mlp_bias is true; expected false"],
  [{ ...MISTRAL, sliding_window: 0 }, "sliding_window is 0; expected a whole number"],
  [
    { ...MISTRAL, num_key_value_heads: undefined },
    "expected a divisor of num_attention_heads, 4; where it is absent it is 8",
  ],
  [{ ...QWEN2, attention_bias: false }, "attention_bias is false; expected true"],
  [{ ...QWEN2, layer_types: ["full_attention"] }, "expected a list with one entry for each of 2 layers"],
  [
    { ...QWEN2, layer_types: ["full_attention", "chunked_attention"] },
    "layers are full_attention or sliding_attention",
  ],
  [
    { ...QWEN2, layer_types: ["full_attention", "sliding_attention"] },
    "sliding_attention needs use_sliding_window true",
  ],
  [{ ...QWEN2, use_sliding_window: true, max_window_layers: -1 }, "max_window_layers is -1"],
  [{ attention_dropout: 0.1 }, "attention_dropout is 0.1; expected 0"],
  [{ quantization_config: { bits: 4 } }, `quantization_config is {"bits":4}; expected it to be absent`],
  [
    { rope_scaling: { rope_type: "llama3", factor: 8 } },
    "rope_scaling.low_freq_factor is null; expected a number",
  ],
  [{ rope_scaling: { type: "linear" } }, "rope_scaling.factor is null; expected a number above 0"],
  [
    { rope_scaling: { type: "linear", factor: 0.5 } },
    "rope_scaling.factor is 0.5; expected a number from 1 on",
  ],
  [
    { rope_scaling: { type: "dynamic", factor: 2 } },
    `rope_scaling is {"type":"dynamic","factor":2}; of scaled`,
  ],
  [{ rope_scaling: 8 }, "rope_scaling is 8; expected a JSON object"],
  [
    { rope_scaling: { ...LLAMA3, attention_factor: 2 } },
    "rope_scaling.attention_factor is 2; rotary positions of",
  ],
  [
    { rope_scaling: { ...LLAMA3, high_freq_factor: 1 } },
    "rope_scaling.high_freq_factor is 1; expected more than",
  ],
  [
    { rope_scaling: { ...LLAMA3, original_max_position_embeddings: "many" } },
    `rope_scaling.original_max_position_embeddings is "many"`,
  ],
  [
    { rope_scaling: LLAMA3, rope_parameters: { type: "default" } },
    "rope_scaling says something else; keep one",
  ],
  [{ rope_parameters: { rope_type: "yarn" } }, `rope_parameters is {"rope_type":"yarn"}; of scaled`],
  [
    { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.25 } },
    "rope_parameters.partial_rotary_factor",
  ],
  [{ hidden_size: undefined }, "hidden_size is null; expected a whole number from 1 on"],
  [{ num_hidden_layers: "2" }, `num_hidden_layers is "2"; expected a whole number`],
  [{ vocab_size: 0 }, "vocab_size is 0"],
  [{ num_key_value_heads: 3 }, "num_key_value_heads is 3; expected a divisor of num_attention_heads, 4"],
  [{ hidden_size: 10 }, "hidden_size is 10; expected a multiple of num_attention_heads, 4, or head_dim"],
  [{ head_dim: 3 }, "head_dim is 3; expected an even number"],
  [{ rms_norm_eps: -1 }, "rms_norm_eps is -1; expected a number above 0"],
  [{ rope_theta: "big" }, `rope_theta is "big"`],
  [{ tie_word_embeddings: "yes" }, `tie_word_embeddings is "yes"; expected true or false`],
  [{ eos_token_id: "</s>" }, `eos_token_id is "</s>"; expected a token id`],
];

for (const [change, says] of REFUSED) {
  Deno.test(`config: ${JSON.stringify(change)} is refused`, () => {
    const { message } = assertThrows(() => parse(change), CheckpointError);
    assertStringIncludes(message, says);
    assert(
      message.startsWith("m/config.json: ") && message.endsWith(".") && !message.includes("\n"),
      message,
    );
  });
}
