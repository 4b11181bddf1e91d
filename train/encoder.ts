/**
 * Encoders of BERT's layout as pure functions of their weights: BERT, arXiv:1810.04805, and RoBERTa, arXiv:1907.11692,
 * with a head that classifies or predicts a number. @module
 */
import { type Aval, aval, type Tensor, within } from "../core/ir/mod.ts";
import type { LinearMap, Module } from "../adapters/mod.ts";
import {
  add,
  attention,
  cast,
  dropped,
  eq,
  foldIn,
  gather,
  gelu,
  geluExact,
  iota,
  type Key,
  layerNorm,
  lt,
  maskedAttention,
  permute,
  reshape,
  slice,
  tanh,
} from "../ops/mod.ts";
import type { EncoderConfig, EncoderDropout } from "./encoder_config.ts";

/** What an encoder needs to be called: weights by name, linear maps by path, adapted or not. */
export interface Encoder {
  readonly config: EncoderConfig;
  readonly weight: (name: string) => Tensor;
  readonly map: (path: string) => LinearMap;
  /** What a training step leaves out of a tensor; absent: nothing. */
  readonly drop?: Drop;
}

/** What is left of a tensor of this kind at this place in the model; places are counted from 0. */
export type Drop = (x: Tensor, kind: keyof EncoderDropout, place: number) => Tensor;

/** Left out at random, by rates and a step's key, from which each place draws its own. */
export function dropBy(rates: EncoderDropout, key: Key): Drop {
  return (x, kind, place) => rates[kind] > 0 ? dropped(x, rates[kind], foldIn(key, DROP_KEYS + place)) : x;
}

/** Folded into a step's key for the key of a place: above the numbers of members, which begin at 0. */
const DROP_KEYS = 2 ** 30;

/** What an encoder reads: ids and kinds of tokens, i32[rows, t], and how many tokens each row has, i32[rows]. */
export interface Sentences {
  readonly ids: Tensor;
  readonly types: Tensor;
  readonly lengths: Tensor;
}

/** Hidden states f32[rows, t, hidden]; those of the padding, behind a row's tokens, mean nothing and nothing sees them. */
export function encode(model: Encoder, { ids, types, lengths }: Sentences): Tensor {
  const { config } = model, [rows, t] = ids.shape as [number, number];
  // Tokens see tokens, and the padding only itself.
  const segments = cast(lt(iota([rows, t], 1), reshape(lengths, [rows, 1])), "i32");
  let x = embedTokens(model, ids, types);
  for (let i = 0; i < config.layers; i++) x = encoderLayer(model, i, x, segments);
  return x;
}

/** Sums of three learnt vectors, normed: f32[rows, t, hidden]. */
function embedTokens(model: Encoder, ids: Tensor, types: Tensor): Tensor {
  const { config: { family, firstPosition, hiddenSize }, weight } = model, t = ids.shape[1]!;
  const at = `${family}.embeddings`;
  const positions = slice(weight(`${at}.position_embeddings.weight`), {
    start: [firstPosition, 0],
    stop: [firstPosition + t, hiddenSize],
  });
  const words = gather(weight(`${at}.word_embeddings.weight`), ids);
  const kinds = gather(weight(`${at}.token_type_embeddings.weight`), types);
  return drop(model, norm(model, `${at}.LayerNorm`, add(add(words, kinds), positions)), "hidden", 0);
}

/** Layer `i`, each part added to what it read and then normed: x f32[rows, t, hidden] → the same shape. */
function encoderLayer(model: Encoder, i: number, x: Tensor, segments: Tensor): Tensor {
  const { config: { family, activation } } = model, at = `${family}.encoder.layer.${i}`;
  return within(at, () => {
    const seen = project(
      model,
      `${at}.attention.output.dense`,
      attend(model, i, x, segments),
    );
    const kept = drop(model, seen, "hidden", 3 * i + 2);
    const mixed = norm(model, `${at}.attention.output.LayerNorm`, add(kept, x));
    const wide = (activation === "gelu" ? geluExact : gelu)(
      project(model, `${at}.intermediate.dense`, mixed),
    );
    const made = drop(model, project(model, `${at}.output.dense`, wide), "hidden", 3 * i + 3);
    return norm(model, `${at}.output.LayerNorm`, add(made, mixed));
  });
}

function attend(model: Encoder, i: number, x: Tensor, segments: Tensor): Tensor {
  const { family, heads, hiddenSize, dropout } = model.config;
  const [rows, t] = x.shape as [number, number, number], at = `${family}.encoder.layer.${i}.attention.self`;
  const split = (name: string): Tensor =>
    permute(reshape(project(model, `${at}.${name}`, x), [rows, t, heads, hiddenSize / heads]), [0, 2, 1, 3]);
  const [q, k, v] = [split("query"), split("key"), split("value")] as const;
  const mixed = model.drop && dropout.attention > 0
    ? maskedAttention(
      q,
      k,
      v,
      eq(reshape(segments, [rows, 1, 1, t, 1]), reshape(segments, [rows, 1, 1, 1, t])),
      undefined,
      (weights) => drop(model, weights, "attention", 3 * i + 1),
    )
    : attention(q, k, v, { causal: false, segments });
  return reshape(permute(mixed, [0, 2, 1, 3]), [rows, t, hiddenSize]);
}

function drop({ drop }: Encoder, x: Tensor, kind: keyof EncoderDropout, place: number): Tensor {
  return drop ? drop(x, kind, place) : x;
}

function norm({ config, weight }: Encoder, at: string, x: Tensor): Tensor {
  return layerNorm(x, weight(`${at}.weight`), weight(`${at}.bias`), config.layerNormEps);
}

/** A map and then its bias: adapters change the map alone. */
function project({ map, weight }: Encoder, path: string, x: Tensor): Tensor {
  return add(map(path)(x), weight(`${path}.bias`));
}

/**
 * Outputs f32[rows, n] of the head, from the first token's state: BERT's after its pooler, RoBERTa's after a layer of
 * its own, both tanh.
 */
export function classify(model: Encoder, sentences: Sentences): Tensor {
  const { config: { family, hiddenSize, layers } } = model;
  const states = encode(model, sentences), rows = states.shape[0]!;
  const first = reshape(slice(states, { start: [0, 0, 0], stop: [rows, 1, hiddenSize] }), [rows, hiddenSize]);
  const last = 3 * layers + 1;
  const [hiddenLayer, out] = family === "bert"
    ? ["bert.pooler.dense", "classifier"]
    : ["classifier.dense", "classifier.out_proj"];
  // RoBERTa's first layer of the head is trained with it, BERT's pooler is the model's own.
  const read = family === "bert" ? first : drop(model, first, "head", last);
  return project(model, out, drop(model, tanh(project(model, hiddenLayer, read)), "head", last + 1));
}

/** The adaptable linear maps of an encoder, in order. */
export function encoderModules(config: EncoderConfig): Module[] {
  const { family, hiddenSize: h, intermediateSize: f, layers } = config;
  const sizes: readonly [string, number, number][] = [
    ["attention.self.query", h, h],
    ["attention.self.key", h, h],
    ["attention.self.value", h, h],
    ["attention.output.dense", h, h],
    ["intermediate.dense", h, f],
    ["output.dense", f, h],
  ];
  return Array.from({ length: layers }, (_, i) => i).flatMap((i) =>
    sizes.map(([name, inDim, outDim]) => ({ path: `${family}.encoder.layer.${i}.${name}`, inDim, outDim }))
  );
}

/** Names and shapes of all weights of an encoder without its head, as Hugging Face names them. */
export function encoderShapes(config: EncoderConfig): Map<string, Aval> {
  const { family, hiddenSize: h, vocabSize, positionRows, typeCount, layers } = config;
  const shapes = new Map<string, Aval>();
  const normAt = (at: string): void => {
    shapes.set(`${at}.weight`, aval([h])).set(`${at}.bias`, aval([h]));
  };
  const rows: readonly [string, number][] = [
    ["word_embeddings", vocabSize],
    ["position_embeddings", positionRows],
    ["token_type_embeddings", typeCount],
  ];
  for (const [name, count] of rows) shapes.set(`${family}.embeddings.${name}.weight`, aval([count, h]));
  normAt(`${family}.embeddings.LayerNorm`);
  for (const { path, inDim, outDim } of encoderModules(config)) {
    shapes.set(`${path}.weight`, aval([outDim, inDim])).set(`${path}.bias`, aval([outDim]));
  }
  for (let i = 0; i < layers; i++) {
    normAt(`${family}.encoder.layer.${i}.attention.output.LayerNorm`);
    normAt(`${family}.encoder.layer.${i}.output.LayerNorm`);
  }
  return shapes;
}

/** Names and shapes of the weights behind the last layer, for `outputs` numbers a row. */
export function headShapes({ family, hiddenSize: h }: EncoderConfig, outputs: number): Map<string, Aval> {
  const maps: readonly [string, number][] = family === "bert"
    ? [["bert.pooler.dense", h], ["classifier", outputs]]
    : [["classifier.dense", h], ["classifier.out_proj", outputs]];
  return new Map(maps.flatMap(([at, n]) => [
    [`${at}.weight`, aval([n, h])],
    [`${at}.bias`, aval([n])],
  ]));
}
