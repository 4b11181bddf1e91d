/** The training step, evaluation and initialisation as pure graphs. @module */
import { cotangents, fill, sizeOf, type Tensor } from "../core/mod.ts";
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
  mul,
  pack,
  reshape,
  slice,
  sum,
} from "../ops/mod.ts";
import { type Arenas, bind, type ShapeClass, SLOT_UNIT } from "./arena.ts";
import { type BoundWeights, type Decoder, type DecoderConfig, decoderOf, headOf } from "./decoder.ts";
import { hiddenOf, packedPositions } from "./packed.ts";
import {
  isFiniteNorm,
  keepIfFinite,
  type Optimiser,
  type OptimiserState,
  type StepRates,
} from "./optimiser.ts";

/** Frozen tensors by name. */
export type Weights = Readonly<Record<string, Tensor>>;

/** A batch: ids i32[rows, t] and labels i32[rows, t], the id that each position should predict, or −100. */
export type Batch = {
  readonly ids: Tensor;
  readonly labels: Tensor;
  /** Where rows hold several examples, see Packing: both or neither. */
  readonly segments?: Tensor;
  readonly positions?: Tensor;
};

/** Tensors of a batch by name; the first axis of each counts its rows. */
export type BatchTensors = Readonly<Record<string, Tensor>>;

/** Is shown a tensor of a step, with its name for people. */
export type Watch = (name: string, of: Tensor) => void;

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

/** What training is about: the model and which of its maps or weights are trained. */
export interface Subject {
  readonly config: DecoderConfig;
  readonly classes: readonly ShapeClass[];
}

/**
 * The model with trained parameters in place: `params` holds a list of tensors for each member of each class;
 * `positions` takes the rows of the positions at hand out of a table; `key` is a training step's randomness, from which
 * each member draws its own.
 */
export function bindModel(
  { config, classes }: Subject,
  weights: Weights,
  params: ReadonlyMap<string, readonly Tensor[]>,
  positions: Positions,
  key?: Key,
  watch?: Watch,
): Decoder {
  const bound = bindMaps(classes, weights, params, key, watch);
  return decoderOf(config, { ...bound, rows: (name) => positions(bound.weight(name)) });
}

/** The weights and linear maps of any model with trained parameters in place, see {@linkcode bindModel}. */
export function bindMaps(
  classes: readonly ShapeClass[],
  weights: Weights,
  params: ReadonlyMap<string, readonly Tensor[]>,
  key?: Key,
  watch?: Watch,
): Pick<BoundWeights, "weight" | "map"> {
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
    const own = fitted ? fitted.apply(params.get(path)!, base, key && foldIn(key, places.get(path)!)) : base;
    return watch ? watched(own, path, watch) : own;
  };
  return { weight, map };
}

function watched(map: LinearMap, path: string, watch: Watch): LinearMap {
  return (x) => {
    watch(`the input of ${path}`, x);
    const y = map(x);
    watch(`the result of ${path}`, y);
    return y;
  };
}

/** Rows of a table [positions, ...] that belong to the positions at hand. */
export type Positions = (table: Tensor) => Tensor;

/** Positions 0 to t − 1. */
export function firstPositions(t: number): Positions {
  return (table) => slice(table, { start: [0, 0], stop: [t, table.shape[1]!] });
}

/** The positions of a batch: those of its packing, or the first ones. */
export function positionsOf({ ids, positions }: Pick<Batch, "ids" | "positions">): Positions {
  return positions ? packedPositions(positions) : firstPositions(ids.shape[1]!);
}

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
 * optimiser. The loss is the mean over all trained positions of the batch, however they are spread over the parts.
 */
export function trainStep(
  subject: Subject,
  optimiser: Optimiser,
  accumulate: number,
): (x: StepInput) => StepOutput {
  return objectiveStep(subject.classes, languageObjective(subject), optimiser, accumulate);
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

/** {@linkcode trainStep} for what trains the parameters of `classes` towards any objective. */
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
