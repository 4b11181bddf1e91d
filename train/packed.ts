/** Rows that hold several examples: each sees itself alone, and its positions begin at 0. @module */
import type { Tensor } from "../core/mod.ts";
import { attention, eq, gather, iota, logicalAnd, reshape } from "../ops/mod.ts";
import { type Attend, hidden, type Llama, type Rotary, visible } from "./llama.ts";
import type { LlamaConfig } from "./llama_config.ts";

/** What says which example a position belongs to, and where in it: both i32[rows, t]. */
export interface Packing {
  /** Equal within an example, different between the examples of a row; padding has its own. */
  readonly segments: Tensor;
  /** Counted from 0 in each example. */
  readonly positions: Tensor;
}

/** Causal attention within each example, and within each layer's window: a block-diagonal mask. */
export function withinExamples({ windows }: LlamaConfig, segments: Tensor): Attend {
  const [rows, t] = segments.shape as [number, number];
  const own = eq(reshape(segments, [rows, 1, 1, t, 1]), reshape(segments, [rows, 1, 1, 1, t]));
  return (layer, queries, { keys, values }) => {
    const before = visible(windows?.[layer] ?? null, iota([t, t], 0), iota([t, t], 1));
    return attention(queries, keys, values, logicalAnd(own, reshape(before, [1, 1, 1, t, t])));
  };
}

/** Rows of the rotary tables f32[longest, d] for positions i32[rows, t], as f32[rows, 1, t, d] for all heads. */
export function rotaryAt({ cos, sin }: Rotary, positions: Tensor): Rotary {
  const [rows, t] = positions.shape as [number, number];
  const at = (table: Tensor): Tensor => reshape(gather(table, positions), [rows, 1, t, table.shape[1]!]);
  return { cos: at(cos), sin: at(sin) };
}

/** Hidden states of ids i32[rows, t], packed or not; the model's rotary tables must be those of the positions. */
export function hiddenOf(
  model: Llama,
  { ids, packing }: { readonly ids: Tensor; readonly packing?: Packing },
): Tensor {
  return packing ? hidden(model, ids, withinExamples(model.config, packing.segments)) : hidden(model, ids);
}
