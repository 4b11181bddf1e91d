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
import { cutRare } from "./rare_launches.ts";

/** Steps run at once, as places in the plan, and their kernels as they are bound. */
export interface Launch {
  readonly steps: readonly number[];
  readonly kernels: readonly Kernel[];
}

/** A launch whose kernels are printed. */
export interface PrintedLaunch extends Launch {
  readonly parts: readonly Printed[];
}

/** What launches must respect. */
export interface LaunchLimits {
  readonly wgsl: WgslLimits;
  /** Buffers that one launch may bind. */
  readonly maxSlots: number;
  /** Characters of several steps' texts together; default 50,000. */
  readonly maxText?: number;
}

/** Places that a step may be taken forward to join a launch. */
const WINDOW = 20;
/** Steps of a launch. */
const MOST = 4;
/** Characters of several steps' texts together: drivers take longer over a long shader than over its parts. */
const MAX_TEXT = 50_000;
/** Workgroups of a small step, for each processor. */
const SMALL = 4;

/** The launches of a plan, in order; each kernel is printed once for each way in which it is bound. */
export function launchesOf(
  plan: Plan,
  { wgsl: limits, maxSlots, maxText = MAX_TEXT }: LaunchLimits,
): PrintedLaunch[] {
  const touches = touchesOf(plan), parts = partsOf(plan, limits);
  const done = new Set<number>();
  const launches: number[][] = [];
  plan.steps.forEach((_, first) => {
    if (done.has(first)) return;
    const steps = [first];
    for (let i = first + 1; i <= first + WINDOW && i < plan.steps.length && steps.length < MOST; i++) {
      if (!parts[first]!.isSmall) break;
      if (done.has(i) || !touches[i]!.needs.every((n) => done.has(n)) || !parts[i]!.isSmall) continue;
      const all = [...steps, i], printed = all.map((s) => parts[s]!.printed), [one] = printed;
      // Of one form, so that layers repeat the same launches: each text is compiled once.
      const fits = printed.every((p) => p.lanes === one!.lanes && formOf(p) === formOf(one!)) &&
        all.reduce((n, s) => n + parts[s]!.length, 0) <= maxText &&
        (sharedBytes(printed) ?? Infinity) <= limits.maxWorkgroupBytes &&
        all.reduce((n, s) => n + plan.steps[s]!.slots.length, 0) <= maxSlots &&
        areApart(plan, all.map((s) => plan.steps[s]!));
      if (fits) steps.push(i);
    }
    steps.forEach((i) => done.add(i));
    // By text, so that the same ones are one text in whatever order the plan has them.
    launches.push(steps.sort((a, b) => parts[a]!.text - parts[b]!.text || a - b));
  });
  const cuts = cutRare(launches.map((steps) => steps.map((i) => parts[i]!.text)));
  return launches.flatMap((steps, l) =>
    cuts[l]!.map((places) => {
      const some = places.map((place) => steps[place]!), own = some.map((i) => parts[i]!.printed);
      return { steps: some, kernels: own.map((p) => p.module.kernel), parts: own };
    })
  );
}

/** A step's kernel as a part of a launch. */
interface Part {
  readonly printed: Printed;
  readonly isSmall: boolean;
  /** Characters, without bindings. */
  readonly length: number;
  /** The same number for the same text. */
  readonly text: number;
}

/** For each step; kernels that are bound alike are printed once. */
function partsOf(plan: Plan, limits: WgslLimits): Part[] {
  const known = new Map<string, Part>(), texts = new Map<string, number>();
  return plan.steps.map((step) => {
    const bound = boundKernel(plan, step);
    const key = `${step.kernel} ${bound.slots.map((s) => s.access).join()}`;
    const old = known.get(key);
    if (old) return old;
    const all = printed(bound, limits), { module, units, lanes, lines } = all;
    const text = [units, lanes, ...module.preamble(), ...lines].join("\n");
    if (!texts.has(text)) texts.set(text, texts.size);
    const part: Part = {
      printed: all,
      isSmall: units <= SMALL * limits.busyWorkgroups && sharedBytes([all]) !== null,
      length: [...module.definitions(), ...lines].reduce((n, line) => n + line.length + 1, 0),
      text: texts.get(text)!,
    };
    known.set(key, part);
    return part;
  });
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
