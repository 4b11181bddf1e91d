/** Decoders of all families: what their files hold, and the same few parts to call them by. @module */
import { type Aval, aval, type Tensor } from "../core/mod.ts";
import type { LinearMap, Module } from "../adapters/mod.ts";
import { type Attend, causal } from "./attend.ts";
import { gpt2Blocks, type Gpt2Config, gpt2Head, gpt2Modules, gpt2Shapes } from "./gpt2.ts";
import { llamaBlocks, llamaHead, llamaModules, llamaShapes, rotaryShapes, rotaryTables } from "./llama.ts";
import type { LlamaConfig } from "./llama_config.ts";

/** Sizes and constants of a decoder. */
export type DecoderConfig = LlamaConfig | Gpt2Config;

/** A linear map of a model that can be adapted. */
export interface LinearModule extends Module {
  /** Whether files store its weight [in, out], as transformers' Conv1D does; in Gyre all are [out, in]. */
  readonly inputFirst?: true;
}

/** What a model's parts read: weights by name, linear maps by path (adapted or not), tables with a row a position. */
export interface BoundWeights {
  readonly weight: (name: string) => Tensor;
  readonly map: (path: string) => LinearMap;
  /** Rows [t, ...] of the table of this name that belong to the positions at hand. */
  readonly rows: (name: string) => Tensor;
}

/** The parts of a decoder with its weights in place. */
export interface Blocks {
  /** Embeddings f32[batch, t, hidden] of ids i32[batch, t]. */
  readonly embed: (ids: Tensor) => Tensor;
  /** Layer `i`: x f32[batch, t, hidden] → the same shape. */
  readonly layer: (i: number, x: Tensor, attend: Attend) => Tensor;
  /** The norm before the head: x f32[batch, t, hidden] → the same shape. */
  readonly finalNorm: (x: Tensor) => Tensor;
  /** Logits f32[..., vocab] of hidden states f32[..., hidden]. */
  readonly logits: (states: Tensor) => Tensor;
}

/** A decoder with its weights in place. */
export interface Decoder extends Blocks {
  readonly config: DecoderConfig;
  /** Hidden states f32[batch, t, hidden] before the head, for ids i32[batch, t]. */
  readonly hidden: (ids: Tensor, attend?: Attend) => Tensor;
}

/** The decoder that `config` describes, reading these weights. */
export function decoderOf(config: DecoderConfig, bound: BoundWeights): Decoder {
  const blocks = config.family === "gpt2" ? gpt2Blocks(config, bound) : llamaBlocks(config, bound);
  return {
    config,
    ...blocks,
    hidden: (ids, attend = causal(config)) => {
      let x = blocks.embed(ids);
      for (let i = 0; i < config.layers; i++) x = blocks.layer(i, x, attend);
      return blocks.finalNorm(x);
    },
  };
}

/** The adaptable linear maps of a model, in order. */
export function modulesOf(config: DecoderConfig): LinearModule[] {
  return config.family === "gpt2" ? gpt2Modules(config) : llamaModules(config);
}

/** Names and shapes of all weights of a model, as Hugging Face names them, linear maps [out, in]. */
export function weightShapes(config: DecoderConfig): Map<string, Aval> {
  return config.family === "gpt2" ? gpt2Shapes(config) : llamaShapes(config);
}

/** What the names of layer `i`'s weights begin with. */
export function layerPrefix(config: DecoderConfig, i: number): string {
  return `${config.family === "gpt2" ? "transformer.h" : "model.layers"}.${i}.`;
}

/** Name of the weight that makes the logits. */
export function headOf(config: DecoderConfig): string {
  return config.family === "gpt2" ? gpt2Head(config) : llamaHead(config);
}

/** Shapes of the tables that a model reads besides its weights, for sequences of up to so many positions. */
export function tableShapes(config: DecoderConfig, positions: number): Map<string, Aval> {
  return config.family === "gpt2" ? new Map<string, Aval>() : rotaryShapes(config, positions);
}

/** The same tables with their numbers, computed in float64. */
export function tablesOf(
  config: DecoderConfig,
  positions: number,
): Map<string, { readonly aval: Aval; readonly data: Float32Array }> {
  if (config.family === "gpt2") return new Map();
  const { cos, sin } = rotaryTables(config, positions), at = aval([positions, config.headDim]);
  return new Map([["rotary.cos", { aval: at, data: cos }], ["rotary.sin", { aval: at, data: sin }]]);
}
