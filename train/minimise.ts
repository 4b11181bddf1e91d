/** Fit anything: minimise a scalar function of a tree of tensors on a device. @module */
import {
  aval,
  type Device,
  type DeviceArray,
  evaluate,
  fill,
  gradients,
  isTensor,
  leaves,
  mapTree,
  sizeOf,
  type Tensor,
} from "../core/mod.ts";
import { reshape, slice } from "../ops/mod.ts";
import { arenaAval, packAll, type ShapeClass, unpack, weightClasses } from "./arena.ts";
import { adamW, type Optimiser } from "./optimiser.ts";
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
  /** Parameters as inputs of a graph: `evaluate([f(params)], values)` says what f is at the minimum. */
  readonly params: P;
  /** Their values. */
  readonly values: ReadonlyMap<Tensor, Float64Array>;
}

/** Adam's β of {@linkcode adamW}, for the bias corrections. */
const BETA1 = 0.9, BETA2 = 0.999;

/**
 * Minimise `loss`, f32[], from `start`, a tree of f32 tensors that depends on no input. The step is one graph, compiled
 * once. Throws ShapeError where the loss is no scalar, and RangeError when it stops being a finite number.
 */
export async function minimise<P>(
  device: Device,
  loss: (params: P) => Tensor,
  start: P,
  { steps, rate, optimiser = adamW({ clip: 0 }) }: MinimiseOptions,
): Promise<Minimum<P>> {
  const list = leaves<Tensor>(start as Parameters<typeof leaves<Tensor>>[0], isTensor);
  const classes = weightClasses(list.map(({ path, leaf }) => ({ name: path, aval: leaf.aval })));
  // The same tree with other tensors in it has the same type.
  const rebuild = (at: (path: string) => Tensor): P => mapTree<P, Tensor, Tensor>(start, isTensor, (_, path) => at(path)) as P;
  const state = optimiser.state(classes);
  const step = await runnerOf(
    device,
    ({ params, state, rates }) => {
      const members = unpack(classes, params);
      const value = loss(rebuild((path) => members.get(path)![0]!));
      const grads = gradients([value], [fill(1)], list.map(({ path }) => members.get(path)![0]!));
      const packed = packAll(classes, new Map(list.map(({ path }, i) => [path, [grads[i]!]])));
      const number = (i: number): Tensor => reshape(slice(rates, { start: [i], stop: [i + 1] }), []);
      const stepRates = { plain: number(0), orthogonal: number(0), correction1: number(1), correction2: number(2) };
      const next = optimiser.update(packed, state, { classes, params, grads: packed, rates: stepRates });
      const moved = Object.entries(params).map(([key, x]) => [key, add(x, next.updates[key]!)]);
      return { params: Object.fromEntries(moved), state: next.state, loss: value };
    },
    {
      params: Object.fromEntries(classes.flatMap((c) => c.leaves.map((leaf) => [leaf.key, arenaAval(c, leaf)]))),
      state: Object.fromEntries(Object.entries(state).map(([name, s]) => [name, s.aval])),
      rates: aval([3]),
    },
    ["params", "state"],
  );
}
