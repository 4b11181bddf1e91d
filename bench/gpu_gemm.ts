/** Matrix products on a GPU, and how far they are from float64. @module */
import { aval } from "../core/ir/aval.ts";
import type { Gpu } from "../core/gpu/mod.ts";
import { matmulPlan } from "./matmul.ts";
import { steadySeconds } from "./steady.ts";

/** A product to measure: c[m, n] = a[m, k]·b, b [k, n] or, transposed, [n, k]. */
export interface GemmCase {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposed: boolean;
  /** Types of `a` and of `b`. */
  readonly left: "f32" | "f16";
  readonly right: "f32" | "f16";
}

/** One line of the result. */
export interface GemmResult extends GemmCase {
  readonly provider: string;
  readonly adapter_name: string;
  readonly ms: number;
  readonly tflops: number;
  /** Largest error of some elements against float64, relative to the largest element of them. */
  readonly error: number;
}

/** Squares, and the products of a 1B step: features by weights as they lie and transposed, and those of rank 16. */
export function gemmCases(): GemmCase[] {
  const squares = [1024, 2048, 4096].map((n) => [n, n, n] as const);
  const others = [
    [2048, 8192, 2048],
    [2048, 2048, 8192],
    [2048, 16, 2048],
    [16, 2048, 2048],
    [2048, 2048, 16],
  ] as const;
  const cases = (
    of: readonly (readonly [number, number, number])[],
    left: "f32" | "f16",
    right: "f32" | "f16",
  ) => of.flatMap(([m, n, k]) => [false, true].map((transposed) => ({ m, n, k, transposed, left, right })));
  return [
    ...cases([...squares, ...others], "f32", "f32"),
    ...cases(squares, "f16", "f16"),
    ...cases(others, "f32", "f16"),
  ];
}

/** `2048×16×2048 f32·f16ᵀ` */
export function productName({ m, n, k, left, right, transposed }: GemmCase): string {
  return `${m}×${n}×${k} ${left}·${right}${transposed ? "ᵀ" : ""}`;
}

const CHECKED = 64;

/** Measure one product. */
export async function measureGemm(gpu: Gpu, of: GemmCase): Promise<GemmResult> {
  const { m, n, k, transposed, left, right } = of;
  const plan = matmulPlan(m, n, k, transposed, left, right);
  const a = random(m * k, left), b = random(n * k, right);
  const inputs = [
    gpu.upload(a.data, aval([m, k], left)),
    gpu.upload(b.data, aval(transposed ? [n, k] : [k, n], right)),
  ];
  const seconds = await steadySeconds(gpu, plan, inputs), executable = await gpu.compile(plan);
  const c = await gpu.download(executable.run(inputs)[0]!);
  let worst = 0, largest = 0;
  for (let q = 0; q < CHECKED; q++) {
    // The corners of the matrix and places all over it.
    const i = q < 2 ? q * (m - 1) : (q * 7919 + 13) % m, j = q < 2 ? q * (n - 1) : (q * 104729 + 5) % n;
    let sum = 0;
    for (let r = 0; r < k; r++) sum += a.values[i * k + r]! * b.values[transposed ? j * k + r : r * n + j]!;
    worst = Math.max(worst, Math.abs(sum - c[i * n + j]!));
    largest = Math.max(largest, Math.abs(sum));
  }
  inputs.forEach((x) => gpu.free(x));
  executable.dispose();
  return {
    ...of,
    provider: gpu.capabilities.gpu!.provider,
    adapter_name: gpu.capabilities.adapterName,
    ms: Number((seconds * 1000).toPrecision(4)),
    tflops: Number((2 * m * n * k / seconds / 1e12).toPrecision(4)),
    error: Number((worst / largest).toPrecision(2)),
  };
}

function random(n: number, dtype: "f32" | "f16") {
  const values = Float32Array.from({ length: n }, () => Math.random() - 0.5);
  if (dtype === "f32") return { values, data: values };
  const halves = new Float16Array(values);
  return { values: halves, data: new Uint16Array(halves.buffer) };
}
