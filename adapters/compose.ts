/** One adapter around another. @module */
import { type Key, split } from "../ops/mod.ts";
import type { Adapter, Rate } from "./adapter.ts";

/**
 * Adapt with `inner` first, then with `outer`: `apply` nests, `merge` nests. Associative, `identity` is neutral.
 * Parameters are the pair of both.
 */
export function compose<P, Q>(outer: Adapter<P>, inner: Adapter<Q>): Adapter<readonly [P, Q]> {
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

/** Learning rates of a tuple of adapters' parameters: the first key of a path is the place in the tuple. */
export function ratesOf(
  parts: readonly { readonly rate?: (path: string) => Rate }[],
): (path: string) => Rate {
  return (path) => {
    const [place, ...rest] = path.split(".");
    return parts[Number(place)]?.rate?.(rest.join(".")) ?? "plain";
  };
}
