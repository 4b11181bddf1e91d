/** What an encoder with a head is to learn: its inputs, its outputs and its loss, as graphs. @module */
import { type Aval, aval, cotangents, fill, type Tensor } from "../core/mod.ts";
import { cast, crossEntropySum, le, reshape, square, sub, sum, where } from "../ops/mod.ts";
import { bind, type ShapeClass } from "./arena.ts";
import { IGNORED, type TokenBatch } from "./batches.ts";
import { classify, dropBy, type Encoder } from "./encoder.ts";
import type { EncoderConfig } from "./encoder_config.ts";
import type { GlueTarget } from "./evaluation/glue_tasks.ts";
import { bindMaps } from "./bind_model.ts";
import { type Objective, type StepInput } from "./step.ts";
import type { HostTensor } from "./training.ts";

/** An encoder with its head, and what of it is trained. */
export interface ClassifierSubject {
  readonly config: EncoderConfig;
  readonly target: GlueTarget;
  readonly classes: readonly ShapeClass[];
}

/** What an encoder reads and is to predict: ids and types i32[rows, t], lengths i32[rows], targets f32[rows]. */
export type ClassifierBatch = {
  readonly ids: Tensor;
  readonly types: Tensor;
  readonly lengths: Tensor;
  readonly targets: Tensor;
};

/** Outputs of a head: a number for each class, or the one that is predicted. */
export function outputsOf(target: GlueTarget): number {
  return target.kind === "classes" ? target.labels.length : 1;
}

/** Rows that are no padding, f32[]. */
export function countRows({ lengths }: Pick<ClassifierBatch, "lengths">): Tensor {
  return sum(cast(le(1, lengths), "f32"), { axes: [0] });
}

/** Outputs f32[rows, n] of a batch and the sum of its losses, f32[]: cross-entropy of the classes, or squared errors. */
export function classifierLoss(
  model: Encoder,
  target: GlueTarget,
  batch: ClassifierBatch,
): { readonly outputs: Tensor; readonly sum: Tensor } {
  const { lengths, targets } = batch, outputs = classify(model, batch);
  if (target.kind === "classes") {
    const labels = cast(where(le(1, lengths), targets, IGNORED), "i32");
    return { outputs, sum: crossEntropySum(outputs, labels).sum };
  }
  const errors = square(sub(reshape(outputs, targets.shape), targets));
  return { outputs, sum: sum(where(le(1, lengths), errors, 0), { axes: [0] }) };
}

/** The objective of a training step: the mean of {@linkcode classifierLoss} over the rows. */
export function classifierObjective({ config, target, classes }: ClassifierSubject): Objective {
  return {
    count: (batch) => countRows(batch as ClassifierBatch),
    pull: ({ weights, params, key, scale = fill(1), watch }, batch, wrt) => {
      const maps = bindMaps(classes, weights, params, key, watch);
      const model = { config, ...maps, drop: dropBy(config.dropout, key) };
      const { sum } = classifierLoss(model, target, batch as ClassifierBatch);
      return { sum, fresh: cotangents([sum], [scale], wrt) };
    },
  };
}

/** What {@linkcode predictions} reads. */
type PredictionInput = Pick<StepInput, "weights" | "params"> & { readonly batch: ClassifierBatch };

/** Outputs f32[rows, n] of a batch and the sum of its losses, with what was trained in place. */
export function predictions(
  { config, target, classes }: ClassifierSubject,
): (x: PredictionInput) => ReturnType<typeof classifierLoss> {
  return ({ weights, params, batch }) => {
    const maps = bindMaps(classes, weights, bind(classes, params).members);
    return classifierLoss({ config, ...maps }, target, batch);
  };
}

/** Types of what a step reads of a batch. */
export function classifierAvals(
  { rows, length }: Pick<TokenBatch, "rows" | "length">,
): Readonly<Record<keyof ClassifierBatch, Aval>> {
  const tokens = aval([rows, length], "i32");
  return { ids: tokens, types: tokens, lengths: aval([rows], "i32"), targets: aval([rows]) };
}

/** What a step reads of a batch. Throws TypeError for one of a language model. */
export function classifierInputs(
  { ids, rows, length, classified }: TokenBatch,
): Readonly<Record<string, HostTensor>> {
  if (!classified) throw new TypeError("These rows have nothing to classify: read them for a task.");
  const avals = classifierAvals({ rows, length });
  return {
    ids: { aval: avals.ids, data: ids },
    types: { aval: avals.types, data: classified.types },
    lengths: { aval: avals.lengths, data: classified.lengths },
    targets: { aval: avals.targets, data: classified.targets },
  };
}
