/** Gradients of an encoder's own weights, for adapters that start from them. @module */
import {
  type Aval,
  aval,
  type Device,
  type DeviceArray,
  fill,
  gradients,
  sizeOf,
  type Tensor,
} from "../core/mod.ts";
import type { LinearMap } from "../adapters/mod.ts";
import { add, div, dotGeneral, eq, maximum, reshape, where } from "../ops/mod.ts";
import type { TokenBatch } from "./batches.ts";
import {
  type ClassifierBatch,
  classifierInputs,
  classifierLoss,
  type ClassifierSubject,
  countRows,
} from "./classifier_objective.ts";
import type { EncoderConfig } from "./encoder_config.ts";
import type { GlueTarget } from "./evaluation/glue_tasks.ts";
import type { LayerGradients } from "./full_gradients.ts";
import { RunnerCache, runnerOf } from "./runner.ts";
import { bindMaps, type Weights } from "./bind_model.ts";
import { type BatchTensors } from "./step.ts";
import type { HostTensor } from "./training.ts";

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
          { inPlace: ["total"] },
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
  const list = paths.map((path) => taps.get(path)!);
  // Of the sum of the losses, so that cotangents are of an order that f16 holds; gradients are divided.
  const cts = gradients([sum], [fill(1)], list.map((t) => t.zero)), count = maximum(countRows(rows), 1);
  return Object.fromEntries(paths.map((path, i) => {
    const inner = [[0, 1], [0, 1]] as const;
    return [path, use(path, div(dotGeneral(cts[i]!, list[i]!.input, { batch: [[], []], inner }), count))];
  }));
}
