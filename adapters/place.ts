/** Placement: which adapter goes on which linear map of a model. @module */
import { type Aval, fill, leaves, mapTree, ShapeError, type Tensor, within } from "../core/ir/mod.ts";
import { isTensor } from "../core/compile.ts";
import { type Key, key } from "../ops/mod.ts";
import type { Adapter, Ask, LinearDims, LinearMap, Mixing, Rate, Site } from "./adapter.ts";

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
  readonly dims: LinearDims;
  readonly leaves: readonly Leaf[];
  /** Tensors that follow from the parameters alone; `apply` takes them after the parameters, or does without. */
  readonly derived: readonly Leaf[];
  /** The derived tensors from parameters with one leading axis more, over which it maps. */
  readonly derive: (params: readonly Tensor[]) => readonly Tensor[];
  readonly mixing: readonly Mixing[];
  /** Factorisations that `init` needs in its site. */
  readonly asks: readonly Ask[];
  readonly init: (key: Key, site: Site) => readonly Tensor[];
  readonly apply: (params: readonly Tensor[], base: LinearMap, key?: Key) => LinearMap;
  readonly merge: (params: readonly Tensor[], weight: Tensor) => Tensor;
  /** Null where merging has no inverse in closed form. */
  readonly unmerge: ((params: readonly Tensor[], merged: Tensor) => Tensor) | null;
}

/** An adapter and the paths that it is for. */
export interface Placement {
  readonly pattern: string;
  readonly matches: (path: string) => boolean;
  readonly fit: (dims: LinearDims) => Fitted;
}

/**
 * Put an adapter, or one made for each map's sizes, on every linear map whose path matches a pattern: `*` stands for
 * any characters, `2-5` between dots for the numbers from 2 to 5; a pattern without `*` matches the end of a path
 * (`q_proj`). Several patterns are separated by commas; `all-linear` matches everything, `attn` and `mlp` the maps of
 * those blocks.
 */
export function on<P>(pattern: string, adapter: Adapter<P> | ((dims: LinearDims) => Adapter<P>)): Placement {
  const tests = pattern.split(",").map((p) => p.trim()).filter((p) => p !== "").flatMap((p) =>
    (BLOCKS.get(p) ?? [p]).map(matcher)
  );
  const made = typeof adapter === "function" ? adapter : () => adapter;
  return { pattern, matches: (path) => tests.some((t) => t(path)), fit: (dims) => fit(made(dims), dims) };
}

/** Names for the maps of a block. */
const BLOCKS: ReadonlyMap<string, readonly string[]> = new Map([
  ["all-linear", ["*"]],
  ["attn", ["*.self_attn.*", "*.attn.*", "*.attention.*"]],
  // BERT's second map is called as that behind its attention.
  ["mlp", ["*.mlp.*", "*.intermediate.*", "*.layer.0-9999.output.*"]],
]);

function matcher(pattern: string): (path: string) => boolean {
  const segments = pattern.split(".");
  const ranges: (readonly [number, number])[] = [];
  const source = segments.map((segment) => {
    const range = segment.match(/^(\d+)-(\d+)$/);
    if (!range) {
      return segment.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*");
    }
    ranges.push([Number(range[1]), Number(range[2])]);
    return "(\\d+)";
  }).join("\\.");
  const test = new RegExp(pattern.includes("*") ? `^${source}$` : `(?:^|\\.)${source}$`);
  return (path) => {
    const found = path.match(test);
    return found !== null && ranges.every(([low, high], i) => {
      const n = Number(found[i + 1]);
      return low <= n && n <= high;
    });
  };
}

/** Parameters of an adapter whose type is not known: leaves by path. */
export type AnyParams = Readonly<Record<string, Tensor>>;

/**
 * The same adapter for maps of these sizes, its parameters as a record of leaves by path: adapters that are only known
 * at run time all have this type, and combine as others do. Throws ShapeError where it cannot adapt the sizes.
 */
export function erase<P>(adapter: Adapter<P>, dims: LinearDims): Adapter<AnyParams> {
  // Traced once to learn the tree's layout; nothing of it is computed.
  const template = adapter.init(key(0), templateSite(dims, adapter.asks?.(dims) ?? []));
  // Traced when it is needed, and at most once: a butterfly of many stages is thousands of nodes.
  let derivedTemplate: P | undefined;
  const count = Object.keys(flatten(template)).length;
  const rebuild = (params: AnyParams): P => {
    const layout = Object.keys(params).length > count
      ? derivedTemplate ??= adapter.derive?.(template) ?? template
      : template;
    // The same tree with other tensors in it has the same type.
    return mapTree<P, Tensor, Tensor>(layout, isTensor, (_leaf, path) => {
      const found = params[path];
      if (found) return found;
      throw new ShapeError(
        `Cannot bind ${adapter.name}: it has no parameter "${path}" among ${Object.keys(params).join(", ")}.`,
      );
    }) as P;
  };
  const { name, rate, asks, mixing, unmerge, scaled, derive } = adapter;
  return {
    name,
    init: (k, site) => flatten(adapter.init(k, site)),
    apply: (params, base, k) => adapter.apply(rebuild(params), base, k),
    merge: (params, weight) => adapter.merge(rebuild(params), weight),
    ...(unmerge ? { unmerge: (params, merged) => unmerge(rebuild(params), merged) } : {}),
    ...(scaled ? { scaled: (params, strength) => flatten(scaled(rebuild(params), strength)) } : {}),
    ...(derive
      ? {
        derive: (params) => {
          const all = derive(rebuild(params));
          derivedTemplate ??= all;
          return flatten(all);
        },
      }
      : {}),
    ...(rate ? { rate } : {}),
    ...(asks ? { asks } : {}),
    ...(mixing ? { mixing } : {}),
  };
}

/** Leaves of a tree of tensors by path. */
function flatten<P>(tree: P): AnyParams {
  const list = leaves<Tensor>(tree as Parameters<typeof leaves<Tensor>>[0], isTensor);
  return Object.fromEntries(list.map(({ path, leaf }) => [path, leaf]));
}

/** Fit an adapter to sizes; throws ShapeError where it cannot adapt them. */
export function fit<P>(adapter: Adapter<P>, dims: LinearDims): Fitted {
  const { name, rate, asks, mixing, init, apply, merge, unmerge, derive } = erase(adapter, dims);
  const asked = asks?.(dims) ?? [];
  const template = init(key(0), templateSite(dims, asked));
  const own = Object.keys(template);
  const all = derive ? derive(template) : template;
  const further = Object.keys(all).filter((path) => !(path in template));
  const bind = (params: readonly Tensor[]): AnyParams => {
    const paths = params.length === own.length ? own : [...own, ...further];
    if (params.length !== paths.length) {
      throw new ShapeError(`Cannot bind ${name}: it has ${own.length} parameters and got ${params.length}.`);
    }
    return Object.fromEntries(paths.map((path, i) => [path, params[i]!]));
  };
  const leafAt = (path: string): Leaf => ({ path, aval: all[path]!.aval, rate: rate?.(path) ?? "plain" });
  return {
    name,
    dims,
    leaves: own.map(leafAt),
    derived: further.map(leafAt),
    derive: (params) => {
      if (!derive) return [];
      const found = derive(bind(params));
      return further.map((path) => found[path]!);
    },
    mixing: mixing ?? [],
    asks: asked,
    init: (k, site) => Object.values(init(k, site)),
    apply: (params, base, k) => apply(bind(params), base, k),
    merge: (params, weight) => merge(bind(params), weight),
    unmerge: unmerge ? (params, merged) => unmerge(bind(params), merged) : null,
  };
}

/** A site of these sizes without numbers. */
function templateSite({ inDim, outDim }: LinearDims, asks: readonly Ask[]): Site {
  return {
    inDim,
    outDim,
    weight: fill(0, [outDim, inDim]),
    factors: asks.map(({ columns }) => ({
      u: fill(0, [outDim, columns]),
      s: fill(0, [columns]),
      v: fill(0, [inDim, columns]),
    })),
  };
}

/** A module with the adapter that it was given. */
export interface Placed {
  readonly module: Module;
  readonly fitted: Fitted;
  /** Which placement it is from. */
  readonly placement: number;
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
    const at = placements.findIndex((p) => p.matches(module.path));
    if (at < 0) return [];
    return [{ module, placement: at, fitted: within(module.path, () => placements[at]!.fit(module)) }];
  });
}
