/** What a run needs on the device beside what there is: found in plans, before anything is uploaded. @module */
import { type Capabilities, checkLimits, type Compiled, planBytes, showBytes } from "../core/mod.ts";
import { UserError } from "./errors.ts";
import { type StepBytes, stepBytes } from "./step_bytes.ts";

/** Rows and positions of a plan. */
export interface PlanShape {
  readonly rows: number;
  readonly length: number;
}

/** Everything that a run compiles. */
export interface RunPlans {
  readonly steps: readonly Compiled[];
  readonly evaluations: readonly Compiled[];
  readonly answers: readonly Compiled[];
}

/** What a run needs on the device, in bytes. */
export interface RunBytes {
  /** Of the largest step alone. */
  readonly step: StepBytes;
  /** Of the plans of all steps, evaluations and answers together, which stay for the length of the run. */
  readonly steps: number;
  readonly evaluations: number;
  readonly answers: number;
  /** All of it together, and what stays: weights, trained parameters, the optimiser's state. */
  readonly peak: number;
}

/** What the plans of a run, one step at least, come to; nothing is uploaded. */
export function runBytes({ steps, evaluations, answers }: RunPlans): RunBytes {
  const plans = steps.map((compiled) => stepBytes({ compiled }));
  const step = plans.reduce((a, b) => b.total > a.total ? b : a);
  const together = (all: readonly Compiled[]): number => all.reduce((n, c) => n + ownBytes(c), 0);
  const bytes = {
    steps: plans.reduce((n, p) => n + p.temporaries, 0),
    evaluations: together(evaluations),
    answers: together(answers),
  };
  const staying = step.weights + step.trained + step.optimiser;
  return { step, ...bytes, peak: staying + bytes.steps + bytes.evaluations + bytes.answers };
}

/** Bytes of a plan beside weights and parameters, which all plans share. */
function ownBytes(compiled: Compiled): number {
  const shared = compiled.plan.inputs.reduce(
    (n, { buffer }, i) =>
      /^(weights|params)\./.test(compiled.inputs[i]!) ? n + compiled.plan.buffers[buffer]!.bytes : n,
    0,
  );
  return planBytes(compiled.plan).total - shared;
}

/** Free memory of the machine in bytes; null where the program may not ask (`--allow-sys`). */
export function freeMemory(): number | null {
  // Asking without a permission would stop and ask the user.
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  return state === "granted" ? Deno.systemMemoryInfo().available : null;
}

/**
 * Refuse a step that does not fit: more than the device or the machine has, or a buffer that is larger than the device
 * takes. Throws UserError with what is needed, what there is, the largest parts and the flags that make them smaller, and
 * PlanError for a single buffer.
 */
export function requireRoom(compiled: Compiled, capabilities: Capabilities, free: number | null): void {
  const bytes = stepBytes({ compiled });
  const { kind, maxTotalBytes, adapterName } = capabilities;
  const has = [
    ...(maxTotalBytes === null ? [] : [{ bytes: maxTotalBytes, what: `${adapterName} has` }]),
    // What a processor computes on is the machine's memory.
    ...(kind === "cpu" && free !== null ? [{ bytes: free, what: "the machine has free" }] : []),
  ].sort((a, b) => a.bytes - b.bytes)[0];
  if (has && bytes.total > has.bytes) {
    const parts = consumers(bytes);
    throw new UserError(
      `A step needs ${showBytes(bytes.total)}, and ${has.what} ${showBytes(has.bytes)}: ` +
        `${parts.map((p) => `${p.name} ${showBytes(p.bytes)}`).join(", ")}. What helps most: ${
          parts[0]!.helps
        }; ` +
        `then ${parts[1]!.helps}.`,
      { needed: bytes.total, available: has.bytes },
    );
  }
  checkLimits(compiled.plan, capabilities);
}

/** What takes memory, the largest first, and what makes it smaller. */
function consumers({ weights, trained, optimiser, temporaries }: StepBytes) {
  return [
    { name: "weights", bytes: weights, helps: "--dtype f16, which halves the weights" },
    {
      name: "trained parameters and optimiser",
      bytes: trained + optimiser,
      helps: "fewer trained parameters: a method with adapters, a lower --rank, fewer maps in --target",
    },
    {
      name: "activations and gradients",
      bytes: temporaries,
      helps: "a smaller --batch, a larger --accumulate, or a shorter --seq",
    },
  ].sort((a, b) => b.bytes - a.bytes);
}
