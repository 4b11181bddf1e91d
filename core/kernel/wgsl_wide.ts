/** Which buffers of a kernel can be read and written four elements at a time. @module */
import { type Expr, loadsOf } from "../ir/expr.ts";
import { type Ix, ixAdd, ixConst } from "../ir/ix.ts";
import type { Kernel, Store } from "./kernel.ts";
import { canBeWide } from "./wgsl_memory.ts";

/** Values and stores of four neighbours, or of one where nothing is computed in fours. */
export interface Access {
  readonly values: readonly (readonly Expr[])[];
  readonly stores?: readonly (readonly Store[])[];
}

/** Slots whose every access is to four neighbours from a multiple of 4 on. */
export function wideSlots(kernel: Kernel, accesses: readonly Access[]): Set<number> {
  const wide = new Set(kernel.slots.flatMap(({ dtype }, i) => (canBeWide(dtype) ? [i] : [])));
  const touched = new Set<number>();
  const check = (
    lanes: readonly (readonly { readonly slot: number; readonly ix: Ix; readonly plain: boolean }[])[],
  ): void => {
    lanes[0]!.forEach(({ slot, plain }, i) => {
      touched.add(slot);
      if (!plain || !areNeighbours(lanes.map((of) => of[i]!.ix))) wide.delete(slot);
    });
  };
  for (const { values, stores = [] } of accesses) {
    const loads = values.map((of, lane) => {
      const all = loadsOf([...of, ...(stores[lane] ?? []).map((s) => s.value)]);
      return all.map(({ slot, ix, valid }) => ({ slot, ix, plain: valid.length === 0 }));
    });
    check(loads);
    if (stores.length > 0) check(stores.map((of) => of.map(({ slot, ix }) => ({ slot, ix, plain: true }))));
  }
  return new Set([...wide].filter((slot) => touched.has(slot)));
}

function areNeighbours(lanes: readonly Ix[]): boolean {
  const first = lanes[0]!;
  return lanes.length === 4 && first.constant % 4 === 0 && first.terms.every((t) => t.coef % 4 === 0) &&
    lanes.every((ix, lane) => ix.key === ixAdd(first, ixConst(lane)).key);
}

/** `of` for each of four neighbours. */
export function four<T>(of: (lane: number) => T): T[] {
  return [0, 1, 2, 3].map(of);
}
