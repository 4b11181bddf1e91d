/** The loss of language models, with few logits at a time, and the step that makes it small. @module */
import { cotangents, fill, sizeOf, type Tensor } from "../core/mod.ts";
import { add, countTrained, crossEntropies, crossEntropySum, pack, reshape, slice, sum } from "../ops/mod.ts";
import { SLOT_UNIT } from "./arena.ts";
import { type Batch, bindModel, positionsOf, type Subject } from "./bind_model.ts";
import { type Decoder, headOf } from "./decoder.ts";
import type { Optimiser } from "./optimiser.ts";
import { hiddenOf } from "./packed.ts";
import { type Objective, objectiveStep, type StepInput, type StepOutput } from "./step.ts";

/** Sum of the losses over trained positions, f32[], and their number, f32[]. */
export function lossOf(
  model: Decoder,
  batch: Batch,
): { readonly sum: Tensor; readonly count: Tensor } {
  return headLoss(model, hiddenOf(model, batch), batch.labels);
}

/** The same from the hidden states f32[rows, t, hidden] before the head. */
export function headLoss(
  model: Decoder,
  states: Tensor,
  labels: Tensor,
): { readonly sum: Tensor; readonly count: Tensor } {
  const [rows, t] = labels.shape as [number, number];
  const flat = reshape(model.logits(states), [rows * t, model.config.vocabSize]);
  return crossEntropySum(flat, reshape(labels, [rows * t]));
}

/**
 * The losses of each row added up, f32[rows]: −log probability of the row's labels together. Where there would be more than
 * `most` logits, they are made for some positions at a time.
 */
export function rowLosses(
  model: Decoder,
  { ids, labels }: Batch,
  most = mostLogits(model.config, sizeOf(labels.shape)),
): Tensor {
  const [rows, t] = labels.shape as [number, number];
  const { hiddenSize, vocabSize } = model.config;
  const states = reshape(model.hidden(ids), [rows * t, hiddenSize]), flat = reshape(labels, [rows * t]);
  let parts = Math.min(rows * t, Math.ceil(rows * t * vocabSize / most));
  while (rows * t % parts !== 0) parts++;
  const size = rows * t / parts;
  const each = Array.from({ length: parts }, (_, i) => {
    const from = i * size, to = from + size;
    const x = slice(states, { start: [from, 0], stop: [to, hiddenSize] });
    return crossEntropies(model.logits(x), slice(flat, { start: [from], stop: [to] }));
  });
  const together = slice(pack(each, Math.ceil(size / SLOT_UNIT) * SLOT_UNIT), {
    start: [0, 0],
    stop: [parts, size],
  });
  return sum(reshape(together, [rows, t]), { axes: [1] });
}

/** Logits that may exist at a time whatever the model. */
const LEAST_LOGITS = 2 ** 25;

/**
 * Logits of `positions` that may exist at a time: in f32 they take half of what the weight that makes them takes in f16, or
 * half of the hidden states that are there anyway. So a graph has at most 2·vocabulary/hidden parts.
 */
function mostLogits({ vocabSize, hiddenSize }: Decoder["config"], positions: number): number {
  return Math.max(LEAST_LOGITS, vocabSize * hiddenSize / 4, positions * hiddenSize / 2);
}

/** Whether the weight that makes the logits is trained itself. */
function trainsHead({ config, classes }: Subject): boolean {
  return classes.some((c) => !c.fitted && c.members.includes(headOf(config)));
}

/**
 * Sum of the losses, f32[], and its cotangents multiplied by `scale`, f32[]. Where there would be more than `most` logits,
 * they are made for some positions at a time, and consumed before the next ones; a head that is trained itself must see the
 * `whole`.
 */
export function lossAndCotangents(
  model: Decoder,
  batch: Batch,
  wrt: readonly Tensor[],
  whole: boolean,
  scale = fill(1),
  most = mostLogits(model.config, sizeOf(batch.labels.shape)),
): { readonly sum: Tensor; readonly fresh: (Tensor | null)[] } {
  const [rows, t] = batch.ids.shape as [number, number];
  const { hiddenSize, vocabSize } = model.config;
  // Parts lie end to end in one buffer, each where a binding may begin.
  const fits = hiddenSize % SLOT_UNIT === 0;
  let parts = whole || !fits ? 1 : Math.min(rows * t, Math.ceil(rows * t * vocabSize / most));
  while (rows * t % parts !== 0) parts++;
  if (parts === 1) {
    const { sum } = lossOf(model, batch);
    return { sum, fresh: cotangents([sum], [scale], wrt) };
  }
  const states = hiddenOf(model, batch), size = rows * t / parts;
  const flat = reshape(states, [rows * t, hiddenSize]), labels = reshape(batch.labels, [rows * t]);
  let total: Tensor | null = null;
  const pulled = Array.from({ length: parts }, (_, i) => {
    const x = slice(flat, { start: [i * size, 0], stop: [(i + 1) * size, hiddenSize] });
    const own = slice(labels, { start: [i * size], stop: [(i + 1) * size] });
    const { sum } = headLoss(model, reshape(x, [1, size, hiddenSize]), reshape(own, [1, size]));
    total = total ? add(total, sum) : sum;
    return cotangents([sum], [scale], [x])[0]!;
  });
  const ct = reshape(pack(pulled, size * hiddenSize), states.shape);
  return { sum: total!, fresh: cotangents([states], [ct], wrt) };
}

/** The loss of a decoder: that of each position that is to predict the next token. */
export function languageObjective(subject: Subject): Objective {
  return {
    count: ({ labels }) => countTrained(labels!),
    pull: ({ weights, params, key, scale, watch }, batch, wrt) => {
      const part = batch as Batch;
      const model = bindModel(subject, weights, params, positionsOf(part), key, watch);
      return lossAndCotangents(model, part, wrt, trainsHead(subject), scale);
    },
  };
}

/** {@linkcode objectiveStep} for a language model. */
export function trainStep(
  subject: Subject,
  optimiser: Optimiser,
  accumulate: number,
): (x: StepInput) => StepOutput {
  return objectiveStep(subject.classes, languageObjective(subject), optimiser, accumulate);
}
