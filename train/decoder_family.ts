/** What a family of decoders is: what its files hold, and the parts to call its models by. @module */
import type { Aval, Tensor } from "../core/mod.ts";
import type { LinearMap, Module } from "../adapters/mod.ts";
import type { Attend } from "./attend.ts";

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
  /** Layer `i`: x f32[batch, t, hidden] → the same shape. What differs by layer besides weights is as in layer `like`, or `i`. */
  readonly layer: (i: number, x: Tensor, attend: Attend, like?: number) => Tensor;
  /** The norm before the head: x f32[batch, t, hidden] → the same shape. */
  readonly finalNorm: (x: Tensor) => Tensor;
  /** Logits f32[..., vocab] of hidden states f32[..., hidden]. */
  readonly logits: (states: Tensor) => Tensor;
}

/** A table that a model reads besides its weights. */
export interface Table {
  readonly aval: Aval;
  readonly data: Float32Array;
}

/** A family whose models have configurations of type `C`. */
export interface DecoderFamily<C> {
  /** The parts of a model with these weights. */
  readonly blocks: (config: C, bound: BoundWeights) => Blocks;
  /** The adaptable linear maps, in order. */
  readonly modules: (config: C) => LinearModule[];
  /** Names and shapes of all weights, as Hugging Face names them, linear maps [out, in]. */
  readonly shapes: (config: C) => Map<string, Aval>;
  /** What the names of a layer's weights begin with, before its number. */
  readonly layers: string;
  /** Name of the weight that makes the logits. */
  readonly head: (config: C) => string;
  /** Shapes of the tables of so many positions. */
  readonly tableShapes: (config: C, positions: number) => Map<string, Aval>;
  /** The tables themselves, computed in float64. */
  readonly tables: (config: C, positions: number) => Map<string, Table>;
}
