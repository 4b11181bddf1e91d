/** Plans in print. @module */
import { showAval } from "../ir/aval.ts";
import { planBytes, showBytes } from "./check_limits.ts";
import type { Plan } from "./plan.ts";

/** One line a buffer and a step, then the bytes. */
export function showPlan(plan: Plan): string {
  const { inputs, outputs, temporaries, total } = planBytes(plan);
  return [
    ...plan.inputs.map((x, i) => `input ${i}: ${showAval(x.aval)} in b${x.buffer}`),
    ...plan.buffers.map((b, i) => `b${i}: ${b.bytes} bytes, ${b.role}`),
    ...plan.steps.map(({ kernel, slots }, i) => {
      const places = slots.map((p) => `b${p.buffer}${p.offset ? `+${p.offset}` : ""}`).join(" ");
      return `step ${i}: kernel ${kernel} ${plan.kernels[kernel]!.name} (${places})`;
    }),
    ...plan.outputs.map((x, i) => `output ${i}: ${showAval(x.aval)} in b${x.place.buffer}`),
    `${showBytes(total)}: inputs ${showBytes(inputs)}, outputs ${showBytes(outputs)}, temporaries ${
      showBytes(temporaries)
    }`,
  ].join("\n");
}
