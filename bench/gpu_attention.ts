/** Attention and its derivative on matrix units, in kernels of their own beside products and a softmax. @module */
import { type Gpu, type LaunchTime, profile } from "../core/gpu/mod.ts";
import { aval, compileTraced, gradients, input, sizeOf, type Tensor } from "../core/mod.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import { bytesTouched, productOperations } from "../core/kernel/work.ts";
import { attention, cast, iota, le, maskedAttention } from "../ops/mod.ts";

/** Sizes of one attention. */
export interface AttentionCase {
  readonly name: string;
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly t: number;
  readonly d: number;
}

/** Shapes of models at 4 × 512 tokens, and one long row. */
export const attentionCases: readonly AttentionCase[] = [
  { name: "1B", batch: 4, heads: 32, kvHeads: 8, t: 512, d: 64 },
  { name: "135M", batch: 4, heads: 9, kvHeads: 3, t: 512, d: 64 },
  { name: "7B", batch: 4, heads: 32, kvHeads: 32, t: 512, d: 128 },
  { name: "1B, long", batch: 1, heads: 32, kvHeads: 8, t: 4096, d: 64 },
];

/** One line of the result: a kernel, or all of a way together. */
export interface AttentionTime {
  readonly of: string;
  readonly way: "own" | "composed";
  readonly kernel: string;
  readonly ms: number;
  readonly tflops: number;
  readonly gb_s: number;
  /** Of a whole: largest difference from the composed way, relative to the largest number, for the output and dq, dk, dv. */
  readonly error?: readonly number[];
}

const WARM_MS = 300, MEASURED = 9;

/** Measure one case both ways; `gpu` must round products to f16. */
export async function measureAttention(gpu: Gpu, of: AttentionCase): Promise<AttentionTime[]> {
  const composed = await measure(gpu, of, "composed");
  const own = await measure(gpu, of, "own");
  const error = own.results.map((y, i) => difference(y, composed.results[i]!));
  const whole = own.times.findIndex((t) => t.kernel === WHOLE);
  return [...composed.times, ...own.times.map((t, i) => (i === whole ? { ...t, error } : t))];
}

const WHOLE = "all kernels";

async function measure(gpu: Gpu, of: AttentionCase, way: AttentionTime["way"]) {
  const { batch, heads, kvHeads, t, d } = of;
  const shapes = [[batch, heads, t, d], [batch, kvHeads, t, d], [batch, kvHeads, t, d], [batch, heads, t, d]];
  const xs = shapes.map((shape, i) => input(aval(shape, "f16"), `x${i}`));
  const [q, k, v, ct] = xs.map((x) => cast(x, "f32")) as [Tensor, Tensor, Tensor, Tensor];
  const y = way === "own"
    ? attention(q, k, v)
    : maskedAttention(q, k, v, le(iota([t, t], 1), iota([t, t], 0)));
  const ys = [y, ...gradients([y], [ct], [q, k, v])].map((z) => cast(z, "f16"));
  const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
  const { plan } = compileTraced({ inputs: ends(xs), outputs: ends(ys) }, {
    maxSlots: gpu.capabilities.maxSlots,
    halfProducts: true,
    overlap: true,
  });
  const executable = await gpu.compile(plan);
  const inputs = xs.map((x, n) =>
    gpu.upload(
      new Uint16Array(
        Float16Array.from({ length: sizeOf(x.shape) }, (_, i) => ((i * 7919 + n * 31) % 2048) / 1024 - 1)
          .buffer,
      ),
      x.aval,
    )
  );
  const once = async () => {
    for (let i = 0; i < 5; i++) executable.run(inputs);
    return await profile(executable, inputs);
  };
  const begin = performance.now();
  while (performance.now() - begin < WARM_MS) await once();
  const runs: LaunchTime[][] = [];
  for (let i = 0; i < MEASURED; i++) runs.push(await once());
  const results = await Promise.all(
    executable.run(inputs).map(async (z) => new Float16Array((await gpu.download(z)).buffer as ArrayBuffer)),
  );
  const seconds = runs[0]!.map((_, launch) => median(runs.map((r) => r[launch]!.seconds)));
  const kernelsOf = (steps: readonly number[]): Kernel[] =>
    steps.map((i) => plan.kernels[plan.steps[i]!.kernel]!);
  inputs.forEach((x) => gpu.free(x));
  executable.dispose();
  const line = (kernel: string, s: number, parts: readonly Kernel[]): AttentionTime => ({
    of: of.name,
    way,
    kernel,
    ms: Number((s * 1000).toPrecision(4)),
    tflops: Number((parts.reduce((n, p) => n + productOperations(p.body), 0) / s / 1e12).toPrecision(4)),
    gb_s: Number((parts.reduce((n, p) => n + bytesTouched(p), 0) / s / 1e9).toPrecision(4)),
  });
  return {
    results,
    times: [
      ...runs[0]!.map(({ kernel, steps }, i) => line(kernel, seconds[i]!, kernelsOf(steps))),
      line(WHOLE, seconds.reduce((a, b) => a + b, 0), kernelsOf(plan.steps.map((_, i) => i))),
    ],
  };
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

function difference(x: Float16Array, y: Float16Array): number {
  let worst = 0, largest = 0;
  for (let i = 0; i < y.length; i++) {
    // Written so that NaN counts.
    const off = Math.abs(x[i]! - y[i]!);
    worst = off <= worst ? worst : off;
    largest = Math.max(largest, Math.abs(y[i]!));
  }
  return Number((worst / largest).toPrecision(2));
}
