/** Mixing: branches that share what is learnt in proportions that follow their gradients. @module */
import { fill, type Tensor } from "../core/ir/mod.ts";
import { add, div, mul, reshape, slice, split, sub } from "../ops/mod.ts";
import type { Adapter, LinearMap, Mixing, MixRule } from "./adapter.ts";
import { keysOf, partsOf, sitesOf } from "./parts.ts";

/** One adapter for each element of a tuple of parameters. */
export type Branches<Ps extends readonly unknown[]> = { readonly [K in keyof Ps]: Adapter<Ps[K]> };

/** Parameters of {@linkcode mix}: those of the branches, and their weights λ f32[branches], which the optimiser keeps. */
export interface MixParams<Ps extends readonly unknown[]> {
  readonly branches: Ps;
  readonly weights: Tensor;
}

/** Options of {@linkcode mix}: smoothing β of the weights, their bounds, where they act, and what shares them. */
export interface MixOptions extends Partial<Pick<Mixing, "ema" | "clamp" | "space" | "scope">> {
  /** Which branch sees the input first; default "last", so that the ones before it adapt what it has changed. */
  readonly outermost?: "first" | "last";
}

/** Weight of each branch = its share of the gradient norms, g_i / (Σ g + ε). */
export const gradNormShare: MixRule = (norms) => {
  const total = norms.reduce((a, b) => add(a, b));
  const tiny = fill(1e-30, total.shape);
  return norms.map((g) => div(add(g, div(tiny, norms.length)), add(total, tiny)));
};

/**
 * Branches that share by weights λ, which follow `rule`, smoothed (default β = 0.9) and clamped (default [0.05, 0.95]),
 * starting equal.
 *
 * In "update" space (default) all branches act at full strength, one inside the other, and the optimiser's step of
 * branch i is multiplied by λ_i: the function never jumps with λ, and merging is exact. In "delta" space the map is
 * base + Σ λ_i·(branch_i − base), in "generator" space the branches nest with their parameters scaled by λ_i; in both
 * the norms that the rule sees are divided by λ, or the weights would run away to their bounds. Throws TypeError for
 * the generator space of a branch whose parameters have no scale.
 */
export function mix<const Ps extends readonly unknown[]>(
  branches: Branches<Ps>,
  rule: MixRule,
  options: MixOptions = {},
): Adapter<MixParams<Ps>> {
  // A tuple read at a number is a union to the checker; branch i always meets parameters i.
  const list = branches as unknown as readonly Adapter<Ps[number]>[];
  const { ema = 0.9, clamp = [0.05, 0.95], space = "update", scope = "module", outermost = "last" } = options;
  const rigid = list.find((b) => !b.scaled);
  if (space === "generator" && rigid) {
    throw new TypeError(
      `Cannot mix ${rigid.name} in generator space: its parameters cannot be scaled. Use the space "update" or "delta".`,
    );
  }
  const order = list.map((_, i) => i);
  if (outermost === "first") order.reverse();
  const lambda = (weights: Tensor, i: number): Tensor =>
    reshape(slice(weights, { start: [i], stop: [i + 1] }), []);
  /** Parameters of branch i as the nested branches see them. */
  const seen = ({ branches, weights }: MixParams<Ps>, i: number): Ps[number] => {
    const { scaled } = list[i]!;
    return space === "generator" ? scaled!(branches[i], lambda(weights, i)) : branches[i];
  };
  const parts = partsOf(list, "branches.");
  return {
    name: `mix(${list.map((b) => b.name).join(", ")})`,
    ...parts,
    init: (key, site) => {
      const keys = split(key, list.length), sites = sitesOf(list, site);
      return {
        branches: list.map((b, i) => b.init(keys[i]!, sites[i]!)) as unknown as Ps,
        weights: fill(1 / list.length, [list.length]),
      };
    },
    apply: (params, base, key) => {
      const keys = keysOf(key, list.length);
      if (space !== "delta") {
        return order.reduce<LinearMap>((f, i) => list[i]!.apply(seen(params, i), f, keys[i]), base);
      }
      return (x) => {
        const plain = base(x);
        const change = (i: number): Tensor =>
          sub(list[i]!.apply(params.branches[i], base, keys[i])(x), plain);
        return order.reduce((y, i) => add(y, mul(change(i), lambda(params.weights, i))), plain);
      };
    },
    merge: (params, weight) => {
      if (space !== "delta") return order.reduce((w, i) => list[i]!.merge(seen(params, i), w), weight);
      const change = (i: number): Tensor => sub(list[i]!.merge(params.branches[i], weight), weight);
      return order.reduce((w, i) => add(w, mul(change(i), lambda(params.weights, i))), weight);
    },
    ...(space !== "delta" && list.every((b) => b.unmerge)
      ? {
        unmerge: (params: MixParams<Ps>, merged: Tensor) =>
          order.reduceRight((w, i) => list[i]!.unmerge!(seen(params, i), w), merged),
      }
      : {}),
    // Scaled generators change with λ: nothing of them follows from the parameters alone.
    ...(space !== "generator" && list.some((b) => b.derive)
      ? {
        derive: ({ branches, weights }: MixParams<Ps>) => ({
          branches: list.map((b, i) => b.derive?.(branches[i]) ?? branches[i]) as unknown as Ps,
          weights,
        }),
      }
      : {}),
    rate: (path) => path === "weights" ? "frozen" : parts.rate(path),
    mixing: [
      { path: "", rule, branches: list.map((b) => b.name), space, scope, ema, clamp },
      ...parts.mixing,
    ],
  };
}
