/** Adapters of Hugging Face PEFT as placements and values: one directory, or one for each branch with `gyre.json`. @module */
import {
  type Adapter,
  type AnyParams,
  compose,
  erase,
  fit,
  gradNormShare,
  type LinearDims,
  mix,
  type Module,
  place,
  type Placement,
} from "../../adapters/mod.ts";
import { aval, sameShape, showAval } from "../../core/mod.ts";
import { classesOf, type ShapeClass, weightClasses } from "../arena.ts";
import type { LinearModule } from "../decoder.ts";
import { PeftError } from "../errors.ts";
import { readJson } from "../json_file.ts";
import {
  loadBranch,
  type LoadedBranch,
  type LoadPeftOptions,
  type MapAdapter,
  type MapBranch,
} from "./branch.ts";
import { combineError, GYRE_FILE, parseGyreFile, type PeftCombine } from "./combine.ts";
import type { LeafValues } from "./convert.ts";
import type { SavedBranch, SaveRequest } from "./save.ts";
import type { StoredTensor } from "../safetensors.ts";

/** Adapters ready for `place`, and the values of their parameters. */
export interface LoadedAdapters {
  readonly placements: readonly Placement[];
  /** By path of the adapted map; leaves that are not here start as their adapter starts them. */
  readonly values: ReadonlyMap<string, LeafValues>;
  /** How `savePeft` writes them again. */
  readonly layout: Pick<SaveRequest, "branches" | "combine">;
  /** Weights that were trained and saved whole, by their name in the model: they replace the model's. */
  readonly saved: ReadonlyMap<string, StoredTensor>;
}

/** Placements, one for each kind of adapter among the maps. */
export function placementsOf(
  adapters: ReadonlyMap<string, MapBranch>,
): Placement[] {
  const groups = new Map<string, { readonly make: MapAdapter; readonly paths: Set<string> }>();
  for (const [path, { make, id }] of adapters) {
    const group = groups.get(id);
    if (group) group.paths.add(path);
    else groups.set(id, { make, paths: new Set([path]) });
  }
  return [...groups.values()].map(({ make, paths }) => ({
    pattern: [...paths].join(","),
    matches: (path) => paths.has(path),
    fit: (dims) => fit(make(dims), dims),
  }));
}

/**
 * Read a directory of PEFT, or one with `gyre.json` and a directory for each branch, for a model with these linear maps.
 * The adapters start from the values in the files. Throws PeftError, as {@linkcode loadBranch} does, and where branches
 * do not adapt the same maps.
 */
export function loadPeft(
  dir: string,
  modules: readonly LinearModule[],
  options: LoadPeftOptions,
): LoadedAdapters {
  const file = `${dir}/${GYRE_FILE}`;
  const json = readOptionalJson(file);
  if (json === undefined) {
    return loaded(loadBranch(dir, modules, options), ["adapter"]);
  }
  const { combine, branches, weights } = parseGyreFile(json, file);
  const read = branches.map(({ directories }) =>
    joined(dir, directories.map((name) => loadBranch(`${dir}/${name}`, modules, options)))
  );
  const saved = new Map(read.flatMap((b) => [...b.saved]));
  const names = branches.map((b) => b.name);
  if (combine === null) return loaded(joined(dir, read), names.slice(0, 1));
  const paths = [...read[0]!.adapters.keys()];
  for (const [i, b] of read.entries()) {
    const odd = [...b.adapters.keys()].find((p) => !paths.includes(p)) ??
      paths.find((p) => !b.adapters.has(p));
    if (odd !== undefined) {
      throw combineError(dir, `"${branches[0]!.name}" and "${branches[i]!.name}" do not both adapt ${odd}`);
    }
  }
  const { make, at } = combiner(combine, read.length);
  const adapters = new Map<string, MapBranch>(paths.map((path) => {
    const own = read.map((b) => b.adapters.get(path)!);
    return [path, {
      make: (dims) => make(own.map((a) => a.make(dims)), dims),
      id: own.map((a) => a.id).join(" "),
      specs: own.flatMap((a) => a.specs),
    }];
  }));
  const values = new Map(paths.map((path) => {
    const leaves = read.flatMap((b, i) =>
      [...b.values.get(path)!].map(([leaf, value]) => [`${at(i)}${leaf}`, value] as const)
    );
    const lambda = weights.get(path);
    const own = lambda && { aval: aval([lambda.length]), data: Float32Array.from(lambda) };
    return [path, new Map(own ? [...leaves, ["weights", own] as const] : leaves)] as const;
  }));
  return loaded({ adapters, values, saved }, names, { combine, at });
}

/** What a directory holds, with the layout to write it again: branch i has this name, and its leaves begin with `at(i)`. */
function loaded(
  { adapters, values, saved }: LoadedBranch,
  names: readonly string[],
  { combine, at }: { readonly combine: PeftCombine | null; readonly at: (branch: number) => string } = {
    combine: null,
    at: () => "",
  },
): LoadedAdapters {
  const branches = (path: string): readonly SavedBranch[] =>
    adapters.get(path)!.specs.map((spec, i) => ({ name: names[i]!, prefix: at(i), spec }));
  return { placements: placementsOf(adapters), values, saved, layout: { branches, combine } };
}

/** What is trained when loaded adapters are trained on: the adapters, and the weights that were saved whole. */
export function loadedClasses(
  { placements, saved }: Pick<LoadedAdapters, "placements" | "saved">,
  modules: readonly Module[],
): ShapeClass[] {
  const adapted = classesOf(place(modules, placements));
  const whole = [...saved].map(([name, { aval }]) => ({ name, aval }));
  return [...adapted, ...weightClasses(whole, adapted.length)];
}

/** A model's weights with those in place that were saved whole. Throws PeftError for one that the model does not have. */
export function withSaved(
  weights: ReadonlyMap<string, StoredTensor>,
  { saved }: Pick<LoadedAdapters, "saved">,
  dir: string,
): Map<string, StoredTensor> {
  for (const [name, { aval }] of saved) {
    const own = weights.get(name);
    if (own && sameShape(own.aval.shape, aval.shape)) continue;
    throw new PeftError(
      `${dir}: ${name} was saved whole as ${showAval(aval)}; the model has ` +
        (own ? `${showAval(own.aval)} there.` : "no weight of that name."),
      { dir, name },
    );
  }
  return new Map([...weights, ...saved]);
}

/** How to make one adapter of several, and what the paths of branch i's leaves then begin with. */
function combiner(combine: PeftCombine, count: number): {
  readonly make: (parts: readonly Adapter<AnyParams>[], dims: LinearDims) => Adapter<AnyParams>;
  readonly at: (branch: number) => string;
} {
  if (combine.kind === "mix") {
    return {
      make: (parts, dims) => erase(mix(parts, gradNormShare, combine.options), dims),
      at: (i) => `branches.${i}.`,
    };
  }
  return {
    make: (parts, dims) =>
      parts.slice(0, -1).reduceRight((inner, outer) => erase(compose(outer, inner), dims), parts.at(-1)!),
    at: (i) => "1.".repeat(i) + (i < count - 1 ? "0." : ""),
  };
}

/** Directories that adapt different maps, as one. */
function joined(dir: string, parts: readonly LoadedBranch[]): LoadedBranch {
  const adapters = new Map<string, MapBranch>();
  for (const part of parts) {
    for (const [path, adapter] of part.adapters) {
      if (adapters.has(path)) throw combineError(dir, `two directories of one branch adapt ${path}`);
      adapters.set(path, adapter);
    }
  }
  return {
    adapters,
    values: new Map(parts.flatMap((p) => [...p.values])),
    saved: new Map(parts.flatMap((p) => [...p.saved])),
  };
}

/** A JSON file that may be absent. */
function readOptionalJson(file: string): unknown {
  try {
    Deno.statSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return readJson(file, PeftError, "it was there a moment ago");
}
