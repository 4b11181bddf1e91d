/** Training of any model on a device: weights, trained parameters and optimiser state stay there between steps. @module */
import {
  type Aval,
  aval,
  type DeviceArray,
  evaluate,
  type HostArray,
  planBytes,
  showAval,
} from "../core/mod.ts";
import { foldIn, key } from "../ops/mod.ts";
import { arenaAval } from "./arena.ts";
import { filled } from "./counting_device.ts";
import { firstNotFinite } from "./diagnose.ts";
import { giveValues } from "./given.ts";
import { initialise } from "./initialise.ts";
import { mergedWeights } from "./merge.ts";
import { weightsLeaf } from "./mixing.ts";
import { type Runner, RunnerCache, runnerOf } from "./runner.ts";
import { startFactors } from "./start_factors.ts";
import { objectiveStep } from "./step.ts";
import { type StepBytes, stepBytes } from "./step_bytes.ts";
import type { HostTensor, Lambdas, OpenTraining, TrainingOptions } from "./training.ts";
import { requireTensors, valuesOf } from "./training_state.ts";
import { uploadWeights } from "./upload.ts";

/** Folded into the seed's key for the key of step t: above the numbers of members, which begin at 0. */
const STEP_KEYS = 2 ** 31;

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
    arrays.set(`optimiser.${name}`, filled(device, initial, at));
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
          { inPlace: ["params", "optimiser"] },
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
      const scaled = optimiser.lossScale ? [read("lossScale")] : [];
      const [loss, gradNorm, lambdas, ...scales] = await Promise.all(
        [read("loss"), read("gradNorm"), readLambdas(), ...scaled] as const,
      );
      return { loss, gradNorm, lambdas, ...(scales.length > 0 ? { lossScale: scales[0]! } : {}) };
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

/** Types of a batch, as the name of a plan for it. */
export function showAvals(avals: Readonly<Record<string, Aval>>): string {
  return Object.values(avals).map(showAval).join(" ");
}
