/** What a run needs on the device beside what there is: found in plans, before anything is uploaded. @module */
import { type Capabilities, checkLimits, type Compiled, showBytes } from "../core/mod.ts";
import type { RunBytes } from "./count_run.ts";
import { UserError } from "./errors.ts";
import { type StepBytes, stepBytes } from "./step_bytes.ts";

/** Rows and positions of a plan. */
export interface PlanShape {
  readonly rows: number;
  readonly length: number;
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
  const has = roomOf(capabilities, free);
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

/**
 * Refuse a run that does not fit at its peak, as {@linkcode requireRoom} does a step. Throws UserError with the parts of
 * the run and what helps.
 */
export function requireRunRoom(run: RunBytes, capabilities: Capabilities, free: number | null): void {
  const has = roomOf(capabilities, free);
  if (!has || run.peak <= has.bytes) return;
  const { start, peak } = run;
  const [most, next] = peak === start
    ? [{ helps: "an adapter whose start needs less, as --method lora" }, null]
    : [
      { bytes: run.steps, helps: "a smaller --batch, a larger --accumulate, or a shorter --seq" },
      {
        bytes: run.tasks,
        helps: "fewer rows of the tasks that --eval names, by --eval-limit, or none of them",
      },
      { bytes: run.answers, helps: "fewer answers, by --eval-limit, or --eval none" },
    ].sort((a, b) => b.bytes - a.bytes);
  throw new UserError(
    `The run needs ${showBytes(peak)} at its peak, and ${has.what} ${showBytes(has.bytes)}: at the start ${
      showBytes(start)
    }; then ${showParts(run)}. What helps most: ${most!.helps}${next ? `; then ${next.helps}` : ""}.`,
    { needed: peak, available: has.bytes },
  );
}

/** What a run needs after its start, for people. */
export function showParts({ staying, steps, evaluations, tasks, answers }: RunBytes): string {
  return [
    `weights and state ${showBytes(staying)}`,
    `steps of all lengths ${showBytes(steps)}`,
    `evaluation ${showBytes(evaluations)}`,
    ...(tasks > 0 ? [`tasks ${showBytes(tasks)}`] : []),
    `answers ${showBytes(answers)}`,
  ].join(", ");
}

/** The least of what there is; null where nobody knows. */
function roomOf(
  { kind, maxTotalBytes, adapterName }: Capabilities,
  free: number | null,
): { readonly bytes: number; readonly what: string } | null {
  return [
    ...(maxTotalBytes === null ? [] : [{ bytes: maxTotalBytes, what: `${adapterName} has` }]),
    // What a processor computes on is the machine's memory.
    ...(kind === "cpu" && free !== null ? [{ bytes: free, what: "the machine has free" }] : []),
  ].sort((a, b) => a.bytes - b.bytes)[0] ?? null;
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
