/** Decoders of all families by their configuration. @module */
import type { Aval, Tensor } from "../core/mod.ts";
import { type Attend, causal } from "./attend.ts";
import type { Blocks, BoundWeights, DecoderFamily, LinearModule, Table } from "./decoder_family.ts";
import { GEMMA } from "./gemma.ts";
import type { GemmaConfig } from "./gemma_config.ts";
import { GPT2 } from "./gpt2.ts";
import type { Gpt2Config } from "./gpt2_config.ts";
import { LLAMA } from "./llama.ts";
import type { LlamaConfig } from "./llama_config.ts";

export type { Blocks, BoundWeights, DecoderFamily, LinearModule, Table } from "./decoder_family.ts";

/** Sizes and constants of a decoder. */
export type DecoderConfig = LlamaConfig | Gpt2Config | GemmaConfig;

/** A decoder with its weights in place. */
export interface Decoder extends Blocks {
  readonly config: DecoderConfig;
  /** Hidden states f32[batch, t, hidden] before the head, for ids i32[batch, t]. */
  readonly hidden: (ids: Tensor, attend?: Attend) => Tensor;
}

/** The decoder that `config` describes, reading these weights. */
export function decoderOf(config: DecoderConfig, bound: BoundWeights): Decoder {
  const blocks = familyOf(config).blocks(bound);
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
  return familyOf(config).modules();
}

/** Names and shapes of all weights of a model, as Hugging Face names them, linear maps [out, in]. */
export function weightShapes(config: DecoderConfig): Map<string, Aval> {
  return familyOf(config).shapes();
}

/** What the names of layer `i`'s weights begin with. */
export function layerPrefix(config: DecoderConfig, i: number): string {
  return `${familyOf(config).layers}.${i}.`;
}

/** Name of the weight that makes the logits. */
export function headOf(config: DecoderConfig): string {
  return familyOf(config).head();
}

/** Shapes of the tables that a model reads besides its weights, for sequences of up to so many positions. */
export function tableShapes(config: DecoderConfig, positions: number): Map<string, Aval> {
  return familyOf(config).tableShapes(positions);
}

/** The same tables with their numbers, computed in float64. */
export function tablesOf(config: DecoderConfig, positions: number): Map<string, Table> {
  return familyOf(config).tables(positions);
}

function familyOf(config: DecoderConfig) {
  switch (config.family) {
    case "gpt2":
      return configured(GPT2, config);
    case "gemma":
      return configured(GEMMA, config);
    default:
      return configured(LLAMA, config);
  }
}

/** What a family says of one configuration. */
function configured<C>(family: DecoderFamily<C>, config: C) {
  return {
    blocks: (bound: BoundWeights) => family.blocks(config, bound),
    modules: () => family.modules(config),
    shapes: () => family.shapes(config),
    layers: family.layers,
    head: () => family.head(config),
    tableShapes: (positions: number) => family.tableShapes(config, positions),
    tables: (positions: number) => family.tables(config, positions),
  };
}
