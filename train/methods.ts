/** Fine-tuning methods by name: which adapter goes where, or which weights are trained themselves. @module */
import { butterflySizes, on, place, type Placement } from "../adapters/mod.ts";
import { type AdapterName, ADAPTERS, type AdapterSettings } from "./adapter_specs.ts";
import { classesOf, type ShapeClass, weightClasses } from "./arena.ts";
import type { LlamaConfig } from "./llama_config.ts";
import { modulesOf, weightShapes } from "./llama.ts";

/** Name of a method. */
export type MethodName = "full" | AdapterName;

/** Names of the methods. */
export const METHODS: readonly MethodName[] = ["full", ...Object.keys(ADAPTERS) as AdapterName[]];

/** Sizes of the adapters, and the linear maps that get one. */
export interface MethodOptions extends AdapterSettings {
  readonly method: MethodName;
  /** Pattern of paths, as `on` takes it. */
  readonly target: string;
}

/** What a method trains in a model. Throws ShapeError where sizes do not fit or the target matches nothing. */
export function methodClasses(options: MethodOptions, config: LlamaConfig): ShapeClass[] {
  const { method, target } = options;
  if (method === "full") {
    return weightClasses([...weightShapes(config)].map(([name, aval]) => ({ name, aval })));
  }
  return placedClasses([on(target, ADAPTERS[method].make(options))], config);
}

/** What placements train in a model. */
export function placedClasses(placements: readonly Placement[], config: LlamaConfig): ShapeClass[] {
  return classesOf(place(modulesOf(config), placements));
}

/** The butterflies that a method gives to maps of each input size, for people; empty without rotations. */
export function describeRotations(options: MethodOptions, config: LlamaConfig): string {
  if (!["boft", "oft", "hybrid"].includes(options.method)) return "";
  const sizes = [...new Set(modulesOf(config).map((m) => m.inDim))];
  return sizes.map((inDim) => {
    const { block, factors } = butterflySizes(
      inDim,
      options.method === "oft" ? { ...options, factors: 1 } : options,
    );
    return `${inDim} features: ${factors} × ${block}`;
  }).join(", ");
}
