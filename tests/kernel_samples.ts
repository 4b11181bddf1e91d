/** Kernels of every form, by hand, to try each printer against the interpreter. @module */
import type { DType } from "../core/ir/aval.ts";
import type { Sample } from "./samples/build.ts";
import { contractSamples } from "./samples/contract.ts";
import { mapSamples } from "./samples/map.ts";
import { rowSamples } from "./samples/row.ts";
import { structuredSamples } from "./samples/structured.ts";

export type { Sample } from "./samples/build.ts";

/** All samples; names are unique. */
export const samples: readonly Sample[] = [
  ...mapSamples,
  ...rowSamples,
  ...contractSamples,
  ...structuredSamples,
];

/** The sample of this name; throws when there is none. */
export function sampleNamed(name: string): Sample {
  const found = samples.find((s) => s.name === name);
  if (!found) throw new Error(`No sample is named ${name}.`);
  return found;
}

/**
 * Slots filled for a run, always with the same numbers: exact in the slot's type, reals between -1 and 1. Slots that
 * are only written hold 99, which no result may keep by chance where an element is to be written.
 */
export function slotsOf({ kernel, sizes, fill }: Sample): Float64Array[] {
  let state = 1;
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  return kernel.slots.map(({ dtype, access }, slot) =>
    Float64Array.from({ length: sizes[slot]! }, (_, i) => {
      if (access === "write") return 99;
      return fill?.(slot, i) ?? number(dtype, random());
    })
  );
}

/** A number of the type from 32 random bits. */
function number(dtype: DType, bits: number): number {
  switch (dtype) {
    case "f32":
      return Math.fround(bits / 2 ** 31 - 1);
    case "f16":
    case "bf16":
      return (bits >>> 25) / 64 - 1;
    case "i32":
      return (bits >>> 28) - 8;
    case "u32":
      return bits;
    case "bool":
      return bits >>> 31;
  }
}
