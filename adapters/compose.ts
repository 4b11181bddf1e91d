/** One adapter around another. @module */
import { type Key, split } from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";
import { keysOf, partsOf, sitesOf } from "./parts.ts";

/**
 * Adapt with `inner` first, then with `outer`: `apply` nests, `merge` nests. Associative, `identity` is neutral.
 * Parameters are the pair of both.
 */
export function compose<P, Q>(outer: Adapter<P>, inner: Adapter<Q>): Adapter<readonly [P, Q]> {
  const { unmerge: open } = outer, { unmerge: openInner } = inner;
  return {
    name: `${outer.name} ∘ ${inner.name}`,
    init: (key, site) => {
      const [first, second] = split(key) as [Key, Key];
      const sites = sitesOf([outer, inner], site);
      return [outer.init(first, sites[0]!), inner.init(second, sites[1]!)];
    },
    apply: ([p, q], base, key) => {
      const [first, second] = keysOf(key, 2);
      return outer.apply(p, inner.apply(q, base, second), first);
    },
    merge: ([p, q], weight) => outer.merge(p, inner.merge(q, weight)),
    ...(open && openInner ? { unmerge: ([p, q], merged) => openInner(q, open(p, merged)) } : {}),
    ...(outer.derive || inner.derive
      ? { derive: ([p, q]) => [outer.derive?.(p) ?? p, inner.derive?.(q) ?? q] as const }
      : {}),
    ...partsOf([outer, inner]),
  };
}
