/** Fine-tuning methods by name: which adapter goes where, or which weights are trained themselves. @module */
import { type Adapter, butterfly, hybrid, lowRank, on, place } from "../adapters/mod.ts";
import { classesOf, type ShapeClass, weightClasses } from "./arena.ts";
import type { LlamaConfig } from "./llama_config.ts";
import { modulesOf, weightShapes } from "./llama.ts";

/** Names of the methods. */
export const METHODS = ["full", "lora", "rslora", "boft", "oft", "hybrid"] as const;

/** Name of a method. */
export type MethodName = typeof METHODS[number];

/** Sizes of the adapters, and the linear maps that get one. */
export interface MethodOptions {
  readonly method: MethodName;
  readonly rank: number;
  readonly alpha: number;
  readonly block: number;
  readonly factors: number;
  /** Pattern of paths, as `on` takes it. */
  readonly target: string;
}

/** What a method trains in a model. Throws ShapeError where sizes do not fit or the target matches nothing. */
export function methodClasses(options: MethodOptions, config: LlamaConfig): ShapeClass[] {
  const { rank, alpha, block, factors, target } = options;
  const adapt = <P>(adapter: Adapter<P>): ShapeClass[] => classesOf(place(modulesOf(config), [on(target, adapter)]));
  switch (options.method) {
    case "full":
      return weightClasses([...weightShapes(config)].map(([name, aval]) => ({ name, aval })));
    case "lora":
      return adapt(lowRank({ rank, alpha }));
    case "rslora":
      return adapt(lowRank({ rank, alpha, rankStabilised: true }));
    case "boft":
      return adapt(butterfly({ block, factors }));
    case "oft":
      return adapt(butterfly({ block, factors: 1 }));
    case "hybrid":
      return adapt(hybrid({ rank, alpha, block, factors }));
  }
}
