/** The training step towards any objective as a pure graph. @module */
import type { Tensor } from "../core/mod.ts";
import { add, div, foldIn, type Key, maximum, mul, reshape, slice } from "../ops/mod.ts";
import { type Arenas, bind, type ShapeClass } from "./arena.ts";
import type { Batch, Watch, Weights } from "./bind_model.ts";
import {
  isFiniteNorm,
  keepIfFinite,
  type Optimiser,
  type OptimiserState,
  type StepRates,
} from "./optimiser.ts";

/** Tensors of a batch by name; the first axis of each counts its rows. */
export type BatchTensors = Readonly<Record<string, Tensor>>;

/** What a training step makes small. */
export interface Objective {
  /** Number of losses in a batch, f32[]. */
  readonly count: (batch: BatchTensors) => Tensor;
  /** Sum of a batch's losses, f32[], and its cotangents for `wrt`. */
  readonly pull: (
    at: {
      readonly weights: Weights;
      readonly params: ReadonlyMap<string, readonly Tensor[]>;
      readonly key: Key;
      /** f32[]; cotangents are those of the sum multiplied by it. Absent: 1. */
      readonly scale?: Tensor;
      /** Shown what the model's linear maps read and give, in order. */
      readonly watch?: Watch;
    },
    batch: BatchTensors,
    wrt: readonly Tensor[],
  ) => { readonly sum: Tensor; readonly fresh: readonly (Tensor | null)[] };
}

/** Everything that a step reads. */
export interface StepInput<B extends BatchTensors = Batch> {
  readonly weights: Weights;
  readonly params: Arenas;
  readonly optimiser: OptimiserState;
  readonly batch: B;
  /** f32[4]: learning rate, orthogonal learning rate, Adam's two bias corrections. */
  readonly rates: Tensor;
  /** u32[2]: the step's key, for dropout. */
  readonly key: Tensor;
}

/** Everything that a step gives: the arenas that change, the next state, and f32[] numbers to log. */
export interface StepOutput {
  readonly params: Arenas;
  readonly optimiser: OptimiserState;
  readonly metrics: Readonly<Record<string, Tensor>>;
}

/**
 * One optimiser step: loss and gradients over `accumulate` equal parts of the batch, one after the other, then the
 * optimiser. The loss is the mean over all losses of the batch, however they are spread over the parts.
 */
export function objectiveStep(
  classes: readonly ShapeClass[],
  objective: Objective,
  optimiser: Optimiser,
  accumulate: number,
): (x: StepInput<BatchTensors>) => StepOutput {
  return ({ weights, params, optimiser: state, batch, rates, key }) => {
    const { members, wrt, gather } = bind(classes, params);
    const parts = splitBatch(batch, accumulate);
    const count = maximum(objective.count(batch), 1);
    const { lossScale } = optimiser, scale = lossScale?.scale(state);
    let loss: Tensor | null = null;
    let grads: (Tensor | null)[] | null = null;
    for (const [i, part] of parts.entries()) {
      const own = foldIn({ bits: key }, i);
      // Of the sum, not of the mean: cotangents of activations are then of a size that f16 holds.
      const { sum, fresh } = objective.pull(
        { weights, params: members, key: own, ...(scale ? { scale } : {}) },
        part,
        wrt,
      );
      grads = grads ? grads.map((g, i) => g && fresh[i] ? add(g, fresh[i]) : g ?? fresh[i]!) : [...fresh];
      loss = loss ? add(loss, sum) : sum;
    }
    // Divided here and not one by one, so that each is computed when its cotangent appears.
    const divisor = scale ? mul(count, scale) : count;
    const packed = Object.fromEntries(
      Object.entries(gather(grads!)).map(([key, total]) => [key, div(total, divisor)]),
    );
    const at = (i: number): Tensor => reshape(slice(rates, { start: [i], stop: [i + 1] }), []);
    const stepRates: StepRates = { plain: at(0), orthogonal: at(1), correction1: at(2), correction2: at(3) };
    const result = optimiser.update(packed, state, { classes, params, grads: packed, rates: stepRates });
    const norm = result.metrics["gradNorm"]!;
    const kept = (fresh: Arenas, old: Arenas): Arenas =>
      Object.fromEntries(Object.entries(fresh).map(([key, x]) => [key, keepIfFinite(norm, x, old[key]!)]));
    const moved = {
      ...Object.fromEntries(Object.entries(result.updates).map(([key, u]) => [key, add(params[key]!, u)])),
      ...result.replaced,
    };
    return {
      params: kept(moved, params),
      optimiser: { ...kept(result.state, state), ...lossScale?.next(state, isFiniteNorm(norm)) },
      metrics: { loss: div(loss!, count), ...(scale ? { lossScale: scale } : {}), ...result.metrics },
    };
  };
}

/** A batch in equal parts. Throws Error where its rows cannot be cut so. */
export function splitBatch(batch: BatchTensors, parts: number): BatchTensors[] {
  if (parts === 1) return [batch];
  const cut = (x: Tensor, i: number): Tensor => {
    const [rows, ...rest] = x.shape as [number, ...number[]];
    if (rows % parts !== 0) {
      throw new Error(`A batch of ${rows} rows cannot be cut into ${parts} equal parts.`);
    }
    const size = rows / parts;
    return slice(x, { start: [i * size, ...rest.map(() => 0)], stop: [(i + 1) * size, ...rest] });
  };
  return Array.from(
    { length: parts },
    (_, i) => Object.fromEntries(Object.entries(batch).map(([name, x]) => [name, cut(x, i)])),
  );
}
