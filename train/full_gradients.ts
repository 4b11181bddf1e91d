/**
 * Gradients of the full weights of linear maps, layer by layer: only one layer's are alive at a time, and all layers
 * share one plan. @module
 */
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
import { add, div, dotGeneral, eq, maximum, mul, reshape, where } from "../ops/mod.ts";
import { baseMap, type Module } from "../adapters/mod.ts";
import { type Attend, causal } from "./attend.ts";
import {
  type BoundWeights,
  type Decoder,
  type DecoderConfig,
  decoderOf,
  layerPrefix,
  modulesOf,
  tableShapes,
} from "./decoder.ts";
import { filled } from "./counting_device.ts";
import { type Runner, RunnerCache, runnerOf } from "./runner.ts";
import type { HostBatch } from "./session.ts";
import { firstPositions, type Weights } from "./bind_model.ts";
import { headLoss } from "./language_loss.ts";

/** What the pass needs: the frozen model on its device. */
export interface GradientPass {
  readonly device: Device;
  readonly config: DecoderConfig;
  /** Avals of the frozen weights by name, rotary tables included, and their arrays under `weights.<name>`. */
  readonly frozen: Readonly<Record<string, Aval>>;
  readonly arrays: ReadonlyMap<string, DeviceArray>;
  readonly batches: readonly HostBatch[];
}

/** Mean gradients f32[out, in] of one layer's maps, by path; valid until the next layer's are asked for. */
export interface LayerGradients {
  readonly gradients: ReadonlyMap<string, DeviceArray>;
  /** Bytes that the pass needs besides the frozen weights. */
  readonly bytes: number;
}

/**
 * Gradients of the batches' mean loss for the weights of `paths`, last layer first. One forward pass keeps the input
 * of every layer; then each layer's backward pass is run for all batches. f32 whatever the weights are stored in.
 */
export async function* fullGradients(
  { device, config, frozen, arrays, batches }: GradientPass,
  paths: ReadonlySet<string>,
): AsyncGenerator<LayerGradients> {
  const owned: DeviceArray[] = [];
  const plans = new RunnerCache();
  const upload = (at: Aval, data?: Int32Array | Float32Array): DeviceArray => {
    const array = data ? device.upload(data, at) : filled(device, 0, at);
    owned.push(array);
    return array;
  };
  try {
    const prefix = (i: number): string => layerPrefix(config, i);
    const layerNames = Object.keys(frozen).filter((n) => n.startsWith(prefix(0)));
    const layerAvals = Object.fromEntries(
      [...layerNames, ...tableShapes(config, 1).keys()].map((n) => [n, frozen[n]!]),
    );
    /** The arrays of layer i, under the names of layer 0. */
    const layerArrays = (i: number): [string, DeviceArray][] =>
      Object.keys(layerAvals).map((
        n,
      ) => [`weights.${n}`, arrays.get(`weights.${n.replace(prefix(0), prefix(i))}`)!]);
    const bind = (weights: Weights, t: number, map?: BoundWeights["map"]): Decoder =>
      decoderOf(config, {
        weight: (name) => weights[name]!,
        map: map ?? ((path) => baseMap(weights[`${path}.weight`]!)),
        rows: (name) => firstPositions(t)(weights[name]!),
      });
    const windowOf = (i: number): number | null => config.windows?.[i] ?? null;
    /** Attention of layer i for what is traced as layer 0. */
    const attendAs = (i: number): Attend => (_, queries, fresh) => causal(config)(i, queries, fresh);
    const modules = modulesOf(config);
    const askedOf = (i: number): Module[] =>
      modules.filter((m) => m.path.startsWith(prefix(i)) && paths.has(m.path))
        .map((m): Module => ({ ...m, path: m.path.replace(prefix(i), prefix(0)) }));
    const stateOf = ({ rows, length }: HostBatch): Aval => aval([rows, length, config.hiddenSize]);
    const shapeOf = ({ rows, length }: HostBatch): string => `${rows} ${length}`;
    const embed = (batch: HostBatch): Promise<Runner> =>
      plans.get(`embed ${shapeOf(batch)}`, () =>
        runnerOf(
          device,
          ({ weights, ids }) => ({ into: bind(weights, batch.length).embed(ids) }),
          { weights: frozen, ids: aval([batch.rows, batch.length], "i32"), into: stateOf(batch) },
          { inPlace: ["into"] },
        ));
    const forward = (batch: HostBatch, i: number): Promise<Runner> =>
      plans.get(`forward ${shapeOf(batch)} ${windowOf(i)}`, () =>
        runnerOf(
          device,
          ({ weights, x }) => ({ into: bind(weights, batch.length).layer(0, x, attendAs(i), i) }),
          { weights: layerAvals, x: stateOf(batch), into: stateOf(batch) },
          { inPlace: ["into"] },
        ));
    const head = (batch: HostBatch): Promise<Runner> =>
      plans.get(`head ${shapeOf(batch)}`, () =>
        runnerOf(
          device,
          ({ weights, x, labels }) => {
            const model = bind(weights, batch.length);
            const { sum, count } = headLoss(model, model.finalNorm(x), labels);
            // Of the sum of the losses, so that cotangents are of an order that f16 holds; gradients are divided.
            return {
              into: gradients([sum], [fill(1)], [x])[0]!,
              share: div(1 / batches.length, maximum(count, 1)),
            };
          },
          {
            weights: frozen,
            x: stateOf(batch),
            labels: aval([batch.rows, batch.length], "i32"),
            into: stateOf(batch),
            share: aval([]),
          },
          { inPlace: ["into", "share"] },
        ));
    const backward = (batch: HostBatch, i: number, asked: readonly Module[]): Promise<Runner> =>
      plans.get(
        `backward ${shapeOf(batch)} ${windowOf(i)} ${asked.map((m) => m.path).join()}`,
        () =>
          runnerOf(device, layerBackward(bind, asked, batch.length, attendAs(i), i), {
            weights: layerAvals,
            x: stateOf(batch),
            back: stateOf(batch),
            share: aval([]),
            first: aval([]),
            total: Object.fromEntries(asked.map((m) => [m.path, aval([m.outDim, m.inDim])])),
          }, { inPlace: ["back", "total"] }),
      );
    // All are compiled side by side, before the first is run.
    const layers = Array.from({ length: config.layers }, (_, i) => i);
    await Promise.all(
      batches.flatMap((batch) => [
        embed(batch),
        head(batch),
        ...layers.flatMap((i) => [forward(batch, i), backward(batch, i, askedOf(i))]),
      ]),
    );
    /** For each batch, the input of every layer and, at the end, the cotangent that goes back. */
    const states: { readonly xs: DeviceArray[]; readonly back: DeviceArray; readonly share: DeviceArray }[] =
      [];
    for (const batch of batches) {
      const { rows, length, ids, labels } = batch;
      const tokens = aval([rows, length], "i32");
      const xs = Array.from({ length: config.layers + 1 }, () => upload(stateOf(batch)));
      const back = upload(stateOf(batch)), share = upload(aval([]));
      (await embed(batch)).run(new Map([...arrays, ["ids", upload(tokens, ids)], ["into", xs[0]!]]));
      for (const i of layers) {
        (await forward(batch, i)).run(new Map([...layerArrays(i), ["x", xs[i]!], ["into", xs[i + 1]!]]));
      }
      (await head(batch)).run(
        new Map([
          ...arrays,
          ["x", xs[config.layers]!],
          ["labels", upload(tokens, labels)],
          ["into", back],
          ["share", share],
        ]),
      );
      states.push({ xs, back, share });
    }
    const first = [1, 0].map((is) => upload(aval([]), Float32Array.of(is)));
    const totals = new Map<string, DeviceArray>();
    for (const i of layers.toReversed()) {
      const asked = askedOf(i);
      for (const { path, inDim, outDim } of asked) {
        if (!totals.has(path)) totals.set(path, upload(aval([outDim, inDim])));
      }
      for (const [b, { xs, back, share }] of states.entries()) {
        const run = await backward(batches[b]!, i, asked);
        run.run(
          new Map([
            ...layerArrays(i),
            ["x", xs[i]!],
            ["back", back],
            ["share", share],
            ["first", first[b === 0 ? 0 : 1]!],
            ...asked.map((m) => [`total.${m.path}`, totals.get(m.path)!] as const),
          ]),
        );
      }
      const bytes = await plans.temporaryBytes() + owned.reduce((n, a) => n + 4 * sizeOf(a.aval.shape), 0);
      yield {
        bytes,
        gradients: new Map(
          asked.map((m) => [m.path.replace(prefix(0), prefix(i)), totals.get(m.path)!]),
        ),
      };
    }
  } finally {
    await plans.dispose();
    for (const array of owned) device.free(array);
  }
}

interface BackwardInput {
  readonly weights: Weights;
  readonly x: Tensor;
  readonly back: Tensor;
  /** f32[]: what the gradient of the batch's sum of losses is multiplied by. */
  readonly share: Tensor;
  /** f32[]: 1 for the first batch, whose gradient replaces the total. */
  readonly first: Tensor;
  readonly total: Readonly<Record<string, Tensor>>;
}

/** One layer's cotangent going back, and the gradients of its maps' weights added to the totals. */
function layerBackward(
  bind: (weights: Weights, t: number, map?: BoundWeights["map"]) => Decoder,
  asked: readonly Module[],
  length: number,
  attend: Attend,
  like: number,
): (x: BackwardInput) => { readonly back: Tensor; readonly total: Readonly<Record<string, Tensor>> } {
  return ({ weights, x, back, share, first, total }) => {
    // A zero added to each map's result catches its cotangent: the weight itself may be stored in f16.
    const taps = new Map<string, { readonly input: Tensor; readonly zero: Tensor }>();
    const wanted = new Set(asked.map((m) => m.path));
    const model = bind(weights, length, (path) => (input) => {
      const y = baseMap(weights[`${path}.weight`]!)(input);
      if (!wanted.has(path)) return y;
      const zero = fill(0, y.shape);
      taps.set(path, { input, zero });
      return add(y, zero);
    });
    const y = model.layer(0, x, attend, like);
    const list = asked.map((m) => taps.get(m.path)!);
    const [dx, ...cts] = gradients([y], [back], [x, ...list.map((t) => t.zero)]);
    const totals = asked.map((m, i) => {
      const inner = [[0, 1], [0, 1]] as const;
      const g = mul(
        dotGeneral(cts[i]!, list[i]!.input, { batch: [[], []], inner }),
        reshape(share, [1, 1]),
      );
      const old = total[m.path]!;
      return [m.path, where(eq(reshape(first, [1, 1]), 1), g, add(old, g))] as const;
    });
    return { back: dx!, total: Object.fromEntries(totals) };
  };
}
