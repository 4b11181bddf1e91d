/**
 * Which steps of a plan one launch runs side by side. A GPU waits between kernels that share a buffer which one of them
 * writes, and a small kernel leaves most of it idle meanwhile: so small steps that do not need each other become one
 * launch, as the products of q, k and v, or the gradients of their adapters. @module
 */
import type { Kernel } from "../kernel/kernel.ts";
import { type Printed, printed, type WgslLimits } from "../kernel/wgsl.ts";
import { sharedBytes } from "../kernel/wgsl_together.ts";
import { touchesOf } from "../plan/overlap.ts";
import type { Plan, Step } from "../plan/plan.ts";

/** Steps run at once, as places in the plan, and their kernels as they are bound. */
export interface Launch {
  readonly steps: readonly number[];
  readonly kernels: readonly Kernel[];
}

/** What launches must respect. */
export interface LaunchLimits {
  readonly wgsl: WgslLimits;
  /** Buffers that one launch may bind. */
  readonly maxSlots: number;
}

/** Places that a step may be taken forward to join a launch. */
const WINDOW = 20;
/** Steps of a launch: more make long shaders, which take long to compile. */
const MOST = 4;
/** Workgroups of a small step, for each processor. */
const SMALL = 4;

/** The launches of a plan, in order. */
export function launchesOf(plan: Plan, { wgsl: limits, maxSlots }: LaunchLimits): Launch[] {
  const touches = touchesOf(plan), bound = plan.steps.map((step) => boundKernel(plan, step));
  const known = new Map<number, Printed>();
  const partsOf = (i: number): Printed => {
    const { kernel } = plan.steps[i]!;
    const parts = known.get(kernel) ?? printed(plan.kernels[kernel]!, limits);
    known.set(kernel, parts);
    return parts;
  };
  const isSmall = (i: number): boolean => {
    const parts = partsOf(i);
    return parts.units <= SMALL * limits.busyWorkgroups && sharedBytes([parts]) !== null;
  };
  const done = new Set<number>();
  const launches: Launch[] = [];
  plan.steps.forEach((_, first) => {
    if (done.has(first)) return;
    const steps = [first];
    for (let i = first + 1; i <= first + WINDOW && i < plan.steps.length && steps.length < MOST; i++) {
      if (!isSmall(first)) break;
      if (done.has(i) || !touches[i]!.needs.every((n) => done.has(n)) || !isSmall(i)) continue;
      const all = [...steps, i], parts = all.map(partsOf);
      // Of one form, so that layers repeat the same launches: each text is compiled once.
      const fits = parts.every((p) => p.lanes === parts[0]!.lanes && formOf(p) === formOf(parts[0]!)) &&
        (sharedBytes(parts) ?? Infinity) <= limits.maxWorkgroupBytes &&
        all.reduce((n, s) => n + plan.steps[s]!.slots.length, 0) <= maxSlots &&
        areApart(plan, all.map((s) => plan.steps[s]!));
      if (fits) steps.push(i);
    }
    steps.forEach((i) => done.add(i));
    launches.push({ steps, kernels: steps.map((i) => bound[i]!) });
  });
  return launches;
}

function formOf({ module }: Printed): string {
  return module.kernel.body.form;
}

/**
 * Whether steps may be bound at once: WebGPU binds no buffer both for reading and for writing, and no part of one for
 * writing twice.
 */
function areApart(plan: Plan, steps: readonly Step[]): boolean {
  const read = new Set<number>(), written = new Map<number, Set<number>>();
  for (const { kernel, slots } of steps) {
    const own = new Set<number>();
    for (const [j, { buffer, offset }] of slots.entries()) {
      if (plan.kernels[kernel]!.slots[j]!.access === "read") {
        if (written.has(buffer)) return false;
        read.add(buffer);
        continue;
      }
      own.add(buffer);
      const offsets = written.get(buffer);
      if (read.has(buffer) || offsets?.has(offset)) return false;
      if (offsets && plan.buffers[buffer]!.role !== "zeroed") return false;
    }
    for (const { buffer, offset } of slots) {
      if (own.has(buffer)) written.set(buffer, (written.get(buffer) ?? new Set()).add(offset));
    }
  }
  return true;
}

/**
 * The kernel of a step as it is bound. WebGPU binds no buffer both for reading only and for writing; parts of one buffer
 * that are read beside parts that are written are therefore declared as writable.
 */
export function boundKernel(plan: Plan, step: Step): Kernel {
  const kernel = plan.kernels[step.kernel]!;
  const written = new Set(
    step.slots.filter((_, i) => kernel.slots[i]!.access !== "read").map((p) => p.buffer),
  );
  const slots = kernel.slots.map((slot, i) =>
    slot.access === "read" && written.has(step.slots[i]!.buffer)
      ? { ...slot, access: "readwrite" as const }
      : slot
  );
  return { ...kernel, slots };
}
