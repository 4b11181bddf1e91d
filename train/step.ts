/** The training step, evaluation and initialisation as pure graphs. @module */
import { cotangents, fill, type Tensor } from "../core/mod.ts";
import { baseMap, type Factors, type LinearMap, type Site, siteOf } from "../adapters/mod.ts";
import {
  add,
  cast,
  countTrained,
  crossEntropies,
  crossEntropySum,
  div,
  foldIn,
  type Key,
  maximum,
  pack,
  reshape,
  slice,
  sum,
} from "../ops/mod.ts";
import { type Arenas, bind, type ShapeClass, SLOT_UNIT } from "./arena.ts";
import type { LlamaConfig } from "./llama_config.ts";
import { hidden, type Llama, logits, type Rotary } from "./llama.ts";
import { hiddenOf, type Packing, rotaryAt } from "./packed.ts";
import { keepIfFinite, type Optimiser, type OptimiserState, type StepRates } from "./optimiser.ts";

/** Frozen tensors by name. */
export type Weights = Readonly<Record<string, Tensor>>;

/** A batch: ids i32[rows, t] and labels i32[rows, t], the id that each position should predict, or −100. */
export interface Batch {
  readonly ids: Tensor;
  readonly labels: Tensor;
  /** Where rows hold several examples. */
  readonly packing?: Packing;
}

/** What training is about: the model and which of its maps or weights are trained. */
export interface Subject {
  readonly config: LlamaConfig;
  readonly classes: readonly ShapeClass[];
}

/**
 * The model with trained parameters in place: `params` holds a list of tensors for each member of each class; `key` is
 * a training step's randomness, from which each member draws its own.
 */
export function bindModel(
  { config, classes }: Subject,
  weights: Weights,
  params: ReadonlyMap<string, readonly Tensor[]>,
  rotary: Rotary,
  key?: Key,
): Llama {
  const adapters = new Map(classes.flatMap((c) => c.members.map((m) => [m, c.fitted] as const)));
  const places = new Map([...adapters.keys()].map((member, i) => [member, i]));
  const weight = (name: string): Tensor => {
    const trained = adapters.has(name) ? params.get(name)?.[0] : undefined;
    const found = trained ?? weights[name];
    if (!found) throw new Error(`The model has no weight ${name}.`);
    return found;
  };
  const map = (path: string): LinearMap => {
    const base = baseMap(weight(`${path}.weight`));
    const fitted = adapters.get(path);
    return fitted ? fitted.apply(params.get(path)!, base, key && foldIn(key, places.get(path)!)) : base;
  };
  return { config, weight, map, rotary };
}

/** The first `t` rows of the rotary tables among the weights. */
export function rotaryOf(weights: Weights, t: number): Rotary {
  const rows = (x: Tensor): Tensor => slice(x, { start: [0, 0], stop: [t, x.shape[1]!] });
  return { cos: rows(weights["rotary.cos"]!), sin: rows(weights["rotary.sin"]!) };
}

/** The rotary tables for a batch. */
export function rotaryFor(weights: Weights, { ids, packing }: Pick<Batch, "ids" | "packing">): Rotary {
  if (!packing) return rotaryOf(weights, ids.shape[1]!);
  return rotaryAt({ cos: weights["rotary.cos"]!, sin: weights["rotary.sin"]! }, packing.positions);
}

/** Sum of the losses over trained positions, f32[], and their number, f32[]. */
export function lossOf(
  model: Llama,
  batch: Batch,
): { readonly sum: Tensor; readonly count: Tensor } {
  return headLoss(model, hiddenOf(model, batch), batch.labels);
}

/** The same from the hidden states f32[rows, t, hidden] before the head. */
export function headLoss(
  model: Llama,
  states: Tensor,
  labels: Tensor,
): { readonly sum: Tensor; readonly count: Tensor } {
  const [rows, t] = labels.shape as [number, number];
  const flat = reshape(logits(model, states), [rows * t, model.config.vocabSize]);
  return crossEntropySum(flat, reshape(labels, [rows * t]));
}

/** The losses of each row added up, f32[rows]: −log probability of the row's labels together. */
export function rowLosses(model: Llama, { ids, labels }: Batch): Tensor {
  const [rows, t] = labels.shape as [number, number];
  const flat = reshape(logits(model, hidden(model, ids)), [rows * t, model.config.vocabSize]);
  return sum(reshape(crossEntropies(flat, reshape(labels, [rows * t])), [rows, t]), { axes: [1] });
}

/** Everything that a step reads. */
export interface StepInput {
  readonly weights: Weights;
  readonly params: Arenas;
  readonly optimiser: OptimiserState;
  readonly batch: Batch;
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
 * optimiser. The loss is the mean over all trained positions of the batch, however they are spread over the parts.
 */
export function trainStep(
  subject: Subject,
  optimiser: Optimiser,
  accumulate: number,
): (x: StepInput) => StepOutput {
  const { classes } = subject;
  return ({ weights, params, optimiser: state, batch, rates, key }) => {
    const { members, wrt, gather } = bind(classes, params);
    const parts = splitBatch(batch, accumulate);
    const count = maximum(countTrained(batch.labels), 1);
    let loss: Tensor | null = null;
    let grads: (Tensor | null)[] | null = null;
    for (const [i, part] of parts.entries()) {
      const own = foldIn({ bits: key }, i);
      const model = bindModel(subject, weights, members, rotaryFor(weights, part), own);
      // Of the sum, not of the mean: cotangents of activations are then of a size that f16 holds.
      const { sum, fresh } = lossAndCotangents(model, part, wrt, trainsHead(subject));
      grads = grads ? grads.map((g, i) => g && fresh[i] ? add(g, fresh[i]) : g ?? fresh[i]!) : fresh;
      loss = loss ? add(loss, sum) : sum;
    }
    // Divided here and not one by one, so that each is computed when its cotangent appears.
    const packed = Object.fromEntries(
      Object.entries(gather(grads!)).map(([key, total]) => [key, div(total, count)]),
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
      optimiser: kept(result.state, state),
      metrics: { loss: div(loss!, count), ...result.metrics },
    };
  };
}

/** Logits that may exist at a time. */
const MOST_LOGITS = 2 ** 27;

/** Whether the weight that makes the logits is trained itself. */
function trainsHead({ config, classes }: Subject): boolean {
  const head = config.tiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return classes.some((c) => !c.fitted && c.members.includes(head));
}

/**
 * Sum of the losses, f32[], and its cotangents. Where there would be more than `most` logits, they are made for some positions at a
 * time, and consumed before the next ones; a head that is trained itself must see the `whole`.
 */
export function lossAndCotangents(
  model: Llama,
  batch: Batch,
  wrt: readonly Tensor[],
  whole: boolean,
  most = MOST_LOGITS,
): { readonly sum: Tensor; readonly fresh: (Tensor | null)[] } {
  const [rows, t] = batch.ids.shape as [number, number];
  const { hiddenSize, vocabSize } = model.config;
  // Parts lie end to end in one buffer, each where a binding may begin.
  const fits = hiddenSize % SLOT_UNIT === 0;
  let parts = whole || !fits ? 1 : Math.min(rows * t, Math.ceil(rows * t * vocabSize / most));
  while (rows * t % parts !== 0) parts++;
  if (parts === 1) {
    const { sum } = lossOf(model, batch);
    return { sum, fresh: cotangents([sum], [fill(1)], wrt) };
  }
  const states = hiddenOf(model, batch), size = rows * t / parts;
  const flat = reshape(states, [rows * t, hiddenSize]), labels = reshape(batch.labels, [rows * t]);
  let total: Tensor | null = null;
  const pulled = Array.from({ length: parts }, (_, i) => {
    const x = slice(flat, { start: [i * size, 0], stop: [(i + 1) * size, hiddenSize] });
    const own = slice(labels, { start: [i * size], stop: [(i + 1) * size] });
    const { sum } = headLoss(model, reshape(x, [1, size, hiddenSize]), reshape(own, [1, size]));
    total = total ? add(total, sum) : sum;
    return cotangents([sum], [fill(1)], [x])[0]!;
  });
  const ct = reshape(pack(pulled, size * hiddenSize), states.shape);
  return { sum: total!, fresh: cotangents([states], [ct], wrt) };
}

function splitBatch({ ids, labels, packing }: Batch, parts: number): Batch[] {
  const [rows, t] = ids.shape as [number, number];
  if (rows % parts !== 0) throw new Error(`A batch of ${rows} rows cannot be cut into ${parts} equal parts.`);
  const size = rows / parts;
  return Array.from({ length: parts }, (_, i) => {
    const cut = (x: Tensor): Tensor =>
      parts === 1 ? x : slice(x, { start: [i * size, 0], stop: [(i + 1) * size, t] });
    return {
      ids: cut(ids),
      labels: cut(labels),
      ...(packing ? { packing: { segments: cut(packing.segments), positions: cut(packing.positions) } } : {}),
    };
  });
}

/** u32 words between the keys of two members: 256 bytes, so that each can be bound on its own. */
export const KEY_STRIDE = 64;

/** Factors that adapters asked for, by member, in the order of their asks. */
export type FactorsOf = ReadonlyMap<string, readonly Factors[]>;

/**
 * Initial parameters of every member: adapters draw theirs from the member's key, the first two words of its row of
 * `keys` u32[members, KEY_STRIDE], and from the weight that they adapt; weights that are trained themselves start as
 * they are.
 */
export function initialParams(
  classes: readonly ShapeClass[],
  weights: Weights,
  keys: Tensor,
  factors: FactorsOf,
): Map<string, readonly Tensor[]> {
  const params = new Map<string, readonly Tensor[]>();
  let row = 0;
  for (const { members, fitted } of classes) {
    for (const member of members) {
      const bits = reshape(slice(keys, { start: [row, 0], stop: [row + 1, 2] }), [2]);
      const site = (): Site => siteOf(weights[`${member}.weight`]!, factors.get(member));
      params.set(member, fitted ? fitted.init({ bits }, site()) : [cast(weights[member]!, "f32")]);
      row++;
    }
  }
  return params;
}
