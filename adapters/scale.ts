/** An adapter at another strength. @module */
import { add, mul, sub } from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";

/** The base map plus `strength` times the adapter's change: 0 is the base, 1 the adapter. */
export function scale<P>(strength: number, adapter: Adapter<P>): Adapter<P> {
  // The inverse of a scaled change has no closed form.
  const { unmerge: _, ...rest } = adapter;
  return {
    ...rest,
    name: `${strength}·${adapter.name}`,
    apply: (params, base, key) => (x) =>
      add(base(x), mul(sub(adapter.apply(params, base, key)(x), base(x)), strength)),
    merge: (params, weight) => add(weight, mul(sub(adapter.merge(params, weight), weight), strength)),
  };
}
