/** Models in the Hugging Face layout: what is read, and what is refused with which words. @module */
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { aval, sizeOf } from "../core/mod.ts";
import {
  type Checkpoint,
  type LlamaConfig,
  loadCheckpoint,
  loadConfig,
  type LoadOptions,
} from "../train/checkpoint.ts";
import { CheckpointError, SafetensorsError, UserError } from "../train/errors.ts";
import { sayLost } from "../train/f16_range.ts";
import { f16ToF32, f32ToBf16, f32ToF16 } from "../train/floats.ts";
import { weightShapes } from "../train/decoder.ts";
import { parseLlamaConfig } from "../train/llama_config.ts";
import { type StoredTensor, writeSafetensors } from "../train/safetensors.ts";

const CONFIG = {
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

function parse(change: Readonly<Record<string, unknown>>): LlamaConfig {
  return parseLlamaConfig({ ...CONFIG, ...change }, "m/config.json");
}

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

type Tensors = Map<string, StoredTensor>;

/** Weights of the tiny model: element i of every tensor is (i mod 17) / 8 − 1, exact in all formats. */
function weights(config = parse({})): Tensors {
  const value = (i: number): number => (i % 17) / 8 - 1;
  return new Map([...weightShapes(config)].map(([name, { shape }]) => [
    name,
    { aval: aval(shape), data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => value(i)) },
  ]));
}

function inModelDir(
  files: Readonly<Record<string, Tensors | string>>,
  body: (dir: string) => void,
  config: unknown = CONFIG,
): void {
  const dir = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(`${dir}/config.json`, JSON.stringify(config));
    for (const [name, content] of Object.entries(files)) {
      if (typeof content === "string") Deno.writeTextFileSync(`${dir}/${name}`, content);
      else writeSafetensors(`${dir}/${name}`, content);
    }
    body(dir);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

function load(
  dir: string,
  dtype: "f32" | "f16" = "f32",
  lost?: LoadOptions["lost"],
): Checkpoint {
  return loadCheckpoint(dir, { dtype, shapes: weightShapes, ...(lost ? { lost } : {}) });
}

/** Weights with their numbers, as they are at this moment in the files. */
function plain(weights: Checkpoint["weights"]): [string, StoredTensor][] {
  return [...weights].map(([name, { aval, data }]) => [name, { aval, data }]);
}

Deno.test("checkpoint: all weights under their names, from f32, f16 and bf16", () => {
  const expected = weights();
  const stored = (dtype: "f16" | "bf16", convert: (x: Float32Array) => Uint16Array): Tensors =>
    new Map(
      [...expected].map((
        [n, t],
      ) => [n, { aval: aval(t.aval.shape, dtype), data: convert(t.data as Float32Array) }]),
    );
  for (const source of [expected, stored("f16", f32ToF16), stored("bf16", f32ToBf16)]) {
    inModelDir({ "model.safetensors": source }, (dir) => {
      const lost: string[] = [];
      const { config, weights: read, unused } = load(dir, "f32", (name) => lost.push(name));
      assertEquals(config, loadConfig(dir));
      assertEquals(plain(read), [...expected]);
      assertEquals([lost, unused], [[], []]);
    });
  }
});

Deno.test("checkpoint: with f16 matrices are halved, vectors stay f32, lost values are counted", () => {
  const source = weights(), embedding = source.get("model.embed_tokens.weight")!.data as Float32Array;
  // Infinity was there before; 2⁻²⁵ is half-way to f16's least number, and even is 0.
  embedding.set([70000, -1e6, Infinity, 0.1, 2 ** -25, -1e-30, 2 ** -24, 0]);
  inModelDir({ "model.safetensors": source }, (dir) => {
    const told = new Map<string, unknown>();
    const checkpoint = load(dir, "f16", (name, lost, of) => told.set(name, [lost, of]));
    const read = checkpoint.weights;
    const { aval: at, data } = read.get("model.embed_tokens.weight")!;
    assertEquals([at.dtype, at.shape, data instanceof Uint16Array], ["f16", [10, 8], true]);
    assertAlmostEquals(f16ToF32(data as Uint16Array)[3]!, 0.1, 1e-4);
    const lost = { infinite: 2, vanished: 2 };
    assertEquals([...told], [["model.embed_tokens.weight", [lost, 80]]]);
    assertEquals([...checkpoint.lost], [["model.embed_tokens.weight", lost]]);
    const said: string[] = [];
    sayLost(checkpoint, (line) => said.push(line));
    const all = [...read.values()].reduce(
      (n, { aval: { dtype, shape } }) => n + (dtype === "f16" ? sizeOf(shape) : 0),
      0,
    );
    assertEquals(said, [
      `weights in f16: 2 became infinite (65520 and more), 2 became 0 (3e-8 and less), of ${
        all.toLocaleString("en")
      }`,
    ]);
    assertEquals(read.get("model.norm.weight")!.data, source.get("model.norm.weight")!.data);
  });
});

Deno.test("checkpoint: shards are found through their index", () => {
  const all = weights(), entries = [...all];
  const parts = {
    "a-1.safetensors": new Map(entries.slice(0, 7)),
    "a-2.safetensors": new Map(entries.slice(7)),
  };
  const weight_map = Object.fromEntries(
    Object.entries(parts).flatMap(([f, t]) => [...t.keys()].map((n) => [n, f])),
  );
  const index = JSON.stringify({ metadata: {}, weight_map });
  inModelDir({ ...parts, "model.safetensors.index.json": index }, (dir) => {
    assertEquals(plain(load(dir).weights), entries);
    Deno.removeSync(`${dir}/a-2.safetensors`);
    const { message } = assertThrows(
      () => load(dir),
      CheckpointError,
      "a shard named in model.safetensors.index.json is missing",
    );
    assertStringIncludes(message, "a-2.safetensors");
  });
  inModelDir({
    ...parts,
    "model.safetensors.index.json": JSON.stringify({ weight_map: { x: "../x.safetensors" } }),
  }, (dir) => {
    assertThrows(() => load(dir), CheckpointError, `expected {"weight_map"`);
  });
  const doubled = {
    "a-1.safetensors": all,
    "a-2.safetensors": new Map(entries.slice(7)),
    "model.safetensors.index.json": index,
  };
  inModelDir(doubled, (dir) => {
    assertThrows(() => load(dir), CheckpointError, `tensor "${entries[7]![0]}" is in`);
  });
});

Deno.test("checkpoint: a tensor that is missing, of another shape, or unknown is named with what was expected", () => {
  const at = "model.layers.1.mlp.up_proj.weight";
  const missing = weights();
  missing.delete(at);
  inModelDir({ "model.safetensors": missing }, (dir) => {
    const error = assertThrows(() => load(dir), CheckpointError, `has no tensor "${at}", expected f32[12,8]`);
    assertEquals(error.data["tensor"], at);
  });
  const turned = weights().set(at, { aval: aval([8, 12]), data: new Float32Array(96) });
  inModelDir({ "model.safetensors": turned }, (dir) => {
    assertThrows(
      () => load(dir),
      CheckpointError,
      `tensor "${at}" has shape [8,12]; config.json asks for [12,8]`,
    );
  });
  const biased = weights().set("model.layers.0.self_attn.q_proj.bias", {
    aval: aval([8]),
    data: new Float32Array(8),
  });
  inModelDir({ "model.safetensors": biased }, (dir) => {
    assertThrows(
      () => load(dir),
      CheckpointError,
      `tensor "model.layers.0.self_attn.q_proj.bias" is no part of a model`,
    );
  });
  const integers = weights().set(at, { aval: aval([12, 8], "i32"), data: new Int32Array(96) });
  inModelDir({ "model.safetensors": integers }, (dir) => {
    assertThrows(
      () => load(dir),
      SafetensorsError,
      `tensor "${at}" is I32; expected one of F32, F16, BF16, F64`,
    );
  });
});

Deno.test("checkpoint: tied models need no head and leave a stored one unused; untied ones need it", () => {
  const head = { aval: aval([10, 8]), data: new Float32Array(80).fill(0.5) };
  inModelDir({ "model.safetensors": weights().set("lm_head.weight", head) }, (dir) => {
    const { weights: read, unused } = load(dir);
    assertEquals([read.has("lm_head.weight"), unused], [false, ["lm_head.weight"]]);
  });
  const untied = { ...CONFIG, tie_word_embeddings: false };
  inModelDir({ "model.safetensors": weights() }, (dir) => {
    assertThrows(() => load(dir), CheckpointError, "set tie_word_embeddings to true");
  }, untied);
  inModelDir({ "model.safetensors": weights().set("lm_head.weight", head) }, (dir) => {
    assertEquals(load(dir).weights.get("lm_head.weight")!.data, head.data);
  }, untied);
});

Deno.test("checkpoint: a directory without a model, or with a broken file, says which file", () => {
  assertThrows(() => load("/nowhere"), CheckpointError, "/nowhere/config.json: not found");
  inModelDir({}, (dir) => {
    assertThrows(
      () => load(dir),
      CheckpointError,
      `model.safetensors.index.json: not found; ${dir} has no model.safetensors either`,
    );
  });
  inModelDir({ "model.safetensors": "hello", "config.json": "{" }, (dir) => {
    assertThrows(() => load(dir), CheckpointError, `${dir}/config.json: not JSON`);
  });
  inModelDir({ "model.safetensors": "hello" }, (dir) => {
    const error = assertThrows(() => load(dir), SafetensorsError, "model.safetensors: 5 bytes are too few");
    assert(error instanceof UserError);
  });
});
