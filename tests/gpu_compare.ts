/** Kernels on a GPU beside the interpreter: what the tests of the GPU target share. @module */
import { assert, assertEquals } from "@std/assert";
import { openAdapter } from "../core/gpu/adapter.ts";
import type { Gpu } from "../core/gpu/mod.ts";
import { bytesOf, type DType } from "../core/ir/aval.ts";
import { interpret } from "../core/kernel/interpret.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import type { HostArray } from "../core/plan/device.ts";
import { ALIGNMENT, type Plan } from "../core/plan/plan.ts";
import { type Sample, slotsOf } from "./kernel_samples.ts";

/** A plan of one step; every slot is an input, written ones are outputs in place. */
export function planOf(kernel: Kernel, sizes: readonly number[]): Plan {
  const avals = kernel.slots.map(({ dtype }, i) => ({ shape: [sizes[i]!], dtype }));
  const places = avals.map((_, buffer) => ({ buffer, offset: 0 }));
  return {
    inputs: avals.map((aval, buffer) => ({ aval, buffer })),
    outputs: kernel.slots.flatMap((
      { access },
      i,
    ) => (access === "read" ? [] : [{ aval: avals[i]!, place: places[i]! }])),
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
  if (dtype === "bf16") {
    return new Float64Array(new Float32Array(Uint32Array.from(data, (bits) => bits << 16).buffer));
  }
  return new Float64Array(data);
}

/** Relative rounding of a type, with room for sums of some thousand terms. */
const tolerance: Record<DType, number> = { f32: 2e-5, f16: 1e-3, bf16: 8e-3, i32: 0, u32: 0, bool: 0 };

function requireClose(name: string, got: Float64Array, want: Float64Array, allowance: number): void {
  assertEquals(got.length, want.length);
  const largest = want.reduce((a, b) => (Number.isFinite(b) ? Math.max(a, Math.abs(b)) : a), 0);
  got.forEach((x, i) => {
    const y = want[i]!;
    const off = Math.abs(x - y), allowed = allowance * Math.max(0.1 * largest, Math.abs(y));
    assert(
      off <= allowed || Object.is(x, y) || x === y,
      `${name}[${i}] is ${x} on the GPU and ${y} by the interpreter.`,
    );
  });
}

/** A sample for a device that rounds operands. */
export interface Rounded {
  readonly sample: Sample;
  readonly tolerance: number;
}

/** Run a sample on a device, and compare every slot with the interpreter's. */
export async function requireSame(device: Gpu, { sample, tolerance: f32 }: Rounded): Promise<void> {
  const { kernel, sizes } = sample;
  const values = slotsOf(sample);
  const want = values.map((v) => v.slice());
  interpret(kernel, want);
  const executable = await device.compile(planOf(kernel, sizes));
  const arrays = values.map((v, i) => {
    const { dtype } = kernel.slots[i]!;
    return device.upload(toHost(v, dtype), { shape: [sizes[i]!], dtype });
  });
  executable.run(arrays);
  const got = await Promise.all(arrays.map((a) => device.download(a)));
  got.forEach((data, i) => {
    const { dtype } = kernel.slots[i]!;
    requireClose(
      `${sample.name} s${i}`,
      fromHost(data, dtype),
      want[i]!,
      dtype === "f32" ? f32 : tolerance[dtype],
    );
  });
  arrays.forEach((a) => device.free(a));
  executable.dispose();
}

export function exact(sample: Sample): Rounded {
  return { sample, tolerance: tolerance.f32 };
}

/** Numbers that f16 holds, so that only operands which are computed lose digits. */
export function halves(sample: Sample): Rounded {
  let state = 7;
  const short = (): number => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 25) / 64 - 1;
  const isExact = /contract_\d+x\d+x\d+/.test(sample.name);
  return {
    sample: {
      ...sample,
      fill: (slot, i) =>
        sample.fill?.(slot, i) ?? (sample.kernel.slots[slot]!.dtype === "f32" ? short() : undefined),
    },
    tolerance: isExact ? 2e-5 : 4e-3,
  };
}

/** Whether there is a hardware GPU here whose matrix units Dawn reaches. */
export async function hasMatrixUnits(): Promise<boolean> {
  const opened = await openAdapter({ software: false, provider: "auto", halfProducts: true });
  opened?.gpu.destroy();
  return opened?.capabilities.gpu?.matrix === true;
}
