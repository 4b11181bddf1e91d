/**
 * The Llama-family decoder as a pure function of its weights. arXiv:2302.13971; grouped queries: arXiv:2305.13245;
 * windows: arXiv:2310.06825; biases: arXiv:2407.10671; norms of heads: arXiv:2505.09388. @module
 */
import { type Aval, aval, type Tensor, within } from "../core/ir/mod.ts";
import type { LinearMap, Module } from "../adapters/mod.ts";
import {
  add,
  attention,
  gather,
  iota,
  le,
  linear,
  logicalAnd,
  lt,
  mul,
  permute,
  reshape,
  rmsNorm,
  rope,
  silu,
} from "../ops/mod.ts";
import type { LlamaConfig } from "./llama_config.ts";
import { ropeFrequencies } from "./rope_scaling.ts";

/** What a model needs to be called: weights by name, linear maps by path (adapted or not), rotary tables. */
export interface Llama {
  readonly config: LlamaConfig;
  readonly weight: (name: string) => Tensor;
  readonly map: (path: string) => LinearMap;
  /** cos and sin f32[t, headDim] of the positions at hand. */
  readonly rotary: Rotary;
}

/** Rotary tables of some positions, f32[t, headDim]; both halves of the axis hold the same angles. */
export interface Rotary {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Keys and values of one layer, f32[batch, kvHeads, t, headDim]. */
export interface KeysValues {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** How a layer turns queries f32[batch, heads, t, headDim] and its new keys and values into mixed values of the queries' shape. */
export type Attend = (layer: number, queries: Tensor, fresh: KeysValues) => Tensor;

/** Causal attention over the sequence itself, each layer within its window. */
export function causal({ windows }: LlamaConfig): Attend {
  return (layer, queries, { keys, values }) => {
    const t = queries.shape[2]!, window = windows?.[layer] ?? null;
    // Without a mask of its own attention is causal.
    if (window === null || window >= t) return attention(queries, keys, values);
    return attention(queries, keys, values, visible(window, iota([t, t], 0), iota([t, t], 1)));
  };
}

/** Whether a query at position `at` sees the key at `key`, bool of their shape: not those after it, nor those `window` or more before it. */
export function visible(window: number | null, at: Tensor, key: Tensor): Tensor {
  const before = le(key, at);
  return window === null ? before : logicalAnd(before, lt(at, add(key, window)));
}

/** Hidden states f32[batch, t, hidden] before the head, for ids i32[batch, t]. */
export function hidden(model: Llama, ids: Tensor, attend: Attend = causal(model.config)): Tensor {
  let x = embed(model, ids);
  for (let i = 0; i < model.config.layers; i++) x = decoderLayer(model, i, x, attend);
  return finalNorm(model, x);
}

/** Embeddings f32[batch, t, hidden] of ids i32[batch, t]. */
export function embed({ weight }: Llama, ids: Tensor): Tensor {
  return gather(weight("model.embed_tokens.weight"), ids);
}

/** Layer `i`: x f32[batch, t, hidden] → the same shape. */
export function decoderLayer(
  model: Llama,
  i: number,
  x: Tensor,
  attend: Attend = causal(model.config),
): Tensor {
  const { config: { rmsNormEps }, weight } = model;
  const at = `model.layers.${i}`;
  return within(at, () => {
    const normed = rmsNorm(x, weight(`${at}.input_layernorm.weight`), rmsNormEps);
    const mixed = add(x, attentionBlock(model, i, normed, attend));
    return add(
      mixed,
      mlp(model, `${at}.mlp`, rmsNorm(mixed, weight(`${at}.post_attention_layernorm.weight`), rmsNormEps)),
    );
  });
}

/** The norm before the head: x f32[batch, t, hidden] → the same shape. */
export function finalNorm({ config, weight }: Llama, x: Tensor): Tensor {
  return rmsNorm(x, weight("model.norm.weight"), config.rmsNormEps);
}

/** Logits f32[..., vocab] of hidden states f32[..., hidden]; the embedding is the head where they are tied. */
export function logits({ config, weight }: Llama, states: Tensor): Tensor {
  return linear(states, weight(config.tiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight"));
}

function attentionBlock(model: Llama, layer: number, x: Tensor, attend: Attend): Tensor {
  const { config, rotary, weight } = model;
  const { heads, kvHeads, headDim, rmsNormEps } = config;
  const [batch, t] = x.shape as [number, number, number];
  const at = `model.layers.${layer}.self_attn`;
  const split = (name: string, count: number): Tensor =>
    reshape(project(model, `${at}.${name}`, x), [batch, t, count, headDim]);
  const turned = (name: "q" | "k", count: number): Tensor => {
    const each = split(`${name}_proj`, count);
    const normed = config.headNorms ? rmsNorm(each, weight(`${at}.${name}_norm.weight`), rmsNormEps) : each;
    return rope(permute(normed, [0, 2, 1, 3]), rotary.cos, rotary.sin);
  };
  const queries = turned("q", heads), keys = turned("k", kvHeads);
  const values = permute(split("v_proj", kvHeads), [0, 2, 1, 3]);
  const mixed = attend(layer, queries, { keys, values });
  return project(model, `${at}.o_proj`, reshape(permute(mixed, [0, 2, 1, 3]), [batch, t, heads * headDim]));
}

function mlp(model: Llama, at: string, x: Tensor): Tensor {
  const gate = silu(project(model, `${at}.gate_proj`, x));
  return project(model, `${at}.down_proj`, mul(gate, project(model, `${at}.up_proj`, x)));
}

/** A map and then its bias: adapters change the map alone. */
function project({ config, map, weight }: Llama, path: string, x: Tensor): Tensor {
  const y = map(path)(x);
  return hasBias(config, path) ? add(y, weight(`${path}.bias`)) : y;
}

function hasBias({ biases = [] }: LlamaConfig, path: string): boolean {
  return biases.includes(path.slice(path.lastIndexOf(".") + 1));
}

/** The adaptable linear maps of a model, in order. */
export function modulesOf(config: LlamaConfig): Module[] {
  const { hiddenSize: h, intermediateSize: f, heads, kvHeads, headDim, layers } = config;
  const sizes: readonly [string, number, number][] = [
    ["self_attn.q_proj", h, heads * headDim],
    ["self_attn.k_proj", h, kvHeads * headDim],
    ["self_attn.v_proj", h, kvHeads * headDim],
    ["self_attn.o_proj", heads * headDim, h],
    ["mlp.gate_proj", h, f],
    ["mlp.up_proj", h, f],
    ["mlp.down_proj", f, h],
  ];
  return Array.from({ length: layers }, (_, i) => i)
    .flatMap((i) =>
      sizes.map(([name, inDim, outDim]) => ({ path: `model.layers.${i}.${name}`, inDim, outDim }))
    );
}

/** Names and shapes of all weights of a model, as Hugging Face names them. */
export function weightShapes(config: LlamaConfig): Map<string, Aval> {
  const { hiddenSize: h, vocabSize, layers } = config;
  const shapes = new Map<string, Aval>([["model.embed_tokens.weight", aval([vocabSize, h])]]);
  for (const { path, inDim, outDim } of modulesOf(config)) {
    shapes.set(`${path}.weight`, aval([outDim, inDim]));
    if (hasBias(config, path)) shapes.set(`${path}.bias`, aval([outDim]));
  }
  for (let i = 0; i < layers; i++) {
    shapes.set(`model.layers.${i}.input_layernorm.weight`, aval([h]));
    shapes.set(`model.layers.${i}.post_attention_layernorm.weight`, aval([h]));
    if (!config.headNorms) continue;
    for (const name of ["q_norm", "k_norm"]) {
      shapes.set(`model.layers.${i}.self_attn.${name}.weight`, aval([config.headDim]));
    }
  }
  shapes.set("model.norm.weight", aval([h]));
  if (!config.tiedEmbeddings) shapes.set("lm_head.weight", aval([vocabSize, h]));
  return shapes;
}

/** cos and sin of position · frequency, each [positions, headDim] with both halves alike, computed in float64. */
export function rotaryTables(
  config: LlamaConfig,
  positions: number,
): { cos: Float32Array; sin: Float32Array } {
  const { headDim, ropeTheta, ropeScaling } = config;
  const rope = ropeScaling ? { theta: ropeTheta, scaling: ropeScaling } : { theta: ropeTheta };
  const frequencies = ropeFrequencies(headDim, rope);
  const cos = new Float32Array(positions * headDim), sin = new Float32Array(positions * headDim);
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < headDim; i++) {
      const angle = p * frequencies[i % (headDim / 2)]!;
      cos[p * headDim + i] = Math.cos(angle);
      sin[p * headDim + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}
