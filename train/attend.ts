/** What a position of a decoder attends to. @module */
import type { Tensor } from "../core/ir/mod.ts";
import { add, attention, le, logicalAnd, lt } from "../ops/mod.ts";

/** Keys and values of one layer, f32[batch, kvHeads, t, headDim]. */
export interface KeysValues {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** How a layer turns queries f32[batch, heads, t, headDim] and its new keys and values into mixed values of the queries' shape. */
export type Attend = (layer: number, queries: Tensor, fresh: KeysValues) => Tensor;

/** How many positions each layer sees, itself included; null: all before it. */
export type Windows = readonly (number | null)[];

/** How a model's layers attend. */
export interface Attention {
  /** Absent: all layers see all. */
  readonly windows?: Windows;
  /** Scores x become cap · tanh(x / cap); absent: they stay. */
  readonly scoreCap?: number;
}

/** Causal attention over the sequence itself, each layer within its window. */
export function causal({ windows, scoreCap }: Attention): Attend {
  return (layer, queries, { keys, values }) => {
    const window = windows?.[layer] ?? null;
    return attention(queries, keys, values, { window, ...(scoreCap === undefined ? {} : { cap: scoreCap }) });
  };
}

/** Whether a query at position `at` sees the key at `key`, bool of their shape: not those after it, nor those `window` or more before it. */
export function visible(window: number | null, at: Tensor, key: Tensor): Tensor {
  const before = le(key, at);
  return window === null ? before : logicalAnd(before, lt(at, add(key, window)));
}
