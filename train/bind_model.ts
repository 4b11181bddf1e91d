/** A model with trained parameters in the places of its weights and maps. @module */
import type { Tensor } from "../core/mod.ts";
import { baseMap, type LinearMap } from "../adapters/mod.ts";
import { foldIn, type Key, slice } from "../ops/mod.ts";
import type { ShapeClass } from "./arena.ts";
import { type BoundWeights, type Decoder, type DecoderConfig, decoderOf } from "./decoder.ts";
import { packedPositions } from "./packed.ts";

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

/** Is shown a tensor of a step, with its name for people. */
export type Watch = (name: string, of: Tensor) => void;

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
