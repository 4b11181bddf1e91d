/** Attention at odd sizes, and all ways to hide keys: rows of data for the interpreter and the devices. @module */
import type { Compiled } from "../core/compile.ts";
import { type Capabilities, matrixGpu } from "../core/plan/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import type { Windows } from "../train/attend.ts";
import { weightShapes } from "../train/decoder.ts";
import { methodClasses } from "../train/methods.ts";
import { adamW } from "../train/optimiser.ts";
import { llamaShape } from "../train/run_plan/shapes.ts";
import { planStep } from "../train/step_plan.ts";
import { type Aval, aval, fill, input, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { attention, type AttentionOptions, iota, lt, mul, where } from "../ops/mod.ts";
import { type Graph, pullbackGraph } from "./check_primitive.ts";
import { noise } from "./op_rows.ts";

/** One attention, on queries, keys, values and perhaps segments. */
export interface AttentionCase {
  readonly name: string;
  readonly inputs: readonly Aval[];
  readonly f: (xs: readonly Tensor[]) => Tensor;
  /** Segment of a position. */
  readonly segment?: (i: number) => number;
}

interface Sizes {
  readonly b?: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly t: number;
  readonly s?: number;
  readonly d: number;
}

function row(
  name: string,
  { b = 1, heads, kvHeads, t, s = t, d }: Sizes,
  options: Omit<AttentionOptions, "segments"> & { readonly segment?: (i: number) => number } = {},
): AttentionCase {
  const { segment, ...rest } = options;
  return {
    name: `${name}: ${heads} heads of ${d} on ${kvHeads}, ${t}×${s}`,
    inputs: [
      aval([b, heads, t, d]),
      aval([b, kvHeads, s, d]),
      aval([b, kvHeads, s, d]),
      ...(segment ? [aval([b, t], "i32")] : []),
    ],
    f: ([q, k, v, segments]) => attention(q!, k!, v!, { ...rest, ...(segments ? { segments } : {}) }),
    ...(segment ? { segment } : {}),
  };
}

/** Scores that jump at the 64th key: what was added up before must be scaled anew. */
function rising(): AttentionCase {
  const { f, ...rest } = row("rising scores", { heads: 2, kvHeads: 1, t: 140, d: 16 });
  return {
    ...rest,
    f: ([q, k, v]) => {
      const ramp = where(lt(iota(k!.shape, 2), 64), fill(1 / 8, k!.shape), fill(2, k!.shape));
      return f([mul(q!, 6), mul(k!, ramp), v!]);
    },
  };
}

/** All of them. */
export const attentionCases: readonly AttentionCase[] = [
  row("causal", { heads: 1, kvHeads: 1, t: 70, d: 16 }),
  row("groups", { b: 2, heads: 3, kvHeads: 1, t: 33, d: 32 }),
  row("window", { heads: 4, kvHeads: 1, t: 150, d: 16 }, { window: 21 }),
  row("segments", { b: 2, heads: 4, kvHeads: 2, t: 40, d: 16 }, { segment: (i) => Math.floor(i % 40 / 13) }),
  row("all in a window of segments, capped", { b: 2, heads: 2, kvHeads: 1, t: 67, d: 16 }, {
    window: 40,
    segment: (i) => Math.floor(i % 67 / 30),
    cap: 0.8,
  }),
  row("padding", { heads: 2, kvHeads: 2, t: 21, d: 48 }, { causal: false, segment: (i) => Number(i < 17) }),
  rising(),
  row("two walks for keys", { heads: 2, kvHeads: 1, t: 19, d: 80 }),
  row("both ways", { heads: 2, kvHeads: 1, t: 18, s: 35, d: 16 }, { causal: false }),
];

/** The graph of a case's output and cotangents, and numbers for its inputs, exact in f16. */
export function graphOf(
  { inputs, f, segment }: AttentionCase,
): Graph & { readonly numbers: readonly Float64Array[] } {
  const xs: Tensor[] = inputs.map((a, i) => input(a, `x${i}`));
  const y = f(xs);
  const back = pullbackGraph({ inputs: xs, outputs: [y] });
  const random = noise(3);
  const numbers = back.inputs.map(({ shape }, k) =>
    Float64Array.from(
      { length: sizeOf(shape) },
      (_, i) => k === 3 && segment ? segment(i) : Math.round(random() * 64) / 64,
    )
  );
  return { inputs: back.inputs, outputs: [y, ...back.outputs], numbers };
}

/** A device with matrix units, or one without. */
function deviceWith(halfProducts: boolean): Capabilities {
  return {
    ...{ kind: "gpu", adapterName: "a device", f16: true, maxSlots: 16 },
    gpu: matrixGpu(halfProducts),
    ...{ maxBufferBytes: 2 ** 31, maxTotalBytes: null },
  };
}

/** A step of training of a small decoder, planned for a device with matrix units in use or not. */
export function stepOf(halfProducts: boolean, packed: boolean, windows: Windows = [null, 9]): Compiled {
  const config = { ...llamaShape(48, windows.length, [3, 1], 32, 40, true), windows };
  const settings = { ...DEFAULT_SETTINGS, method: "lora", rank: 2, alpha: 4, target: "all-linear" } as const;
  return planStep({
    ...{ subject: { config, classes: methodClasses(settings, config) }, optimiser: adamW({ clip: 1 }) },
    ...{ accumulate: 1, maxLength: 24, batch: { rows: 4, length: 24 }, packed },
    capabilities: deviceWith(halfProducts),
    weights: weightShapes(config),
  });
}

/** Numbers for all that such a step reads. */
export function numbersOf({ program, inputs }: Compiled): Float64Array[] {
  const random = noise(5);
  return program.inputs.map((id, k) => {
    const { shape, dtype } = program.nodes[id]!.aval, path = inputs[k]!;
    return Float64Array.from({ length: sizeOf(shape) }, (_, i) => {
      if (path === "batch.segments") return Math.floor(i % 24 / 10);
      if (path === "batch.positions") return i % 24 % 10;
      if (dtype === "i32") return 3 + i * 7 % 30;
      // Rates and second moments are not negative.
      return /^(optimiser|rates)/.test(path) ? 0.01 * Math.abs(random()) : 0.3 * random();
    });
  });
}
