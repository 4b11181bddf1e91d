/** Fine-tuning methods by name: which adapter goes where, or which weights are trained themselves. @module */
import {
  type Adapter,
  butterfly,
  type ButterflyOptions,
  fit,
  hybrid,
  lowRank,
  on,
  place,
} from "../adapters/mod.ts";
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
  /** Null: the largest of 8, 4 and 2 that fits a map. */
  readonly block: number | null;
  /** Null: 2 where they fit a map, else 1. */
  readonly factors: number | null;
  /** Pattern of paths, as `on` takes it. */
  readonly target: string;
}

/** The butterfly of a map with `inDim` features: as asked, what was left open chosen to fit. */
export function butterflyFor(
  inDim: number,
  { block, factors }: Pick<MethodOptions, "block" | "factors">,
): ButterflyOptions {
  const choices = (factors === null ? [2, 1] : [factors]).flatMap((m) =>
    (block === null ? [8, 4, 2] : [block]).map((b) => ({ block: b, factors: m }))
  );
  const fits = choices.filter((c) => inDim % (c.block * 2 ** (c.factors - 1)) === 0);
  // Larger blocks before more factors; where nothing fits, the adapter says so.
  return fits.sort((a, b) => b.block - a.block || b.factors - a.factors)[0] ?? choices[0]!;
}

/** What a method trains in a model. Throws ShapeError where sizes do not fit or the target matches nothing. */
export function methodClasses(options: MethodOptions, config: LlamaConfig): ShapeClass[] {
  const { rank, alpha, target } = options;
  const modules = modulesOf(config);
  const adapt = <P>(adapter: Adapter<P>): ShapeClass[] => classesOf(place(modules, [on(target, adapter)]));
  const rotate = <P>(
    adapter: (rotation: ButterflyOptions) => Adapter<P>,
    factors = options.factors,
  ): ShapeClass[] => {
    const placement = on(target, adapter(butterflyFor(modules[0]!.inDim, { ...options, factors })));
    const fitting = {
      ...placement,
      fit: (dims: { readonly inDim: number; readonly outDim: number }) =>
        fit(adapter(butterflyFor(dims.inDim, { ...options, factors })), dims),
    };
    return classesOf(place(modules, [fitting]));
  };
  switch (options.method) {
    case "full":
      return weightClasses([...weightShapes(config)].map(([name, aval]) => ({ name, aval })));
    case "lora":
      return adapt(lowRank({ rank, alpha }));
    case "rslora":
      return adapt(lowRank({ rank, alpha, rankStabilised: true }));
    case "boft":
      return rotate(butterfly);
    case "oft":
      return rotate(butterfly, 1);
    case "hybrid":
      return rotate((rotation) => hybrid({ rank, alpha, ...rotation }));
  }
}

/** The butterflies that a method gives to maps of each input size, for people; empty without rotations. */
export function describeRotations(options: MethodOptions, config: LlamaConfig): string {
  if (!["boft", "oft", "hybrid"].includes(options.method)) return "";
  const sizes = [...new Set(modulesOf(config).map((m) => m.inDim))];
  return sizes.map((inDim) => {
    const { block, factors } = butterflyFor(
      inDim,
      options.method === "oft" ? { ...options, factors: 1 } : options,
    );
    return `${inDim} features: ${factors} × ${block}`;
  }).join(", ");
}
