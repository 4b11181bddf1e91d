/**
 * Lowering kinds: the closed set of ways in which an op can become (part of) a kernel. Fusion branches on the kind,
 * never on an op's name. @module
 */
import type { Expr } from "./expr.ts";
import type { Cond, Ix } from "./ix.ts";

/** How reduced values combine. */
export type Combine = "add" | "max";

/**
 * One stage of a `stages` op: the axis is cut into pieces of `piece` elements; sets of `radix` pieces at distance
 * `stride` pieces mix by one dense block of size radix·piece. Element j of block n sits at {@linkcode stagePosition}.
 */
export interface Stage {
  readonly radix: number;
  readonly stride: number;
  readonly piece: number;
}

/** Which result of attention: two of the forward pass, three of its derivative. */
export type AttentionResult = "output" | "logSumExp" | "dq" | "dk" | "dv";

/** How attention makes its scores: scale · q·k, then cap · tanh(x / cap) where there is a cap; only of keys that are seen. */
export interface Scores {
  readonly scale: number;
  readonly cap: number | null;
  /** A query sees no key after its own position. */
  readonly causal: boolean;
  /** A query sees so many positions up to its own; null: all. */
  readonly window: number | null;
  /** A query sees keys of its own segment alone. */
  readonly segmented: boolean;
}

/** Whether a query sees a key, by their positions; segments come on top of it. */
export function sees({ causal, window }: Scores, query: number, key: number): boolean {
  return !(causal && key > query) && (window === null || key > query - window);
}

/** What an op tells the compiler. Inputs are those of the op, in order. */
export type Lowering =
  /** A scalar expression of the inputs at the same index; `at` is that index. Joins any neighbour. */
  | { readonly kind: "elementwise"; readonly expr: (xs: readonly Expr[], at: readonly Expr[]) => Expr }
  /** Reads its first input elsewhere; 0 where `valid` fails. Vanishes into loads. Further inputs are ignored. */
  | {
    readonly kind: "view";
    readonly map: (at: readonly Ix[]) => { readonly index: readonly Ix[]; readonly valid?: readonly Cond[] };
  }
  /** Combines along `axes`; the other axes stay, in order. */
  | { readonly kind: "reduce"; readonly axes: readonly number[]; readonly combine: Combine }
  /** Products summed over the `inner` axes; result axes: batch, free axes of the left, free axes of the right. */
  | {
    readonly kind: "contract";
    readonly batch: readonly [readonly number[], readonly number[]];
    readonly inner: readonly [readonly number[], readonly number[]];
  }
  /** Row i of a table for each index i: inputs table [rows, ...rest], indices [...n] → [...n, ...rest]. */
  | { readonly kind: "gather" }
  /** The transpose of gather: inputs indices [...n], values [...n, ...rest] → [rows, ...rest], repeated rows added. */
  | { readonly kind: "scatter"; readonly rows: number }
  /**
   * Stages applied along the last axis, first to last: inputs x [..., d], coefficients [Σ d·block], where stage i holds
   * its d/block blocks [out, in] one after the other. `transposed`: the stages' transposes, last to first.
   */
  | { readonly kind: "stages"; readonly stages: readonly Stage[]; readonly transposed: boolean }
  /** Cotangent of the coefficients of `stages` (not transposed): inputs x, coefficients, ct [..., d]. */
  | { readonly kind: "stagesGrad"; readonly stages: readonly Stage[] }
  /** X with A·X = B: inputs A [..., n, n] with positive definite symmetric part, B [..., n, k]. */
  | { readonly kind: "solve" }
  /**
   * Attention, or a part of its derivative, without an array of all scores. Inputs of "output" and "logSumExp": q
   * [b, heads, t, d], k and v [b, kvHeads, s, d]; of "dq", "dk" and "dv" also logSumExp and delta [b, heads, t] and the
   * cotangent of the output; last, where the scores say so, the segments i32[b, t].
   */
  | { readonly kind: "attention"; readonly result: AttentionResult; readonly scores: Scores }
  /** Inputs laid end to end, each in a slot of `slot` elements, zeros behind: → [number of inputs, slot]. Free: inputs are written in place. */
  | { readonly kind: "pack"; readonly slot: number };

/** Elements of one block of a stage. */
export function blockOf({ radix, piece }: Stage): number {
  return radix * piece;
}

/** Where each stage's coefficients begin, for an axis of `d`; the last entry is their total. */
export function stageOffsets(stages: readonly Stage[], d: number): number[] {
  const offsets = [0];
  for (const stage of stages) offsets.push(offsets.at(-1)! + d * blockOf(stage));
  return offsets;
}

/** Position on the axis of element `j` of block `n`. */
export function stagePosition({ radix, stride, piece }: Stage, n: number, j: number): number {
  const group = Math.floor(n / stride), lane = n % stride, leg = Math.floor(j / piece), within = j % piece;
  return ((group * radix + leg) * stride + lane) * piece + within;
}
