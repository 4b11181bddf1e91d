/** Kernels that memory bounds, against the speed of a copy on the same device. @module */
import { butterflyStages } from "../adapters/mod.ts";
import type { Gpu } from "../core/gpu/mod.ts";
import { aval, bytesOf, compileTraced, input, sizeOf, type Tensor } from "../core/mod.ts";
import {
  add,
  cast,
  crossEntropySum,
  gather,
  mul,
  rmsNorm,
  silu,
  softmax,
  stages,
  stagesGrad,
} from "../ops/mod.ts";
import { steadySeconds } from "./steady.ts";

/** One line of the result. */
export interface KernelResult {
  readonly kernel: string;
  readonly provider: string;
  readonly adapter_name: string;
  readonly ms: number;
  /** 10⁹ bytes a second of what is given and what is asked for. */
  readonly gb_s: number;
  /** Share of the copy's speed. */
  readonly of_copy: number;
}

/** A graph from inputs of these shapes, f32 but for those whose numbers are listed. */
interface Case {
  readonly name: string;
  readonly shapes: readonly (readonly number[])[];
  readonly f: (xs: readonly Tensor[]) => readonly Tensor[];
  readonly integers?: readonly number[];
  readonly halves?: readonly number[];
}

const rotation = butterflyStages(8, 2), width = 8192, coefficients = 2 * width * 8;

const cases: readonly Case[] = [
  { name: "copy [2048, 8192]", shapes: [[2048, width]], f: ([x]) => [add(x!, 1)] },
  { name: "RMSNorm [2048, 2048]", shapes: [[2048, 2048], [2048]], f: ([x, w]) => [rmsNorm(x!, w!, 1e-5)] },
  { name: "softmax [65536, 512]", shapes: [[65536, 512]], f: ([x]) => [softmax(x!)] },
  {
    name: "silu·up [2048, 8192]",
    shapes: [[2048, width], [2048, width]],
    f: ([g, u]) => [mul(silu(g!), u!)],
  },
  {
    name: "butterfly b 8, m 2 [2048, 8192]",
    shapes: [[2048, width], [coefficients]],
    f: ([x, c]) => [stages(x!, c!, { stages: rotation })],
  },
  {
    name: "butterfly coefficients' cotangent",
    shapes: [[2048, width], [coefficients], [2048, width]],
    f: ([x, c, ct]) => [stagesGrad(x!, c!, ct!, { stages: rotation })],
  },
  {
    name: "butterfly of f16 [2048, 8192]",
    shapes: [[2048, width], [coefficients]],
    halves: [0],
    f: ([x, c]) => [stages(cast(x!, "f32"), c!, { stages: rotation })],
  },
  {
    name: "butterfly b 8, m 2 [2048, 2048]",
    shapes: [[2048, 2048], [coefficients / 4]],
    f: ([x, c]) => [stages(x!, c!, { stages: rotation })],
  },
  {
    name: "cross-entropy [256, 128256]",
    shapes: [[256, 128256], [256]],
    integers: [1],
    f: ([x, labels]) => [crossEntropySum(x!, labels!).sum],
  },
  {
    name: "gather [2048] of [32000, 2048]",
    shapes: [[32000, 2048], [2048]],
    integers: [1],
    f: ([x, ids]) => [gather(x!, ids!)],
  },
];

/** Measure the copy and those with `only` in their names. */
export async function* measureKernels(gpu: Gpu, only = ""): AsyncGenerator<KernelResult> {
  const chosen = cases.filter(({ name }, i) => i === 0 || name.includes(only));
  if (chosen.length === 1) {
    throw new Error(
      `--only is "${only}", which none of ${cases.map((c) => c.name).join("; ")} has in its name.`,
    );
  }
  let copy = 0;
  for (const { name, shapes, f, integers = [], halves = [] } of chosen) {
    const dtypeOf = (i: number) => integers.includes(i) ? "i32" : halves.includes(i) ? "f16" : "f32";
    const xs = shapes.map((shape, i) => input(aval(shape, dtypeOf(i)), `x${i}`));
    const ys = f(xs);
    const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
    const { plan } = compileTraced(
      { inputs: ends(xs), outputs: ends(ys) },
      { maxSlots: gpu.capabilities.maxSlots },
    );
    const inputs = xs.map((x) => {
      const length = sizeOf(x.shape), at = (i: number): number => ((i * 7919) % 2048) / 2048 - 0.5;
      if (x.dtype === "i32") {
        return gpu.upload(Int32Array.from({ length }, (_, i) => (i * 7919) % 32000), x.aval);
      }
      const data = x.dtype === "f16"
        ? new Uint16Array(Float16Array.from({ length }, (_, i) => at(i)).buffer)
        : Float32Array.from({ length }, (_, i) => at(i));
      return gpu.upload(data, x.aval);
    });
    const seconds = await steadySeconds(gpu, plan, inputs);
    // Of a gather only the rows that it takes are read.
    const touched = name.startsWith("gather") ? [xs[1]!, ys[0]!, ys[0]!] : [...xs, ...ys];
    const bytes = touched.reduce((n, { shape, dtype }) => n + sizeOf(shape) * bytesOf(dtype), 0);
    const rate = bytes / seconds / 1e9;
    if (copy === 0) copy = rate;
    yield {
      kernel: name,
      provider: gpu.capabilities.gpu!.provider,
      adapter_name: gpu.capabilities.adapterName,
      ms: Number((seconds * 1000).toPrecision(4)),
      gb_s: Number(rate.toPrecision(4)),
      of_copy: Number((rate / copy).toPrecision(3)),
    };
    inputs.forEach((x) => gpu.free(x));
  }
}
