/** What the plan of a step needs, as numbers that grow with the layers. @module */
import { type Capabilities, type Plan } from "../../core/mod.ts";
import { bytesTouched, productOperations } from "../../core/kernel/work.ts";
import { countTrainable } from "../arena.ts";
import { type DecoderConfig, weightShapes } from "../decoder.ts";
import { parseAsked } from "../evaluation/asked.ts";
import { methodClasses } from "../methods.ts";
import { lossScaleOf } from "../loss_scale.ts";
import { adamW } from "../optimiser.ts";
import type { TrainOptions } from "../options.ts";
import { type StepBytes, stepBytes } from "../step_bytes.ts";
import { planStep } from "../step_plan.ts";

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

/** Longest sequence of a run of which no rows are known: held-out rows may be answered at as much length again. */
export function longestOf({ maxPositions }: DecoderConfig, { seq, eval: asked }: TrainOptions): number {
  return Math.min(maxPositions, parseAsked(asked).rows === null ? seq : 2 * seq);
}

/** Plan the step of a model with this configuration and batch length, and count. Throws ShapeError and UserError. */
export function stepNeeds(
  config: DecoderConfig,
  options: TrainOptions,
  capabilities: Capabilities,
  speed: Speed,
  length: number,
): StepNeeds {
  const classes = methodClasses(options, config);
  const weights = new Map(
    [...weightShapes(config)].map(([name, at]) => [
      name,
      at.shape.length > 1 ? { ...at, dtype: options.dtype } : at,
    ]),
  );
  const compiled = planStep({
    ...{
      capabilities,
      subject: { config, classes },
      weights,
      optimiser: adamW({ clip: options.clip, lossScale: lossScaleOf(options) }),
    },
    accumulate: options.accumulate,
    maxLength: longestOf(config, options),
    batch: { rows: options.batch, length },
  });
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
    trainable: countTrainable(classes),
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

/**
 * Needs at `layers` layers from those at two smaller numbers: every layer more costs the same. Of intermediates this is
 * near but not exact, since buffers of one layer serve another. The largest buffer is that of the larger model.
 */
export function extrapolate(
  few: StepNeeds,
  more: StepNeeds,
  [fewer, several]: readonly [number, number],
  layers: number,
): StepNeeds {
  const at = (a: number, b: number): number => b + (b - a) / (several - fewer) * (layers - several);
  const keys = [
    "weights",
    "trained",
    "optimiser",
    "temporaries",
    "total",
    "trainable",
    "kernels",
    "operations",
    "traffic",
    "seconds",
  ] as const;
  const numbers = Object.fromEntries(keys.map((key) => [key, at(few[key], more[key])])) as Record<
    typeof keys[number],
    number
  >;
  const names = Object.keys(more.intermediates);
  return {
    ...numbers,
    largest: more.largest,
    intermediates: Object.fromEntries(
      names.map((name) => [name, Math.max(0, at(few.intermediates[name] ?? 0, more.intermediates[name]!))]),
    ),
  };
}
