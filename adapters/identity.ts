/** The adapter that changes nothing: the neutral element of `compose`. @module */
import type { Adapter } from "./adapter.ts";

/** No parameters, the same map. */
export const identity: Adapter<readonly []> = {
  name: "identity",
  init: () => [],
  apply: (_params, base) => base,
  merge: (_params, weight) => weight,
  unmerge: (_params, merged) => merged,
};
