/** Two adapters side by side: their changes add. @module */
import { add, type Key, split, sub } from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";
import { ratesOf, refuseMixing } from "./compose.ts";

/**
 * The base map plus the changes that both adapters make to it: `a(f) + b(f) − f`. Commutative up to the order of the
 * parameters. The base map is computed once where it is linear algebra, since equal subgraphs are one.
 */
export function parallel<P, Q>(a: Adapter<P>, b: Adapter<Q>): Adapter<readonly [P, Q]> {
  refuseMixing("put in parallel", [a, b]);
  return {
    name: `${a.name} ∥ ${b.name}`,
    init: (key, dims) => {
      const [first, second] = split(key) as [Key, Key];
      return [a.init(first, dims), b.init(second, dims)];
    },
    apply: ([p, q], base) => (x) => sub(add(a.apply(p, base)(x), b.apply(q, base)(x)), base(x)),
    merge: ([p, q], weight) => sub(add(a.merge(p, weight), b.merge(q, weight)), weight),
    rate: ratesOf([a, b]),
  };
}
