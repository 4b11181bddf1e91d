/** Placement: which adapter goes on which linear map of a model. @module */
import { type Aval, leaves, mapTree, ShapeError, type Tensor, within } from "../core/ir/mod.ts";
import { isTensor } from "../core/compile.ts";
import { type Key, key } from "../ops/mod.ts";
import type { Adapter, LinearDims, LinearMap, Mixing, Rate } from "./adapter.ts";

/** A linear map of a model, by its path, such as `model.layers.0.self_attn.q_proj`. */
export interface Module extends LinearDims {
  readonly path: string;
}

/** A leaf of an adapter's parameters. */
export interface Leaf {
  readonly path: string;
  readonly aval: Aval;
  readonly rate: Rate;
}

/** An adapter fitted to a map's sizes, its parameters as a flat list in the order of `leaves`. */
export interface Fitted {
  readonly name: string;
  readonly leaves: readonly Leaf[];
  readonly mixing: Mixing | null;
  readonly init: (key: Key) => readonly Tensor[];
  readonly apply: (params: readonly Tensor[], base: LinearMap) => LinearMap;
  readonly merge: (params: readonly Tensor[], weight: Tensor) => Tensor;
}

/** An adapter and the paths that it is for. */
export interface Placement {
  readonly pattern: string;
  readonly matches: (path: string) => boolean;
  readonly fit: (dims: LinearDims) => Fitted;
}

/**
 * Put an adapter on every linear map whose path matches a pattern: `*` stands for any characters; a pattern without
 * `*` matches the end of a path (`q_proj`). Several patterns are separated by commas; `all-linear` matches everything.
 */
export function on<P>(pattern: string, adapter: Adapter<P>): Placement {
  const tests = pattern.split(",").map((p) => p.trim()).filter((p) => p !== "").map(matcher);
  return { pattern, matches: (path) => tests.some((t) => t(path)), fit: (dims) => fit(adapter, dims) };
}

function matcher(pattern: string): (path: string) => boolean {
  if (pattern === "all-linear") return () => true;
  if (!pattern.includes("*")) return (path) => path === pattern || path.endsWith(`.${pattern}`);
  const escaped = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*");
  const test = new RegExp(`^${escaped}$`);
  return (path) => test.test(path);
}

/** Fit an adapter to sizes; throws ShapeError where it cannot adapt them. */
export function fit<P>(adapter: Adapter<P>, dims: LinearDims): Fitted {
  // Traced once to learn the tree's layout; nothing of it is computed.
  const template = adapter.init(key(0), dims);
  const list = leaves<Tensor>(template as Parameters<typeof leaves<Tensor>>[0], isTensor);
  const rebuild = (params: readonly Tensor[]): P => {
    if (params.length !== list.length) {
      throw new ShapeError(
        `Cannot bind ${adapter.name}: it has ${list.length} parameters and got ${params.length}.`,
      );
    }
    let next = 0;
    // The same tree with other tensors in it has the same type.
    return mapTree<P, Tensor, Tensor>(template, isTensor, () => params[next++]!) as P;
  };
  return {
    name: adapter.name,
    leaves: list.map(({ path, leaf }) => ({ path, aval: leaf.aval, rate: adapter.rate?.(path) ?? "plain" })),
    mixing: adapter.mixing ?? null,
    init: (k) =>
      leaves<Tensor>(adapter.init(k, dims) as Parameters<typeof leaves<Tensor>>[0], isTensor).map((x) =>
        x.leaf
      ),
    apply: (params, base) => adapter.apply(rebuild(params), base),
    merge: (params, weight) => adapter.merge(rebuild(params), weight),
  };
}

/** A module with the adapter that it was given. */
export interface Placed {
  readonly module: Module;
  readonly fitted: Fitted;
}

/**
 * Give each module the first placement that matches it. Throws ShapeError where a placement matches nothing or an
 * adapter does not fit, naming the module.
 */
export function place(modules: readonly Module[], placements: readonly Placement[]): Placed[] {
  for (const p of placements) {
    if (!modules.some((m) => p.matches(m.path))) {
      const kinds = [...new Set(modules.map((m) => m.path.split(".").at(-1)!))].join(", ");
      throw new ShapeError(`No linear map matches "${p.pattern}"; the model has ${kinds}.`);
    }
  }
  return modules.flatMap((module) => {
    const placement = placements.find((p) => p.matches(module.path));
    return placement ? [{ module, fitted: within(module.path, () => placement.fit(module)) }] : [];
  });
}
