/** Oracle 2 for whole plans: every step by the kernel interpreter, buffers shared as the plan says. @module */
import { bytesOf, sizeOf } from "../ir/aval.ts";
import { interpret } from "../kernel/interpret.ts";
import type { Plan } from "./plan.ts";

/** Outputs of a plan in float64. Temporaries start as NaN, so that a value read before it is written shows. */
export function interpretPlan(plan: Plan, inputs: readonly Float64Array[]): Float64Array[] {
  // Two bytes are the smallest element; one number is kept for each, whatever the type.
  const memory = plan.buffers.map((b) =>
    new Float64Array(b.bytes / 2).fill(b.role === "zeroed" ? 0 : Number.NaN)
  );
  plan.inputs.forEach(({ buffer }, i) => memory[buffer]!.set(inputs[i]!));
  for (const { kernel, slots } of plan.steps) {
    const { [kernel]: k } = plan.kernels;
    interpret(
      k!,
      slots.map((place, i) => memory[place.buffer]!.subarray(place.offset / bytesOf(k!.slots[i]!.dtype))),
    );
  }
  return plan.outputs.map(({ aval, place }) => {
    const start = place.offset / bytesOf(aval.dtype);
    return memory[place.buffer]!.slice(start, start + sizeOf(aval.shape));
  });
}
