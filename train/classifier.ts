/** An encoder in training for a task: its loss, its outputs on rows, gradients for starts. @module */
import {
  type Aval,
  aval,
  cotangents,
  type Device,
  type DeviceArray,
  fill,
  gradients,
  sizeOf,
  type Tensor,
} from "../core/mod.ts";
import type { LinearMap } from "../adapters/mod.ts";
import {
  add,
  cast,
  crossEntropySum,
  div,
  dotGeneral,
  eq,
  le,
  maximum,
  reshape,
  square,
  sub,
  sum,
  where,
} from "../ops/mod.ts";
import { bind, type ShapeClass } from "./arena.ts";
import { batches, IGNORED, type TokenBatch } from "./batches.ts";
import type { Example } from "./data.ts";
import { classify, type Encoder } from "./encoder.ts";
import type { EncoderConfig } from "./encoder_config.ts";
import type { GlueTarget } from "./evaluation/glue_tasks.ts";
import type { LayerGradients } from "./full_gradients.ts";
import { RunnerCache, runnerOf } from "./runner.ts";
import { type HostTensor, openTraining, type SessionOptions, type Training } from "./session.ts";
import { type BatchTensors, bindMaps, type Objective, type Weights } from "./step.ts";

/** An encoder with its head, and what of it is trained. */
export interface ClassifierSubject {
  readonly config: EncoderConfig;
  readonly target: GlueTarget;
  readonly classes: readonly ShapeClass[];
}

/** What an encoder reads and is to predict: ids and types i32[rows, t], lengths i32[rows], targets f32[rows]. */
type ClassifierBatch = {
  readonly ids: Tensor;
  readonly types: Tensor;
  readonly lengths: Tensor;
  readonly targets: Tensor;
};

/** Outputs of a head: a number for each class, or the one that is predicted. */
export function outputsOf(target: GlueTarget): number {
  return target.kind === "classes" ? target.labels.length : 1;
}

/** Rows that are no padding. */
function countRows({ lengths }: Pick<ClassifierBatch, "lengths">): Tensor {
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
    pull: ({ weights, params, key }, batch, wrt) => {
      const model = { config, ...bindMaps(classes, weights, params, key) };
      const { sum } = classifierLoss(model, target, batch as ClassifierBatch);
      return { sum, fresh: cotangents([sum], [fill(1)], wrt) };
    },
  };
}

/** What an encoder says of rows. */
export interface Predictions {
  /** Mean loss a row. */
  readonly loss: number;
  /** Numbers of the head, in the order of the rows. */
  readonly outputs: readonly (readonly number[])[];
  /** The class of the largest number, or the number itself. */
  readonly predicted: readonly number[];
}

/** An encoder in training. */
export interface Classifier extends Training<TokenBatch> {
  /** Predictions for all rows, `rows` at a time; null where `stopped` said so in between. */
  readonly predict: (
    examples: readonly Example[],
    options: { readonly rows: number; readonly seq: number; readonly stopped?: () => boolean },
  ) => Promise<Predictions | null>;
}

/** Options of {@linkcode openClassifier}. */
export interface ClassifierOptions extends Omit<SessionOptions, "subject" | "maxLength" | "startBatches"> {
  readonly subject: ClassifierSubject;
  /** Batches whose gradients start the adapters that ask for them. */
  readonly startBatches?: readonly TokenBatch[];
}

/** What a step reads of a batch. Throws TypeError for one of a language model. */
export function classifierInputs(
  { ids, rows, length, classified }: TokenBatch,
): Readonly<Record<string, HostTensor>> {
  if (!classified) throw new TypeError("These rows have nothing to classify: read them for a task.");
  const tokens = aval([rows, length], "i32");
  return {
    ids: { aval: tokens, data: ids },
    types: { aval: tokens, data: classified.types },
    lengths: { aval: aval([rows], "i32"), data: classified.lengths },
    targets: { aval: aval([rows]), data: classified.targets },
  };
}

/** Upload an encoder and prepare its parameters; plans are compiled when a batch of a new shape first comes. */
export async function openClassifier(options: ClassifierOptions): Promise<Classifier> {
  const { device, subject, startBatches = [] } = options, { config, target, classes } = subject;
  const training = await openTraining<TokenBatch>({
    ...options,
    classes,
    objective: classifierObjective(subject),
    tables: new Map(),
    inputs: classifierInputs,
    start: (frozen, arrays) => ({
      batches: startBatches.length,
      gradients: (paths) =>
        classifierGradients({ device, subject, frozen, arrays, batches: startBatches }, paths),
    }),
  });
  const { frozen, params, runner, withBatch, batchAvals } = training;
  return {
    ...training,
    predict: async (examples, { rows, seq, stopped = () => false }) => {
      const places = new Map(examples.map((example, i) => [example, i]));
      const outputs = new Array<readonly number[]>(examples.length);
      let total = 0;
      for (const batch of batches(examples, { batch: rows, seq, seed: 0, epochs: 1, shuffle: false })) {
        // The CPU computes on this thread: let signals in between batches.
        await new Promise((resume) => setTimeout(resume, 0));
        if (stopped()) return null;
        const run = await runner(
          `predict ${batch.rows} ${batch.length}`,
          () =>
            runnerOf(device, ({ weights, params, batch }) => {
              const maps = bindMaps(classes, weights, bind(classes, params).members);
              return classifierLoss({ config, ...maps }, target, batch as ClassifierBatch);
            }, { weights: frozen, params, batch: batchAvals(batch) }),
        );
        const out = run.run(withBatch(batch));
        const [values, loss] = await Promise.all(
          ["outputs", "sum"].map((name) => device.download(out.get(name)!)),
        );
        const width = values!.length / batch.rows;
        batch.members.forEach((example, row) => {
          outputs[places.get(example)!] = [...values!.slice(row * width, (row + 1) * width)];
        });
        total += loss![0]!;
      }
      const largest = (list: readonly number[]): number => list.indexOf(Math.max(...list));
      return {
        loss: total / examples.length,
        outputs,
        predicted: outputs.map((list) => target.kind === "classes" ? largest(list) : list[0]!),
      };
    },
  };
}

interface GradientsInput {
  readonly device: Device;
  readonly subject: ClassifierSubject;
  readonly frozen: Readonly<Record<string, Aval>>;
  readonly arrays: ReadonlyMap<string, DeviceArray>;
  readonly batches: readonly TokenBatch[];
}

/**
 * Mean gradients of the batches' loss for the weights of `paths`, all at once: encoders are small, and so are their
 * gradients beside what a step keeps. The model is the frozen one, without adapters.
 */
export async function* classifierGradients(
  { device, subject: { config, target }, frozen, arrays, batches }: GradientsInput,
  paths: ReadonlySet<string>,
): AsyncGenerator<LayerGradients> {
  const plans = new RunnerCache(), asked = [...paths];
  const owned: DeviceArray[] = [];
  const upload = (at: Aval, data: HostTensor["data"]): DeviceArray => {
    const array = device.upload(data, at);
    owned.push(array);
    return array;
  };
  try {
    const avals = Object.fromEntries(asked.map((path) => [path, aval(frozen[`${path}.weight`]!.shape)]));
    const totals = new Map(
      asked.map((path) => [path, upload(avals[path]!, new Float32Array(sizeOf(avals[path]!.shape)))]),
    );
    for (const [i, batch] of batches.entries()) {
      const inputs = Object.entries(classifierInputs(batch));
      const run = await plans.get(`${batch.rows} ${batch.length}`, () =>
        runnerOf(
          device,
          ({ weights, batch, first, total }) => ({
            total: gradientsOf(config, target, asked, weights, batch, (path, g) => {
              const mean = div(g, batches.length), old = total[path]!;
              return where(eq(reshape(first, [1, 1]), 1), mean, add(old, mean));
            }),
          }),
          {
            weights: frozen,
            batch: Object.fromEntries(inputs.map(([name, t]) => [name, t.aval])),
            first: aval([]),
            total: avals,
          },
          ["total"],
        ));
      run.run(
        new Map([
          ...arrays,
          ...inputs.map(([name, t]) => [`batch.${name}`, upload(t.aval, t.data)] as const),
          ["first", upload(aval([]), Float32Array.of(i === 0 ? 1 : 0))] as const,
          ...[...totals].map(([path, array]) => [`total.${path}`, array] as const),
        ]),
      );
    }
    const bytes = await plans.temporaryBytes() + owned.reduce((n, a) => n + 4 * sizeOf(a.aval.shape), 0);
    yield { gradients: totals, bytes };
  } finally {
    await plans.dispose();
    for (const array of owned) device.free(array);
  }
}

/** Gradients of a batch's mean loss for maps' weights, each as `use` makes of it. */
function gradientsOf(
  config: EncoderConfig,
  target: GlueTarget,
  paths: readonly string[],
  weights: Weights,
  batch: BatchTensors,
  use: (path: string, gradient: Tensor) => Tensor,
): Record<string, Tensor> {
  // A zero added to each map's result catches its cotangent: the weight itself may be stored in f16.
  const taps = new Map<string, { readonly input: Tensor; readonly zero: Tensor }>();
  const wanted = new Set(paths), plain = bindMaps([], weights, new Map());
  const map = (path: string): LinearMap => (input) => {
    const y = plain.map(path)(input);
    if (!wanted.has(path)) return y;
    const zero = fill(0, y.shape);
    taps.set(path, { input, zero });
    return add(y, zero);
  };
  const rows = batch as ClassifierBatch;
  const { sum } = classifierLoss({ config, weight: plain.weight, map }, target, rows);
  const loss = div(sum, maximum(countRows(rows), 1));
  const list = paths.map((path) => taps.get(path)!);
  const cts = gradients([loss], [fill(1)], list.map((t) => t.zero));
  return Object.fromEntries(paths.map((path, i) => {
    const inner = [[0, 1], [0, 1]] as const;
    return [path, use(path, dotGeneral(cts[i]!, list[i]!.input, { batch: [[], []], inner }))];
  }));
}
