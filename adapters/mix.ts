/** Mixing: branches that share the optimiser's step in proportions that follow their gradients. @module */
import { fill } from "../core/ir/mod.ts";
import { add, div, split } from "../ops/mod.ts";
import type { Adapter, Mixing, MixRule } from "./adapter.ts";
import { ratesOf, refuseMixing } from "./compose.ts";

/** One adapter for each element of a tuple of parameters. */
export type Branches<Ps extends readonly unknown[]> = { readonly [K in keyof Ps]: Adapter<Ps[K]> };

/** Options of {@linkcode mix}: smoothing β of the weights, and their bounds. */
export type MixOptions = Partial<Pick<Mixing, "ema" | "clamp">>;

/** Weight of each branch = its share of the gradient norms, g_i / (Σ g + ε). */
export const gradNormShare: MixRule = (norms) => {
  const total = norms.reduce((a, b) => add(a, b));
  const tiny = fill(1e-30, total.shape);
  return norms.map((g) => div(add(g, div(tiny, norms.length)), add(total, tiny)));
};

/**
 * All branches at full strength, the first innermost: the last one sees the input first. In the optimiser the step of
 * branch i is multiplied by its weight λ_i, which follows `rule`, smoothed (default β = 0.9) and clamped (default
 * [0.05, 0.95]), starting equal. The function never jumps with λ, and merging is exact.
 */
export function mix<const Ps extends readonly unknown[]>(
  branches: Branches<Ps>,
  rule: MixRule,
  options: MixOptions = {},
): Adapter<Ps> {
  // A tuple read at a number is a union to the checker; branch i always meets parameters i.
  const list = branches as unknown as readonly Adapter<Ps[number]>[];
  refuseMixing("mix", list);
  return {
    name: `mix(${list.map((b) => b.name).join(", ")})`,
    init: (key, dims) => {
      const keys = split(key, list.length);
      return list.map((b, i) => b.init(keys[i]!, dims)) as unknown as Ps;
    },
    apply: (params, base) => list.reduce((f, b, i) => b.apply(params[i]!, f), base),
    merge: (params, weight) => list.reduce((w, b, i) => b.merge(params[i]!, w), weight),
    rate: ratesOf(list),
    mixing: { rule, branches: list.length, ema: options.ema ?? 0.9, clamp: options.clamp ?? [0.05, 0.95] },
  };
}
