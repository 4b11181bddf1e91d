/** Fit anything: minimise a scalar function of a tree of tensors on a device. @module */
import {
  aval,
  type Device,
  type DeviceArray,
  evaluate,
  fill,
  gradients,
  input,
  isTensor,
  leaves,
  mapTree,
  sizeOf,
  type Tensor,
} from "../core/mod.ts";
import { add, reshape, slice } from "../ops/mod.ts";
import {
  arenaAval,
  type ArenaLeaf,
  type Arenas,
  packAll,
  type ShapeClass,
  unpack,
  weightClasses,
} from "./arena.ts";
import { adamW, type Optimiser, type OptimiserState } from "./optimiser.ts";
import { runnerOf } from "./runner.ts";

/** Options of {@linkcode minimise}. */
export interface MinimiseOptions {
  readonly steps: number;
  /** Learning rate of every parameter. */
  readonly rate: number;
  /** Default {@linkcode adamW} without clipping. */
  readonly optimiser?: Optimiser;
}

/** What {@linkcode minimise} found. */
export interface Minimum<P> {
  /** The loss before each step. */
  readonly losses: readonly number[];
  /** The parameters as inputs of a graph: `evaluate([f(params)], values)` says what f is at the minimum. */
  readonly params: P;
  /** Their values. */
  readonly values: ReadonlyMap<Tensor, Float64Array>;
}

interface StepInput {
  readonly params: Arenas;
  readonly state: OptimiserState;
  /** f32[3]: learning rate, Adam's two bias corrections. */
  readonly rates: Tensor;
}

/** Adam's β, as {@linkcode adamW} has them. */
const BETA1 = 0.9, BETA2 = 0.999;

/**
 * Minimise `loss`, f32[], from `start`, a tree of f32 tensors that depends on no input. The step is one graph, compiled
 * once. Throws ShapeError where the loss is no scalar, and RangeError as soon as it is no finite number.
 */
export async function minimise<P>(
  device: Device,
  loss: (params: P) => Tensor,
  start: P,
  { steps, rate, optimiser = adamW({ clip: 0 }) }: MinimiseOptions,
): Promise<Minimum<P>> {
  const list = leaves<Tensor>(start as Parameters<typeof leaves<Tensor>>[0], isTensor);
  const classes = weightClasses(list.map(({ path, leaf }) => ({ name: path, aval: leaf.aval })));
  const step = ({ params, state, rates }: StepInput) => {
    const members = unpack(classes, params);
    const tensors = list.map(({ path }) => members.get(path)![0]!);
    const value = loss(rebuild(start, tensors));
    const grads = gradients([value], [fill(1)], tensors);
    const packed = packAll(classes, new Map(list.map(({ path }, i) => [path, [grads[i]!]])));
    const at = (i: number): Tensor => reshape(slice(rates, { start: [i], stop: [i + 1] }), []);
    const stepRates = { plain: at(0), orthogonal: at(0), correction1: at(1), correction2: at(2) };
    const { updates, state: next } = optimiser.update(packed, state, {
      classes,
      params,
      grads: packed,
      rates: stepRates,
    });
    const moved = Object.fromEntries(Object.entries(params).map(([key, x]) => [key, add(x, updates[key]!)]));
    return { params: moved, state: next, loss: value };
  };
  const initial = evaluate(list.map((x) => x.leaf));
  const arrays = new Map<string, DeviceArray>();
  const upload = (path: string, numbers: Float32Array, shape: readonly number[]): DeviceArray => {
    const array = device.upload(numbers, aval(shape));
    arrays.set(path, array);
    return array;
  };
  for (const { of, leaf } of arenasOf(classes)) {
    const numbers = new Float32Array(of.members.length * leaf.slot);
    of.members.forEach((path, row) =>
      numbers.set(initial[list.findIndex((x) => x.path === path)]!, row * leaf.slot)
    );
    upload(`params.${leaf.key}`, numbers, arenaAval(of, leaf).shape);
  }
  const stateSpec = Object.entries(optimiser.state(classes));
  for (const [name, { aval: { shape }, initial }] of stateSpec) {
    upload(`state.${name}`, new Float32Array(sizeOf(shape)).fill(initial), shape);
  }
  const rates = upload("rates", new Float32Array(3), [3]);
  const { executable, run } = await runnerOf(device, step, {
    params: Object.fromEntries(arenasOf(classes).map(({ of, leaf }) => [leaf.key, arenaAval(of, leaf)])),
    state: Object.fromEntries(stateSpec.map(([name, { aval }]) => [name, aval])),
    rates: aval([3]),
  }, { inPlace: ["params", "state"] });
  try {
    const losses: number[] = [];
    for (let t = 1; t <= steps; t++) {
      device.write(rates, new Float32Array([rate, 1 / (1 - BETA1 ** t), 1 / (1 - BETA2 ** t)]));
      const [value] = await device.download(run(arrays).get("loss")!);
      if (!Number.isFinite(value)) {
        throw new RangeError(`The loss is ${value} at step ${t}: use a lower rate than ${rate}.`);
      }
      losses.push(value!);
    }
    const found = new Map<string, Float64Array>();
    for (const { of, leaf } of arenasOf(classes)) {
      const arena = await device.download(arrays.get(`params.${leaf.key}`)!);
      of.members.forEach((path, row) => {
        const from = row * leaf.slot;
        found.set(path, Float64Array.from(arena.subarray(from, from + sizeOf(leaf.aval.shape))));
      });
    }
    const inputs = list.map(({ path, leaf }) => input(leaf.aval, path));
    return {
      losses,
      params: rebuild(start, inputs),
      values: new Map(inputs.map((x, i) => [x, found.get(list[i]!.path)!])),
    };
  } finally {
    executable.dispose();
    for (const array of arrays.values()) device.free(array);
  }
}

function arenasOf(classes: readonly ShapeClass[]): { readonly of: ShapeClass; readonly leaf: ArenaLeaf }[] {
  return classes.flatMap((of) => of.leaves.map((leaf) => ({ of, leaf })));
}

/** The same tree with other tensors in it, in the order of `leaves`. */
function rebuild<P>(tree: P, tensors: readonly Tensor[]): P {
  let next = 0;
  // Tensors in place of tensors do not change the tree's type.
  return mapTree<P, Tensor, Tensor>(tree, isTensor, () => tensors[next++]!) as P;
}
