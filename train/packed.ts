/** Rows that hold several examples: each sees itself alone, and its positions begin at 0. @module */
import type { Tensor } from "../core/mod.ts";
import { attention, gather } from "../ops/mod.ts";
import type { Attend, Attention } from "./attend.ts";
import type { Decoder } from "./decoder.ts";

/** What says which example a position belongs to, and where in it: both i32[rows, t]. */
export interface Packing {
  /** Equal within an example, different between the examples of a row; padding has its own. */
  readonly segments?: Tensor;
  /** Counted from 0 in each example. */
  readonly positions?: Tensor;
}

/** Causal attention within each example, and within each layer's window: a block-diagonal mask. */
export function withinExamples({ windows, scoreCap }: Attention, segments: Tensor): Attend {
  return (layer, queries, { keys, values }) => {
    const window = windows?.[layer] ?? null, cap = scoreCap === undefined ? {} : { cap: scoreCap };
    return attention(queries, keys, values, { window, segments, ...cap });
  };
}

/** Rows of a table f32[longest, d] for positions i32[rows, t], f32[rows, t, d]. */
export function packedPositions(positions: Tensor): (table: Tensor) => Tensor {
  return (table) => gather(table, positions);
}

/** Hidden states of ids i32[rows, t], packed or not; the model's tables must be those of the positions. */
export function hiddenOf(model: Decoder, { ids, segments }: { readonly ids: Tensor } & Packing): Tensor {
  return segments ? model.hidden(ids, withinExamples(model.config, segments)) : model.hidden(ids);
}
