/** Attention at odd sizes, and all ways to hide keys: rows of data for the interpreter and the devices. @module */
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
  row("all in a window of segments, capped", { heads: 2, kvHeads: 2, t: 67, d: 16 }, {
    window: 40,
    segment: (i) => Math.floor(i / 30),
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
