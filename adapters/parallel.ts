/** Two adapters side by side: their changes add. @module */
import { add, type Key, split, sub } from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";
import { keysOf, partsOf, sitesOf } from "./parts.ts";

/**
 * The base map plus the changes that both adapters make to it: `a(f) + b(f) − f`. Commutative up to the order of the
 * parameters. The base map is computed once where it is linear algebra, since equal subgraphs are one.
 */
export function parallel<P, Q>(a: Adapter<P>, b: Adapter<Q>): Adapter<readonly [P, Q]> {
  return {
    name: `${a.name} ∥ ${b.name}`,
    init: (key, site) => {
      const [first, second] = split(key) as [Key, Key];
      const sites = sitesOf([a, b], site);
      return [a.init(first, sites[0]!), b.init(second, sites[1]!)];
    },
    apply: ([p, q], base, key) => {
      const [first, second] = keysOf(key, 2);
      return (x) => sub(add(a.apply(p, base, first)(x), b.apply(q, base, second)(x)), base(x));
    },
    merge: ([p, q], weight) => sub(add(a.merge(p, weight), b.merge(q, weight)), weight),
    ...(a.derive || b.derive
      ? { derive: ([p, q]) => [a.derive?.(p) ?? p, b.derive?.(q) ?? q] as const }
      : {}),
    ...partsOf([a, b]),
  };
}
