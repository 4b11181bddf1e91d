/** Plans as the threads walk them: where each slot lies, and which steps are worth all threads. @module */
import type { Cut } from "../kernel/wat.ts";
import type { Plan } from "../plan/plan.ts";
import type { Walk, WalkStep } from "./walk.ts";

/** Vector instructions that take longer than to call the other threads. */
const CHUNK_WORK = 16384;
/** Chunks a thread, so that a thread that was interrupted holds the others up only briefly. */
const CHUNKS_PER_THREAD = 6;

/** A kernel as this device has it. */
export interface PlacedKernel {
  /** Its number among the device's kernels. */
  readonly number: number;
  readonly cut: Cut;
}

/** Bytes of the table that {@linkcode makeWalk} needs. */
export function tableBytes(plan: Plan): number {
  return 4 * (plan.steps.length + plan.inputs.length);
}

/** Lay a plan out; `bases` has the address of each buffer, null for those of inputs. */
export function makeWalk(
  plan: Plan,
  kernels: readonly PlacedKernel[],
  bases: readonly (number | null)[],
  table: number,
  threads: number,
): Walk {
  const inputOf = new Map(plan.inputs.map(({ buffer }, i) => [buffer, i]));
  const bindings: { step: number; slot: number; input: number; offset: number }[] = [];
  const steps = plan.steps.map((step, s): WalkStep => {
    const { number, cut } = kernels[step.kernel]!;
    const most = Math.min(cut.units, Math.max(1, Math.floor(cut.work / CHUNK_WORK)));
    const chunks = Math.min(most, CHUNKS_PER_THREAD * threads);
    const addresses = step.slots.map(({ buffer, offset }, slot) => {
      const base = bases[buffer];
      if (base !== null && base !== undefined) return base + offset;
      bindings.push({ step: s, slot, input: inputOf.get(buffer)!, offset });
      return 0;
    });
    return { kernel: number, units: cut.units, chunks, isPhase: threads > 1 && chunks > 1, addresses };
  });
  return { steps, table, bindings };
}
