/** Fine-tuning methods by name: which adapter goes where, or which weights are trained themselves. @module */
import { butterflySizes, type Module, on, place, type Placement, unitaryNote } from "../adapters/mod.ts";
import type { Aval } from "../core/ir/mod.ts";
import { type AdapterName, ADAPTERS, type AdapterSettings, DEFAULT_SETTINGS } from "./adapter_specs.ts";
import { classesOf, countTrainable, type ShapeClass, weightClasses } from "./arena.ts";
import { composedPlacements, requirePlaces } from "./compose_adapters.ts";
import { UserError } from "./errors.ts";
import { type DecoderConfig, modulesOf, weightShapes } from "./decoder.ts";
import { savedClasses } from "./save_modules.ts";

/** Name of a method. */
export type MethodName = "full" | AdapterName;

/** Names of the methods. */
export const METHODS: readonly MethodName[] = ["full", ...Object.keys(ADAPTERS) as AdapterName[]];

/** Sizes of the adapters, and the linear maps that get one. */
export interface MethodOptions extends AdapterSettings {
  /** "compose": as the expression `compose` says. */
  readonly method: MethodName | "compose";
  /** Pattern of paths, as `on` takes it. */
  readonly target: string;
  readonly compose?: string | null;
  /** Weights trained whole beside the adapters, see {@linkcode savedClasses}. */
  readonly saveModules?: string | null;
}

/**
 * What a method trains in a model. Throws ShapeError where sizes do not fit or the target matches nothing, UserError
 * where the mistake is in an expression or nothing is trained.
 */
export function methodClasses(options: MethodOptions, config: DecoderConfig): ShapeClass[] {
  return layoutClasses(options, decoderLayout(config));
}

/** What can be trained in a model. */
export interface ModelLayout {
  /** The adaptable linear maps, in order. */
  readonly modules: readonly Module[];
  /** All weights by name. */
  readonly shapes: ReadonlyMap<string, Aval>;
  /** Whether the embedding is also the head. */
  readonly tied: boolean;
  /** Weights that adapters leave to be trained whole, as those of a fresh head are. */
  readonly whole: readonly string[];
}

/** The layout of a decoder. */
export function decoderLayout(config: DecoderConfig): ModelLayout {
  const { tiedEmbeddings: tied } = config;
  return { modules: modulesOf(config), shapes: weightShapes(config), tied, whole: [] };
}

/** {@linkcode methodClasses} of any model. */
export function layoutClasses(options: MethodOptions, layout: ModelLayout): ShapeClass[] {
  const { method, target, compose, saveModules } = options;
  const { modules, shapes } = layout;
  if (method === "full") return weightClasses([...shapes].map(([name, aval]) => ({ name, aval })));
  const adapted = placedClasses(
    method === "compose"
      ? composed(compose ?? "", options, modules)
      : [on(target, ADAPTERS[method].make(options))],
    modules,
  );
  const saved = typeof saveModules === "string" ? savedClasses(saveModules, layout, adapted) : [];
  const taken = new Set(saved.flatMap((c) => c.members));
  const whole = layout.whole.filter((name) => !taken.has(name)).map((name) => ({
    name,
    aval: shapes.get(name)!,
  }));
  const all = [...adapted, ...saved, ...weightClasses(whole, adapted.length + saved.length)];
  if (countTrainable(all) === 0) throw new UserError("There is nothing to train: give an adapter, as lora.");
  return all;
}

function composed(text: string, options: MethodOptions, modules: readonly Module[]): readonly Placement[] {
  const placements = composedPlacements(text, options, options.target);
  requirePlaces(text, placements, modules);
  return placements;
}

/** The settings that a method uses; an expression may use all. */
export function settingsUsed(method: MethodOptions["method"]): readonly (keyof AdapterSettings)[] {
  if (method === "full") return [];
  if (method === "compose") return Object.keys(DEFAULT_SETTINGS) as (keyof AdapterSettings)[];
  return ADAPTERS[method].uses;
}

/** What is trained, for people: each adapter with the number of its maps. */
export function describeClasses(classes: readonly ShapeClass[]): string {
  const counts = new Map<string, number>();
  for (const { fitted, members } of classes) {
    const name = fitted ? `${fitted.name} on maps` : "weights trained whole";
    counts.set(name, (counts.get(name) ?? 0) + members.length);
  }
  return [...counts].map(([name, count]) => `${name}: ${count}`).join(", ");
}

/** What placements train in a model. */
export function placedClasses(placements: readonly Placement[], modules: readonly Module[]): ShapeClass[] {
  return classesOf(place(modules, placements));
}

/** What a method makes of maps of each input size where that is not plain from its settings, for people; may be empty. */
export function describeFit(options: MethodOptions, modules: readonly Module[]): string {
  const sizes = [...new Set(modules.map((m) => m.inDim))];
  switch (options.method) {
    case "oft":
    case "boft":
    case "hybrid": {
      const asked = options.method === "oft" ? { ...options, factors: 1 } : options;
      const parts = sizes.map((inDim) => {
        const { block, factors } = butterflySizes(inDim, asked);
        return `${inDim} features: ${factors} × ${block}`;
      });
      return `rotations (factors × block): ${parts.join(", ")}`;
    }
    case "unitary":
      return sizes.flatMap((inDim) => inDim % 2 === 0 ? unitaryNote(inDim) ?? [] : []).join(" ");
    default:
      return "";
  }
}
