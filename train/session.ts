/** A model in training on a device: weights, trained parameters and optimiser state stay there between steps. @module */
import {
  type Aval,
  aval,
  type Device,
  type DeviceArray,
  evaluate,
  type HostArray,
  planBytes,
  sameShape,
  ShapeError,
  showAval,
  sizeOf,
} from "../core/mod.ts";
import { foldIn, key } from "../ops/mod.ts";
import { arenaAval, bind, type ShapeClass } from "./arena.ts";
import { generate, type GenerateOptions } from "./generate.ts";
import { type GivenValues, giveValues } from "./given.ts";
import { tablesOf } from "./decoder.ts";
import { firstNotFinite } from "./diagnose.ts";
import type { Optimiser } from "./optimiser.ts";
import { initialise } from "./initialise.ts";
import { mergedWeights } from "./merge.ts";
import { weightsLeaf } from "./mixing.ts";
import { type Runner, RunnerCache, runnerOf } from "./runner.ts";
import { fullGradients } from "./full_gradients.ts";
import type { StoredTensor } from "./safetensors.ts";
import { startFactors, type StartPass } from "./start_factors.ts";
import {
  bindModel,
  firstPositions,
  languageObjective,
  lossOf,
  type Objective,
  objectiveStep,
  positionsOf,
  rowLosses,
  type Subject,
} from "./step.ts";
import { uploadWeights } from "./upload.ts";

/** Numbers of a weight on the host. */
export type HostTensor = StoredTensor;

/** A batch on the host: ids and labels i32[rows · length], labels −100 where nothing is trained. */
export interface HostBatch {
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly rows: number;
  readonly length: number;
  /** Where rows hold several examples, i32[rows · length] both; see Packing. */
  readonly packing?: { readonly segments: Int32Array; readonly positions: Int32Array };
}

/** What a step reports, once it is read back. */
export interface StepMetrics {
  readonly loss: number;
  readonly gradNorm: number;
  /** λ after this step; empty without mixed adapters. */
  readonly lambdas: Lambdas;
}

/** Weight of each branch of a mixed adapter, by the path of the adapted map (and of the mix, if it is inside another adapter). */
export type Lambdas = Readonly<Record<string, readonly number[]>>;

/** Options of {@linkcode openSession}. */
export interface SessionOptions {
  readonly device: Device;
  readonly subject: Subject;
  readonly weights: ReadonlyMap<string, HostTensor>;
  readonly optimiser: Optimiser;
  readonly accumulate: number;
  readonly seed: number;
  /** Longest sequence that will be asked for. */
  readonly maxLength: number;
  /** Parameters that do not start as their adapter starts them, by member and leaf path. */
  readonly values?: GivenValues;
  /** Adam's β, for the bias corrections. */
  readonly betas?: readonly [number, number];
  /** Batches whose gradients start the adapters that ask for them (LoRA-GA). */
  readonly startBatches?: readonly HostBatch[];
  /** A line for people on what the start cost. */
  readonly say?: (line: string) => void;
}

/** Bytes that a training step needs on the device, by what they are for. */
export interface StepBytes {
  /** Frozen weights. */
  readonly weights: number;
  /** Trained parameters, and the optimiser's state. */
  readonly trained: number;
  readonly optimiser: number;
  /** The rest: activations, gradients, the batch. */
  readonly temporaries: number;
  readonly total: number;
}

/** All that steps change. */
export interface SessionState {
  /** Optimiser steps done, those that were left out included; they also decide the next step's key. */
  readonly steps: number;
  /** Arenas `params.<key>` and the optimiser's state `optimiser.<name>`, f32. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

/** Parameters in training on a device, whatever they are trained for; `B` is a batch on the host. */
export interface Training<B> {
  /** One optimiser step at these learning rates. Queued; the promise resolves when the numbers are back. */
  readonly step: (
    batch: B,
    rates: { readonly plain: number; readonly orthogonal: number },
  ) => Promise<StepMetrics>;
  readonly lambdas: () => Promise<Lambdas>;
  /** What first is not finite in the computation of step `step` on this batch, as things stand; null where all is. */
  readonly firstNotFinite: (batch: B, step: number) => Promise<string | null>;
  /** Trained values by member and leaf path, f32. */
  readonly trained: () => Promise<ReadonlyMap<string, ReadonlyMap<string, HostTensor>>>;
  /** What {@linkcode Session.restore} needs to go on bit for bit; to be asked for when no step is under way. */
  readonly state: () => Promise<SessionState>;
  /** Go on from a state of an equal session. Throws ShapeError where its tensors are not those of this session. */
  readonly restore: (state: SessionState) => void;
  /** All weights of the model with what was trained merged in: f32 where something was, the others as they came. */
  readonly merged: () => Promise<ReadonlyMap<string, HostTensor>>;
  /** Merged weights f32 of these maps, or weights that are trained themselves, alone. */
  readonly mergedOnly: (members: ReadonlySet<string>) => Promise<ReadonlyMap<string, HostTensor>>;
  /**
   * Seconds spent compiling so far, bytes that the largest plan needs besides weights and state, and what the training
   * step needs (of several shapes the largest; null before the first step).
   */
  readonly stats: () => {
    readonly compileSeconds: number;
    readonly temporaryBytes: number;
    readonly step: StepBytes | null;
  };
}

/** A decoder in training. */
export interface Session extends Training<HostBatch> {
  /** Mean loss per trained token over batches, as far as they go before `stopped`; 0 tokens give NaN. */
  readonly evaluate: (
    batches: Iterable<HostBatch>,
    stopped?: () => boolean,
  ) => Promise<{ readonly loss: number; readonly tokens: number }>;
  /** −log probability of the labels of each row of a batch, f32[rows]; 0 for a row without labels. */
  readonly rowLosses: (batch: HostBatch) => Promise<Float32Array>;
  /** Continuations, greedy unless `options` has a sampling: at most `maxNew` ids after each prompt, ended by `end` (not included) or the length limit. */
  readonly generate: (
    prompts: readonly (readonly number[])[],
    maxNew: number,
    end: number,
    options?: GenerateOptions,
  ) => Promise<number[][]>;
  /** Logits f32[length, vocab] of one sequence. */
  readonly logits: (ids: readonly number[]) => Promise<Float32Array>;
}

/** Options of {@linkcode openTraining}. */
export interface TrainingOptions<B> extends Omit<SessionOptions, "subject" | "maxLength" | "startBatches"> {
  readonly classes: readonly ShapeClass[];
  readonly objective: Objective;
  /** Tensors that the model reads beside its weights, by name. */
  readonly tables: ReadonlyMap<string, HostTensor>;
  /** What the objective reads of a batch, by name. */
  readonly inputs: (batch: B) => Readonly<Record<string, HostTensor>>;
  /** How gradients of whole weights are computed, for adapters that start from them. */
  readonly start: (
    frozen: Readonly<Record<string, Aval>>,
    arrays: StartPass["arrays"],
  ) => Pick<StartPass, "batches" | "gradients">;
}

/** A training with what graphs of its model are made of. */
export interface OpenTraining<B> extends Training<B> {
  /** Frozen weights and tables, and arenas. */
  readonly frozen: Readonly<Record<string, Aval>>;
  readonly params: Readonly<Record<string, Aval>>;
  /** Their arrays, as `weights.<name>` and `params.<key>`. */
  readonly arrays: ReadonlyMap<string, DeviceArray>;
  /** Compiled graphs by name; what they cost is in the training's stats. */
  readonly runner: (name: string, make: () => Promise<Runner>) => Promise<Runner>;
  /** An input array by name, written anew. */
  readonly feed: (name: string, at: Aval, data: HostArray) => DeviceArray;
  /** The arrays, and those of a batch as `batch.<name>`. */
  readonly withBatch: (batch: B) => Map<string, DeviceArray>;
  readonly batchAvals: (batch: B) => Readonly<Record<string, Aval>>;
}

/** Upload weights and prepare parameters; plans are compiled when a batch of a new shape first comes. */
export async function openTraining<B>(options: TrainingOptions<B>): Promise<OpenTraining<B>> {
  const { device, classes, objective, optimiser, accumulate, betas: [beta1, beta2] = [0.9, 0.999] } = options;
  const host = new Map([...options.weights, ...options.tables]);
  const trainedNames = new Set(classes.filter((c) => !c.fitted).flatMap((c) => c.members));
  const arrays = new Map<string, DeviceArray>();
  const stats: { compileSeconds: number; temporaryBytes: number; step: StepBytes | null } = {
    compileSeconds: 0,
    temporaryBytes: 0,
    step: null,
  };
  const runners = new RunnerCache();
  const runner = (name: string, make: () => Promise<Runner>): Promise<Runner> =>
    runners.get(name, () =>
      make().then((r) => {
        stats.compileSeconds += r.executable.compileSeconds;
        stats.temporaryBytes = Math.max(stats.temporaryBytes, planBytes(r.compiled.plan).temporaries);
        return r;
      }));
  const frozen = Object.fromEntries(
    [...host].filter(([name]) => !trainedNames.has(name)).map(([name, t]) => [name, t.aval]),
  );
  uploadWeights(device, host, Object.keys(frozen)).forEach((array, name) => arrays.set(name, array));

  const params = Object.fromEntries(classes.flatMap((c) => c.leaves.map((l) => [l.key, arenaAval(c, l)])));
  // Until the start is computed, trained weights are needed as they were.
  const own = uploadWeights(device, host, trainedNames);
  const whole = {
    ...frozen,
    ...Object.fromEntries([...trainedNames].map((name) => [name, host.get(name)!.aval])),
  };
  const before = new Map([...arrays, ...own]);
  const factors = await startFactors(
    { device, arrays: before, ...options.start(whole, before) },
    classes,
    options.seed,
    options.say,
    options.values,
  );
  await initialise(device, classes, { own, weights: whole, arrays, factors, seed: options.seed });
  for (const array of own.values()) device.free(array);
  if (options.values) await giveValues(device, classes, arrays, options.values);
  const stateSpec = optimiser.state(classes);
  const state = Object.fromEntries(Object.entries(stateSpec).map(([name, s]) => [name, s.aval]));
  for (const [name, { aval: at, initial }] of Object.entries(stateSpec)) {
    arrays.set(`optimiser.${name}`, device.upload(new Float32Array(sizeOf(at.shape)).fill(initial), at));
  }
  /** Input arrays that are written before each run, by name and aval. */
  const feed = (name: string, at: Aval, data: HostArray): DeviceArray => {
    const id = `${name} ${at.shape.join()}`;
    const old = arrays.get(id);
    if (old) {
      device.write(old, data);
      return old;
    }
    const fresh = device.upload(data, at);
    arrays.set(id, fresh);
    return fresh;
  };
  const withBatch = (batch: B): Map<string, DeviceArray> => {
    const inputs = Object.entries(options.inputs(batch));
    return new Map([
      ...arrays,
      ...inputs.map(([name, t]) => [`batch.${name}`, feed(name, t.aval, t.data)] as const),
    ]);
  };
  const batchAvals = (batch: B): Record<string, Aval> =>
    Object.fromEntries(Object.entries(options.inputs(batch)).map(([name, t]) => [name, t.aval]));
  const readLambdas = async (): Promise<Lambdas> => {
    const all: Record<string, number[]> = {};
    await Promise.all(
      classes.flatMap((c) =>
        c.mixing.map(async (mixing) => {
          const { key, slot } = weightsLeaf(c, mixing);
          const values = await device.download(arrays.get(`params.${key}`)!);
          c.members.forEach((m, i) => {
            const at = mixing.path === "" ? m : `${m} ${mixing.path.slice(0, -1)}`;
            all[at] = [...values.slice(i * slot, i * slot + mixing.branches.length)];
          });
        })
      ),
    );
    return all;
  };
  let steps = 0;
  const stateAvals = new Map<string, Aval>([
    ...Object.entries(params).map(([key, at]) => [`params.${key}`, at] as const),
    ...Object.entries(state).map(([name, at]) => [`optimiser.${name}`, at] as const),
  ]);
  const readState = async (prefix: string): Promise<Map<string, HostTensor>> => {
    const names = [...stateAvals].filter(([name]) => name.startsWith(prefix));
    return new Map(
      await Promise.all(
        names.map(async ([name, at]) =>
          [name, { aval: at, data: await device.download(arrays.get(name)!) }] as const
        ),
      ),
    );
  };

  return {
    frozen,
    params,
    arrays,
    runner,
    feed,
    withBatch,
    batchAvals,
    step: async (batch, rates) => {
      const avals = batchAvals(batch);
      const run = await runner(`step ${showAvals(avals)}`, () =>
        runnerOf(
          device,
          objectiveStep(classes, objective, optimiser, accumulate),
          {
            weights: frozen,
            params,
            optimiser: state,
            batch: avals,
            rates: aval([4]),
            key: aval([2], "u32"),
          },
          ["params", "optimiser"],
        ).then((fresh) => {
          const bytes = stepBytes(fresh);
          if (bytes.total > (stats.step?.total ?? 0)) stats.step = bytes;
          return fresh;
        }));
      steps++;
      const numbers = new Float32Array([
        rates.plain,
        rates.orthogonal,
        1 / (1 - beta1 ** steps),
        1 / (1 - beta2 ** steps),
      ]);
      const [bits] = evaluate([foldIn(key(options.seed), STEP_KEYS + steps).bits]);
      const out = run.run(
        withBatch(batch).set("rates", feed("rates", aval([4]), numbers))
          .set("key", feed("key", aval([2], "u32"), Uint32Array.from(bits!))),
      );
      const read = async (name: string): Promise<number> =>
        (await device.download(out.get(`metrics.${name}`)!))[0]!;
      // All reads are queued before any later step can overwrite what they read.
      const [loss, gradNorm, lambdas] = await Promise.all([read("loss"), read("gradNorm"), readLambdas()]);
      return { loss, gradNorm, lambdas };
    },
    lambdas: readLambdas,
    firstNotFinite: async (batch, step) => {
      const own = foldIn(key(options.seed), STEP_KEYS + step);
      for (let part = 0; part < accumulate; part++) {
        const bits = evaluate([foldIn(own, part).bits])[0]!;
        const found = await firstNotFinite({
          device,
          classes,
          objective,
          weights: frozen,
          params,
          batch: batchAvals(batch),
          part: { index: part, of: accumulate },
          arrays: withBatch(batch).set("key", feed("key", aval([2], "u32"), Uint32Array.from(bits))),
        });
        if (found !== null) return found;
      }
      return null;
    },
    trained: async () => valuesOf(classes, await readState("params.")),
    state: async () => ({ steps, tensors: await readState("") }),
    restore: (state) => {
      requireTensors(stateAvals, state.tensors);
      for (const [name, at] of stateAvals) {
        // Fresh arrays for parameters: those of the start belong to the plan that made them.
        const { data } = state.tensors.get(name)!;
        if (name.startsWith("optimiser.")) device.write(arrays.get(name)!, data);
        else arrays.set(name, device.upload(data, at));
      }
      steps = state.steps;
    },
    merged: async () => {
      const all = new Map(options.weights);
      for await (const [name, tensor] of mergedWeights({ device, classes, frozen, arrays })) {
        all.set(name, tensor);
      }
      return all;
    },
    mergedOnly: async (only) =>
      new Map(await Array.fromAsync(mergedWeights({ device, classes, frozen, arrays, only }))),
    stats: () => stats,
  };
}

/** Upload a decoder and prepare its parameters; plans are compiled when a batch of a new shape first comes. */
export async function openSession(options: SessionOptions): Promise<Session> {
  const { device, subject, maxLength, startBatches = [] } = options;
  const { config, classes } = subject;
  const training = await openTraining<HostBatch>({
    ...options,
    classes,
    objective: languageObjective(subject),
    tables: tablesOf(config, maxLength),
    inputs: ({ ids, labels, packing, rows, length }) => {
      const at = aval([rows, length], "i32");
      const all = { ids, labels, ...packing };
      return Object.fromEntries(Object.entries(all).map(([name, data]) => [name, { aval: at, data }]));
    },
    start: (frozen, arrays) => ({
      batches: startBatches.length,
      gradients: (paths) => fullGradients({ device, config, frozen, arrays, batches: startBatches }, paths),
    }),
  });
  const { frozen, params, arrays, runner, feed, withBatch } = training;
  const batchAvals = ({ rows, length, packing }: HostBatch) => {
    const ids = aval([rows, length], "i32");
    return { ids, labels: ids, ...(packing ? { segments: ids, positions: ids } : {}) };
  };
  return {
    ...training,
    evaluate: async (batches, stopped = () => false) => {
      let total = 0, tokens = 0;
      for (const batch of batches) {
        // The CPU computes on this thread: let signals in between batches.
        await new Promise((resume) => setTimeout(resume, 0));
        if (stopped()) break;
        const run = await runner(
          `eval ${showAvals(batchAvals(batch))}`,
          () =>
            runnerOf(device, ({ weights, params, batch }) => {
              const model = bindModel(
                subject,
                weights,
                bind(classes, params).members,
                positionsOf(batch),
              );
              return { ...lossOf(model, batch) };
            }, { weights: frozen, params, batch: batchAvals(batch) }),
        );
        const out = run.run(withBatch(batch));
        const [sum, count] = await Promise.all(
          ["sum", "count"].map((name) => device.download(out.get(name)!)),
        );
        total += sum![0]!;
        tokens += count![0]!;
      }
      return { loss: total / tokens, tokens };
    },
    rowLosses: async (batch) => {
      const run = await runner(
        `rows ${batch.rows} ${batch.length}`,
        () =>
          runnerOf(device, ({ weights, params, batch }) => {
            const positions = firstPositions(batch.ids.shape[1]!);
            return {
              losses: rowLosses(bindModel(subject, weights, bind(classes, params).members, positions), batch),
            };
          }, { weights: frozen, params, batch: batchAvals(batch) }),
      );
      return await device.download(run.run(withBatch(batch)).get("losses")!) as Float32Array;
    },
    generate: (prompts, maxNew, end, asked) =>
      generate(
        { device, subject, frozen, params, arrays, runner, maxLength, feed },
        prompts,
        maxNew,
        end,
        asked,
      ),
    logits: async (ids) => {
      const at = aval([1, ids.length], "i32");
      const run = await runner(`logits ${ids.length}`, () =>
        runnerOf(device, ({ weights, params, ids }) => {
          const model = bindModel(
            subject,
            weights,
            bind(classes, params).members,
            firstPositions(ids.shape[1]!),
          );
          return { logits: model.logits(model.hidden(ids)) };
        }, { weights: frozen, params, ids: at }));
      const out = run.run(new Map([...arrays, ["ids", feed("sequence", at, Int32Array.from(ids))]]));
      return await device.download(out.get("logits")!) as Float32Array;
    },
  };
}

function showAvals(avals: Readonly<Record<string, Aval>>): string {
  return Object.values(avals).map(showAval).join(" ");
}

/** Folded into the seed's key for the key of step t: above the numbers of members, which begin at 0. */
const STEP_KEYS = 2 ** 31;

/** What a compiled training step needs. */
export function stepBytes({ compiled: { plan, inputs } }: Pick<Runner, "compiled">): StepBytes {
  const of = (prefix: string): number =>
    plan.inputs.reduce(
      (n, { buffer }, i) => inputs[i]!.startsWith(prefix) ? n + plan.buffers[buffer]!.bytes : n,
      0,
    );
  const { total } = planBytes(plan);
  const [weights, trained, optimiser] = [of("weights."), of("params."), of("optimiser.")];
  return { weights, trained, optimiser, temporaries: total - weights - trained - optimiser, total };
}

/** Refuse a state of another session. */
function requireTensors(own: ReadonlyMap<string, Aval>, given: ReadonlyMap<string, HostTensor>): void {
  const other = [...given.keys()].find((name) => !own.has(name));
  if (other !== undefined) throw new ShapeError(`The state has "${other}", which this model does not train.`);
  for (const [name, at] of own) {
    const found = given.get(name);
    if (found && found.aval.dtype === at.dtype && sameShape(found.aval.shape, at.shape)) continue;
    throw new ShapeError(
      `The state has ${found ? showAval(found.aval) : "nothing"} for "${name}", expected ${showAval(at)}.`,
    );
  }
}

/** Values by member and leaf path out of arenas `params.<key>`, f32[members, slot] each. Throws ShapeError for others. */
export function valuesOf(
  classes: readonly ShapeClass[],
  arenas: ReadonlyMap<string, HostTensor>,
): Map<string, Map<string, HostTensor>> {
  const all = new Map<string, Map<string, HostTensor>>();
  for (const c of classes) {
    for (const leaf of c.leaves) {
      const name = `params.${leaf.key}`, found = arenas.get(name);
      if (!found || found.data.length !== c.members.length * leaf.slot) {
        throw new ShapeError(
          `The state has ${found ? showAval(found.aval) : "nothing"} for "${name}", expected ${
            showAval(arenaAval(c, leaf))
          }.`,
        );
      }
      const arena = found.data;
      c.members.forEach((m, row) => {
        const data = arena.slice(row * leaf.slot, row * leaf.slot + sizeOf(leaf.aval.shape));
        all.set(m, (all.get(m) ?? new Map<string, HostTensor>()).set(leaf.path, { aval: leaf.aval, data }));
      });
    }
  }
  return all;
}
