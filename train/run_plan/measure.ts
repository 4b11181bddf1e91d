/** What the plan of a step needs, as numbers that grow with the layers. @module */
import { type Capabilities, type Plan } from "../../core/mod.ts";
import { bytesTouched, productOperations } from "../../core/kernel/work.ts";
import { countTrainable } from "../arena.ts";
import type { TrainOptions } from "../options.ts";
import { type StepBytes, stepBytes } from "../step_bytes.ts";
import type { PlannedModel } from "./planned_model.ts";

/** A processor as far as time depends on it. */
export interface Speed {
  /** Operations of products in a second, and bytes to and from memory, as far as can be reached. */
  readonly operations: number;
  readonly bytes: number;
  /** Seconds that starting a kernel takes. */
  readonly launch: number;
}

/** What a step needs; all but `largest` grow with the number of layers. */
export interface StepNeeds extends StepBytes {
  readonly trainable: number;
  readonly kernels: number;
  /** Multiplications and additions of products; bytes that kernels must at least move. */
  readonly operations: number;
  readonly traffic: number;
  /** Each kernel at the speed of products or of memory, whichever takes longer, plus its start. */
  readonly seconds: number;
  readonly largest: LargestBuffer;
  /** Bytes of intermediates by the kernel that makes them. */
  readonly intermediates: Readonly<Record<string, number>>;
}

/** The largest buffer of a plan. */
export interface LargestBuffer {
  readonly bytes: number;
  readonly what: string;
}

/** Plan the step of a model at this batch length, and count. Throws ShapeError and UserError. */
export function stepNeeds(
  model: PlannedModel,
  options: TrainOptions,
  capabilities: Capabilities,
  speed: Speed,
  length: number,
): StepNeeds {
  const compiled = model.step(options, capabilities, length);
  const { plan, inputs } = compiled;
  let all = 0, bytes = 0, seconds = 0;
  const each = plan.kernels.map((k) => ({
    operations: productOperations(k.body),
    traffic: bytesTouched(k),
  }));
  for (const { kernel } of plan.steps) {
    const work = each[kernel]!;
    all += work.operations;
    bytes += work.traffic;
    seconds += Math.max(work.operations / speed.operations, work.traffic / speed.bytes) + speed.launch;
  }
  return {
    ...stepBytes({ compiled }),
    trainable: countTrainable(model.classes(options)),
    kernels: plan.steps.length,
    operations: all,
    traffic: bytes,
    seconds,
    largest: largestOf(plan, inputs),
    intermediates: intermediatesOf(plan),
  };
}

/** Kernels by the buffer that they are the first to write. */
function makers({ steps, kernels }: Plan): Map<number, string> {
  const names = new Map<number, string>();
  for (const { kernel, slots } of steps) {
    slots.forEach(({ buffer }, i) => {
      if (kernels[kernel]!.slots[i]!.access !== "read" && !names.has(buffer)) {
        names.set(buffer, kernels[kernel]!.name);
      }
    });
  }
  return names;
}

function intermediatesOf(plan: Plan): Record<string, number> {
  const made = makers(plan), found: Record<string, number> = {};
  plan.buffers.forEach(({ role, bytes }, i) => {
    if (role === "input") return;
    const name = made.get(i) ?? "others";
    found[name] = (found[name] ?? 0) + bytes;
  });
  return found;
}

function largestOf(plan: Plan, inputs: readonly string[]): LargestBuffer {
  const made = makers(plan);
  const [at, { bytes }] = [...plan.buffers.entries()].reduce((a, b) => b[1].bytes > a[1].bytes ? b : a);
  const input = plan.inputs.findIndex((x) => x.buffer === at);
  const what = input >= 0
    ? inputs[input]!.replace(/^weights\./, "")
    : `an intermediate of ${made.get(at) ?? "?"}`;
  return { bytes, what };
}
