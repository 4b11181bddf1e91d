/** Learning rates of a comparison, by method. @module */
import type { MethodName } from "../../train/mod.ts";

/** Learning rates of a run: of orthogonal parameters, and of all others, a head's too. */
export interface Rates {
  readonly lr: number;
  readonly orthogonalLr: number;
}

/**
 * Learning rates by method, chosen among two or three with one seed on 1,000 rows of SST-2's training file, by the loss on
 * 200 others of that file; a method that was not tried has that of its kind. Orthogonal parameters have half of it, but
 * the hybrid's, whose low-rank branch starts large, have more.
 */
const RATES: Readonly<Record<MethodName, number | Rates>> = {
  full: 1e-4,
  lora: 2e-3,
  rslora: 2e-3,
  dora: 2e-3,
  "lora-ga": 3e-4,
  pissa: 1e-3,
  olora: 1e-3,
  hybrid: { lr: 3e-4, orthogonalLr: 5e-3 },
  oft: 1e-2,
  boft: 1e-2,
  hra: 2e-2,
  givens: 4e-2,
  unitary: 4e-2,
};

/** The learning rates of a method: those of `given`, by method, stand before the comparison's own. */
export function ratesOf(given: ReadonlyMap<MethodName, number>, method: MethodName): Rates {
  const own = given.get(method) ?? RATES[method];
  return typeof own === "number" ? { lr: own, orthogonalLr: own / 2 } : own;
}
