/** The Llama-family decoder as a pure function of its weights. arXiv:2302.13971; grouped queries: arXiv:2305.13245. @module */
import { type Aval, aval, type Tensor, within } from "../core/ir/mod.ts";
import type { LinearMap, Module } from "../adapters/mod.ts";
import { add, attention, gather, linear, mul, permute, reshape, rmsNorm, rope, silu } from "../ops/mod.ts";
import type { LlamaConfig } from "./llama_config.ts";

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

/** Causal attention over the sequence itself. */
export const causal: Attend = (_layer, queries, { keys, values }) => attention(queries, keys, values);

/** Hidden states f32[batch, t, hidden] before the head, for ids i32[batch, t]. */
export function hidden(model: Llama, ids: Tensor, attend: Attend = causal): Tensor {
  let x = embed(model, ids);
  for (let i = 0; i < model.config.layers; i++) x = decoderLayer(model, i, x, attend);
  return finalNorm(model, x);
}

/** Embeddings f32[batch, t, hidden] of ids i32[batch, t]. */
export function embed({ weight }: Llama, ids: Tensor): Tensor {
  return gather(weight("model.embed_tokens.weight"), ids);
}

/** Layer `i`: x f32[batch, t, hidden] → the same shape. */
export function decoderLayer(model: Llama, i: number, x: Tensor, attend: Attend = causal): Tensor {
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

function attentionBlock({ config, map, rotary }: Llama, layer: number, x: Tensor, attend: Attend): Tensor {
  const { heads, kvHeads, headDim } = config;
  const [batch, t] = x.shape as [number, number, number];
  const at = `model.layers.${layer}.self_attn`;
  const split = (name: string, count: number): Tensor =>
    permute(reshape(map(`${at}.${name}`)(x), [batch, t, count, headDim]), [0, 2, 1, 3]);
  const queries = rope(split("q_proj", heads), rotary.cos, rotary.sin);
  const keys = rope(split("k_proj", kvHeads), rotary.cos, rotary.sin);
  const mixed = attend(layer, queries, { keys, values: split("v_proj", kvHeads) });
  return map(`${at}.o_proj`)(reshape(permute(mixed, [0, 2, 1, 3]), [batch, t, heads * headDim]));
}

function mlp({ map }: Llama, at: string, x: Tensor): Tensor {
  return map(`${at}.down_proj`)(mul(silu(map(`${at}.gate_proj`)(x)), map(`${at}.up_proj`)(x)));
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
  }
  for (let i = 0; i < layers; i++) {
    shapes.set(`model.layers.${i}.input_layernorm.weight`, aval([h]));
    shapes.set(`model.layers.${i}.post_attention_layernorm.weight`, aval([h]));
  }
  shapes.set("model.norm.weight", aval([h]));
  if (!config.tiedEmbeddings) shapes.set("lm_head.weight", aval([vocabSize, h]));
  return shapes;
}

/** cos and sin of position · θ^(−2i/headDim), each [positions, headDim] with both halves alike, computed in float64. */
export function rotaryTables(
  config: LlamaConfig,
  positions: number,
): { cos: Float32Array; sin: Float32Array } {
  const { headDim, ropeTheta } = config;
  const cos = new Float32Array(positions * headDim), sin = new Float32Array(positions * headDim);
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < headDim; i++) {
      const angle = p * ropeTheta ** (-2 * (i % (headDim / 2)) / headDim);
      cos[p * headDim + i] = Math.cos(angle);
      sin[p * headDim + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}
