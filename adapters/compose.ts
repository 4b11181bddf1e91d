/** One adapter around another. @module */
import { type Key, split } from "../ops/mod.ts";
import type { Adapter, Rate } from "./adapter.ts";

/**
 * Adapt with `inner` first, then with `outer`: `apply` nests, `merge` nests. Associative, `identity` is neutral.
 * Parameters are the pair of both. Throws TypeError for an adapter made by `mix`.
 */
export function compose<P, Q>(outer: Adapter<P>, inner: Adapter<Q>): Adapter<readonly [P, Q]> {
  refuseMixing("compose", [outer, inner]);
  return {
    name: `${outer.name} ∘ ${inner.name}`,
    init: (key, dims) => {
      const [first, second] = split(key) as [Key, Key];
      return [outer.init(first, dims), inner.init(second, dims)];
    },
    apply: ([p, q], base) => outer.apply(p, inner.apply(q, base)),
    merge: ([p, q], weight) => outer.merge(p, inner.merge(q, weight)),
    rate: ratesOf([outer, inner]),
  };
}

/** Throw where an adapter with mixed branches would become part of another one: its weights λ would silently be lost. */
export function refuseMixing(
  what: string,
  parts: readonly Pick<Adapter<unknown>, "name" | "mixing">[],
): void {
  const mixed = parts.find((p) => p.mixing);
  if (mixed) {
    throw new TypeError(
      `Cannot ${what} ${mixed.name}: its branches share the optimiser's step by their gradients, which only works at the ` +
        "outside. Make the other adapter one more branch of mix([...]), or part of one branch.",
    );
  }
}

/** Learning rates of a tuple of adapters' parameters: the first key of a path is the place in the tuple. */
export function ratesOf(
  parts: readonly { readonly rate?: (path: string) => Rate }[],
): (path: string) => Rate {
  return (path) => {
    const [place, ...rest] = path.split(".");
    return parts[Number(place)]?.rate?.(rest.join(".")) ?? "plain";
  };
}
