/** What a compiled training step needs on its device. @module */
import { planBytes } from "../core/mod.ts";
import type { Runner } from "./runner.ts";

/** Bytes that a training step needs on the device, by what they are for. */
export interface StepBytes {
  /** Frozen weights. */
  readonly weights: number;
  /** Trained parameters, and the optimiser's state. */
  readonly trained: number;
  readonly optimiser: number;
  /** The rest: activations, gradients, the batch. */
  readonly temporaries: number;
  readonly total: number;
}

/** What a compiled training step needs. */
export function stepBytes({ compiled: { plan, inputs } }: Pick<Runner, "compiled">): StepBytes {
  const of = (prefix: string): number =>
    plan.inputs.reduce(
      (n, { buffer }, i) => inputs[i]!.startsWith(prefix) ? n + plan.buffers[buffer]!.bytes : n,
      0,
    );
  const { total } = planBytes(plan);
  const [weights, trained, optimiser] = [of("weights."), of("params."), of("optimiser.")];
  return { weights, trained, optimiser, temporaries: total - weights - trained - optimiser, total };
}
