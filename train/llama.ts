/**
 * The Llama-family decoder as a pure function of its weights. arXiv:2302.13971; grouped queries: arXiv:2305.13245;
 * windows: arXiv:2310.06825; biases: arXiv:2407.10671; norms of heads: arXiv:2505.09388. @module
 */
import { type Aval, aval, type Tensor, within } from "../core/ir/mod.ts";
import type { Attend } from "./attend.ts";
import type { Blocks, BoundWeights, DecoderFamily, LinearModule, Table } from "./decoder_family.ts";
import { add, gather, linear, mul, permute, reshape, rmsNorm, rope, silu } from "../ops/mod.ts";
import type { LlamaConfig } from "./llama_config.ts";
import { ropeFrequencies } from "./rope_scaling.ts";

/** Llama's layout, and that of its relatives. */
export const LLAMA: DecoderFamily<LlamaConfig> = {
  blocks,
  modules: llamaModules,
  shapes: llamaShapes,
  layers: "model.layers",
  head: llamaHead,
  tableShapes: rotaryShapes,
  tables: rotaryTables,
};

/** A model with its weights in place. */
interface Llama extends BoundWeights {
  readonly config: LlamaLike;
}

/** What relatives of other families have in common with Llama. */
type LlamaLike = Omit<LlamaConfig, "family">;

function blocks(config: LlamaConfig, bound: BoundWeights): Blocks {
  const model: Llama = { config, ...bound };
  return {
    embed: (ids) => embed(model, ids),
    layer: (i, x, attend) => decoderLayer(model, i, x, attend),
    finalNorm: (x) => finalNorm(model, x),
    logits: (states) => logits(model, states),
  };
}

/** Embeddings f32[batch, t, hidden] of ids i32[batch, t]. */
export function embed({ weight }: Llama, ids: Tensor): Tensor {
  return gather(weight("model.embed_tokens.weight"), ids);
}

/** Layer `i`: x f32[batch, t, hidden] → the same shape. */
function decoderLayer(model: Llama, i: number, x: Tensor, attend: Attend): Tensor {
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
  return linear(states, weight(llamaHead(config)));
}

/** The weight that makes the logits. */
export function llamaHead({ tiedEmbeddings }: LlamaLike): string {
  return tiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
}

/** Queries, keys and values of x f32[batch, t, hidden], mixed by `attend` and projected: the same shape. */
export function attentionBlock(model: Llama, layer: number, x: Tensor, attend: Attend): Tensor {
  const { config, rows, weight } = model;
  const { heads, kvHeads, headDim, rmsNormEps } = config;
  const [batch, t] = x.shape as [number, number, number];
  const at = `model.layers.${layer}.self_attn`;
  const split = (name: string, count: number): Tensor =>
    reshape(project(model, `${at}.${name}`, x), [batch, t, count, headDim]);
  const turned = (name: "q" | "k", count: number): Tensor => {
    const each = split(`${name}_proj`, count);
    const normed = config.headNorms ? rmsNorm(each, weight(`${at}.${name}_norm.weight`), rmsNormEps) : each;
    return rope(permute(normed, [0, 2, 1, 3]), forHeads(rows("rotary.cos")), forHeads(rows("rotary.sin")));
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

function hasBias({ biases = [] }: LlamaLike, path: string): boolean {
  return biases.includes(path.slice(path.lastIndexOf(".") + 1));
}

/** The adaptable linear maps of a model, in order. */
export function llamaModules(config: LlamaLike): LinearModule[] {
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
export function llamaShapes(config: LlamaLike): Map<string, Aval> {
  const { hiddenSize: h, vocabSize, layers } = config;
  const shapes = new Map<string, Aval>([["model.embed_tokens.weight", aval([vocabSize, h])]]);
  for (const { path, inDim, outDim } of llamaModules(config)) {
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

/** Names of the rotary tables. */
const TABLES = ["rotary.cos", "rotary.sin"] as const;

/** Shapes of the rotary tables of so many positions. */
export function rotaryShapes({ headDim }: LlamaLike, positions: number): Map<string, Aval> {
  return new Map(TABLES.map((name) => [name, aval([positions, headDim])]));
}

/** cos and sin of position · frequency, each [positions, headDim] with both halves alike, computed in float64. */
export function rotaryTables(
  { headDim, ropeTheta, ropeScaling }: Pick<LlamaConfig, "headDim" | "ropeTheta" | "ropeScaling">,
  positions: number,
): Map<string, Table> {
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
  const at = aval([positions, headDim]);
  return new Map([[TABLES[0], { aval: at, data: cos }], [TABLES[1], { aval: at, data: sin }]]);
}

/** Rows of a rotary table as all heads read them: those that differ by row of the batch, f32[batch, t, d], get an axis of heads. */
function forHeads(table: Tensor): Tensor {
  const [batch, t, d] = table.shape;
  return d === undefined ? table : reshape(table, [batch!, 1, t!, d]);
}
