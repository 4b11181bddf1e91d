/** The GPU target against the kernel interpreter, on any adapter, lavapipe included. @module */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { openGpu } from "../core/gpu/mod.ts";
import type { DType } from "../core/ir/aval.ts";
import { bytesOf } from "../core/ir/aval.ts";
import { interpret } from "../core/kernel/interpret.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import { wgsl } from "../core/kernel/wgsl.ts";
import type { HostArray } from "../core/plan/device.ts";
import { ALIGNMENT, type Plan } from "../core/plan/plan.ts";
import { sampleNamed, samples, slotsOf } from "./kernel_samples.ts";

const gpu = await openGpu({ software: true });
if (!gpu && Deno.env.get("GYRE_REQUIRE_GPU") === "1") throw new Error("GYRE_REQUIRE_GPU is 1 and there is no WebGPU adapter.");
console.log(gpu ? `GPU tests run on ${gpu.capabilities.adapterName}` : "GPU tests are skipped: there is no WebGPU adapter.");
const options = { ignore: gpu === null, sanitizeResources: false, sanitizeOps: false };

/** A plan of one step; every slot is an input, written ones are outputs in place. */
function planOf(kernel: Kernel, sizes: readonly number[]): Plan {
  const avals = kernel.slots.map(({ dtype }, i) => ({ shape: [sizes[i]!], dtype }));
  const places = avals.map((_, buffer) => ({ buffer, offset: 0 }));
  return {
    inputs: avals.map((aval, buffer) => ({ aval, buffer })),
    outputs: kernel.slots.flatMap(({ access }, i) => (access === "read" ? [] : [{ aval: avals[i]!, place: places[i]! }])),
    buffers: avals.map(({ shape, dtype }) => ({
      bytes: Math.ceil(Math.max(1, shape[0]! * bytesOf(dtype)) / ALIGNMENT) * ALIGNMENT,
      role: "input" as const,
    })),
    kernels: [kernel],
    steps: [{ kernel: 0, slots: places }],
  };
}

function toHost(values: Float64Array, dtype: DType): HostArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(values);
    case "f16":
      return new Uint16Array(new Float16Array(values).buffer);
    case "bf16":
      return new Uint16Array(new Uint32Array(new Float32Array(values).buffer).map((bits) => bits >>> 16));
    case "i32":
      return new Int32Array(values);
    case "u32":
    case "bool":
      return Uint32Array.from(values, (v) => v >>> 0);
  }
}

function fromHost(data: HostArray, dtype: DType): Float64Array {
  if (dtype === "f16") return new Float64Array(new Float16Array(data.buffer as ArrayBuffer, 0, data.length));
  if (dtype === "bf16") return new Float64Array(new Float32Array(Uint32Array.from(data, (bits) => bits << 16).buffer));
  return new Float64Array(data);
}

/** Relative rounding of a type, with room for sums of some thousand terms. */
const tolerance: Record<DType, number> = { f32: 2e-5, f16: 1e-3, bf16: 8e-3, i32: 0, u32: 0, bool: 0 };

function requireClose(name: string, got: Float64Array, want: Float64Array, dtype: DType): void {
  assertEquals(got.length, want.length);
  const largest = want.reduce((a, b) => (Number.isFinite(b) ? Math.max(a, Math.abs(b)) : a), 0);
  got.forEach((x, i) => {
    const y = want[i]!;
    const off = Math.abs(x - y), allowed = tolerance[dtype] * Math.max(0.1 * largest, Math.abs(y));
    assert(off <= allowed || Object.is(x, y) || x === y, `${name}[${i}] is ${x} on the GPU and ${y} by the interpreter.`);
  });
}

for (const sample of samples) {
  Deno.test({
    name: `gpu: ${sample.name}`,
    ...options,
    fn: async () => {
      const { kernel, sizes } = sample;
      const values = slotsOf(sample);
      const want = values.map((v) => v.slice());
      interpret(kernel, want);
      const executable = await gpu!.compile(planOf(kernel, sizes));
      const arrays = values.map((v, i) => {
        const { dtype } = kernel.slots[i]!;
        return gpu!.upload(toHost(v, dtype), { shape: [sizes[i]!], dtype });
      });
      executable.run(arrays);
      const got = await Promise.all(arrays.map((a) => gpu!.download(a)));
      got.forEach((data, i) => {
        const { dtype } = kernel.slots[i]!;
        requireClose(`${sample.name} s${i}`, fromHost(data, dtype), want[i]!, dtype);
      });
      arrays.forEach((a) => gpu!.free(a));
      executable.dispose();
    },
  });
}
