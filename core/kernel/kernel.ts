/**
 * Kernels: what fusion makes and what both printers print. A kernel is plain data: its buffers, and one of seven forms.
 * Values are {@link Expr} over loads; which element a load or a store touches is an {@link Ix} over the form's loop
 * variables. A kernel says what is computed, not how it is tiled: that is each printer's choice. @module
 */
import type { DType } from "../ir/aval.ts";
import type { Expr } from "../ir/expr.ts";
import type { Ix, Var } from "../ir/ix.ts";
import type { AttentionResult, Combine, Scores, Stage } from "../ir/lowering.ts";

/** A buffer as a kernel sees it; its place in {@linkcode Kernel.slots} is its number in loads and stores. */
export interface Slot {
  readonly dtype: DType;
  /** `readwrite`: an input updated in place; an element is read only where it is written, and all values of an element are
   * computed before any is stored. */
  readonly access: "read" | "write" | "readwrite";
}

/** `slot[ix] = value`, converted to the slot's type. */
export interface Store {
  readonly slot: number;
  readonly ix: Ix;
  readonly value: Expr;
}

/** A reduction inside a row kernel: accumulator `id` combines `value` over all `inner`. */
export interface Reduce {
  readonly id: number;
  readonly inner: readonly Var[];
  readonly combine: Combine;
  /** Over `outer` and `inner`; may use accumulators of earlier reductions. */
  readonly value: Expr;
}

/**
 * For each row (values of `outer`): the reductions in order, then `rowStores` once, then `stores` for each element
 * (values of `inner`). Without reductions it is an elementwise map; with no `inner` it is a plain reduction.
 */
export interface RowForm {
  readonly form: "row";
  readonly outer: readonly Var[];
  readonly reduces: readonly Reduce[];
  readonly rowStores: readonly Store[];
  readonly inner: readonly Var[];
  readonly stores: readonly Store[];
}

/** One product: `Σ_inner left(batch, row, inner) · right(batch, col, inner)`. */
export interface Term {
  readonly inner: readonly Var[];
  readonly left: Expr;
  readonly right: Expr;
}

/**
 * For each (batch, row, col): accumulator 0 is the sum of all terms; then `stores`, whose values use it, and whose
 * indices and loads range over batch, row and col. Nothing stored is read by the kernel.
 */
export interface ContractForm {
  readonly form: "contract";
  readonly batch: readonly Var[];
  readonly row: readonly Var[];
  readonly col: readonly Var[];
  readonly terms: readonly Term[];
  readonly stores: readonly Store[];
}

/**
 * For each row (values of `outer`): load `x` over the variable `feature` (extent d), apply the stages with their blocks
 * from `coefficients` (the layout of the `stages` lowering, starting at index 0 of that slot), then for each feature
 * accumulator 0 is the result; `stores` use it, over `outer` and `feature`.
 */
export interface StagesForm {
  readonly form: "stages";
  readonly outer: readonly Var[];
  readonly feature: Var;
  readonly stages: readonly Stage[];
  readonly transposed: boolean;
  readonly coefficients: number;
  readonly x: Expr;
  readonly stores: readonly Store[];
}

/**
 * Cotangent of the coefficients: for stage i, block n, `out[offset_i + (n·block + j)·block + k]` is the sum over rows of
 * ctᵢ[position(n, j)] · xᵢ[position(n, k)], where xᵢ enters stage i going forward, ctᵢ leaves it going back.
 */
export interface StagesGradForm {
  readonly form: "stagesGrad";
  readonly outer: readonly Var[];
  readonly feature: Var;
  readonly stages: readonly Stage[];
  readonly coefficients: number;
  readonly x: Expr;
  readonly ct: Expr;
  /** Slot of the result, f32, written from index 0. */
  readonly out: number;
}

/** For each system (values of `batch`): X = A⁻¹·B by elimination without pivots. A over (batch, row, inner), B over (batch, row, col). */
export interface SolveForm {
  readonly form: "solve";
  readonly batch: readonly Var[];
  readonly row: Var;
  /** Same extent as `row`: the column of A. */
  readonly inner: Var;
  readonly col: Var;
  readonly a: Expr;
  readonly b: Expr;
  /** Accumulator 0 is X[row, col]; indices over batch, row, col. */
  readonly stores: readonly Store[];
}

/** For each column: zero all `rows`, then for each item in order add `value` to row `index`. */
export interface ScatterForm {
  readonly form: "scatter";
  readonly rows: number;
  readonly item: readonly Var[];
  readonly column: readonly Var[];
  /** Over `item`. */
  readonly index: Expr;
  /** Over `item` and `column`. */
  readonly value: Expr;
  /** Slot of the result [rows, ...column], f32. */
  readonly out: number;
}

/** A result of attention: accumulator 0 is an element of it, for each element. */
export interface AttentionStore extends Store {
  readonly result: AttentionResult;
}

/**
 * Attention of the queries of (batch, head, group, query) to the keys of (batch, head, key), by {@linkcode Scores}. Results
 * "output" and "dq" have an element for each query and feature, "logSumExp" for each query, "dk" and "dv" for each key and
 * feature; a kernel has results of one kind of {@linkcode passOf}. Weights are e^(score − logSumExp), and a score's
 * cotangent is weight · (ct·v − delta).
 */
export interface AttentionForm {
  readonly form: "attention";
  readonly scores: Scores;
  readonly batch: Var;
  readonly head: Var;
  /** Query heads that share a key head. */
  readonly group: Var;
  readonly query: Var;
  readonly key: Var;
  readonly feature: Var;
  /** Over (batch, head, group, query, feature). */
  readonly q: Expr;
  /** Over (batch, head, key, feature). */
  readonly k: Expr;
  readonly v: Expr;
  /** Segments of queries over (batch, query) and of keys over (batch, key), i32; null where scores have none. */
  readonly segments: readonly [Expr, Expr] | null;
  /** What only the derivative reads: `ct` as `q`, the others over (batch, head, group, query). */
  readonly back: { readonly logSumExp: Expr; readonly delta: Expr; readonly ct: Expr } | null;
  readonly stores: readonly AttentionStore[];
}

/** The passes over scores: each is a kernel, whichever of its results are asked for. */
export type AttentionPass = "forward" | "queries" | "keys";

/** The pass that computes a result. */
export function passOf(result: AttentionResult): AttentionPass {
  return result === "dq" ? "queries" : result === "dk" || result === "dv" ? "keys" : "forward";
}

/** What a kernel does. */
export type Form =
  | RowForm
  | ContractForm
  | StagesForm
  | StagesGradForm
  | SolveForm
  | ScatterForm
  | AttentionForm;

/** A kernel. Equal kernels have equal text. */
export interface Kernel {
  /** Readable, from the ops in it: not unique. */
  readonly name: string;
  readonly slots: readonly Slot[];
  readonly body: Form;
}

/** Product of the extents. */
export function extentOf(vars: readonly Var[]): number {
  return vars.reduce((n, v) => n * v.extent, 1);
}

/** All values that a kernel computes. */
export function valuesOf(body: Form): Expr[] {
  switch (body.form) {
    case "row":
      return [...body.reduces, ...body.rowStores, ...body.stores].map((s) => s.value);
    case "contract":
      return [...body.terms.flatMap((t) => [t.left, t.right]), ...body.stores.map((s) => s.value)];
    case "stages":
      return [body.x, ...body.stores.map((s) => s.value)];
    case "stagesGrad":
      return [body.x, body.ct];
    case "solve":
      return [body.a, body.b, ...body.stores.map((s) => s.value)];
    case "scatter":
      return [body.index, body.value];
    case "attention": {
      const { q, k, v, segments, back, stores } = body;
      const more = back ? [back.logSumExp, back.delta, back.ct] : [];
      return [q, k, v, ...(segments ?? []), ...more, ...stores.map((s) => s.value)];
    }
  }
}
