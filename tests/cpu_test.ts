/** The CPU target against the kernel interpreter, and what a device promises. @module */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { type Aval, aval, type DType } from "../core/ir/aval.ts";
import { interpret } from "../core/kernel/interpret.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import type { Device, HostArray } from "../core/plan/device.ts";
import type { Plan } from "../core/plan/plan.ts";
import { sampleNamed, samples, slotsOf } from "./kernel_samples.ts";

/** A plan of one kernel whose slots are all inputs, and outputs where they are written. */
function planOf(kernel: Kernel, avals: readonly Aval[]): Plan {
  const written = kernel.slots.flatMap(({ access }, i) => (access === "read" ? [] : [i]));
  return {
    inputs: avals.map((a, buffer) => ({ aval: a, buffer })),
    outputs: written.map((buffer) => ({ aval: avals[buffer]!, place: { buffer, offset: 0 } })),
    buffers: avals.map(({ shape, dtype }) => ({
      bytes: shape[0]! * (dtype === "f16" || dtype === "bf16" ? 2 : 4),
      role: "input",
    })),
    kernels: [kernel],
    steps: [{ kernel: 0, slots: avals.map((_, buffer) => ({ buffer, offset: 0 })) }],
  };
}

/** Numbers as they lie in memory. */
function encode(numbers: Float64Array, dtype: DType): HostArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(numbers);
    case "i32":
      return new Int32Array(numbers);
    case "u32":
    case "bool":
      return new Uint32Array(numbers);
    case "f16":
      return new Uint16Array(new Float16Array(numbers).buffer);
    case "bf16":
      return Uint16Array.from(new Uint32Array(new Float32Array(numbers).buffer), (bits) => bits >>> 16);
  }
}

function decode(data: HostArray, dtype: DType): Float64Array {
  if (dtype === "f16") return new Float64Array(new Float16Array(new Uint16Array(data).buffer));
  if (dtype === "bf16") {
    return new Float64Array(new Float32Array(Uint32Array.from(data, (bits) => bits << 16).buffer));
  }
  return new Float64Array(data);
}

/** Run a kernel on slots; returns what the written ones hold then. */
async function runKernel(device: Device, kernel: Kernel, slots: readonly Float64Array[]): Promise<Float64Array[]> {
  const avals = kernel.slots.map(({ dtype }, i) => aval([slots[i]!.length], dtype));
  const executable = await device.compile(planOf(kernel, avals));
  const inputs = slots.map((s, i) => device.upload(encode(s, avals[i]!.dtype), avals[i]!));
  const outputs = executable.run(inputs);
  const results = await Promise.all(outputs.map(async (o) => decode(await device.download(o), o.aval.dtype)));
  inputs.forEach((i) => device.free(i));
  executable.dispose();
  return results;
}

/** Spacing of numbers of a type, relative to their size. */
const PRECISION: Readonly<Record<DType, number>> = { f32: 4e-6, f16: 2e-3, bf16: 1.6e-2, i32: 0, u32: 0, bool: 0 };

function check(kernel: Kernel, slots: readonly Float64Array[], results: readonly Float64Array[]): void {
  const expected = slots.map((s) => s.slice());
  interpret(kernel, expected);
  const written = kernel.slots.flatMap((slot, i) => (slot.access === "read" ? [] : [{ ...slot, i }]));
  written.forEach(({ dtype, i }, o) => {
    const want = encode(expected[i]!, dtype), wanted = decode(want, dtype);
    const scale = Math.max(...wanted.filter(Number.isFinite).map(Math.abs), 1e-30);
    wanted.forEach((w, at) => {
      const got = results[o]![at]!;
      const isSame = Object.is(got, w) || got === w;
      const isNear = Math.abs(got - w) <= PRECISION[dtype] * (0.2 * scale + Math.abs(w));
      assert(isSame || isNear, `slot ${i}[${at}] is ${got}, expected ${w}`);
    });
  });
}

for (const threads of [1, 2]) {
  Deno.test(`every sample on ${threads} thread(s) means what the interpreter says`, async (t) => {
    const device = await openCpu({ threads });
    for (const sample of samples) {
      await t.step(sample.name, async () => {
        const slots = slotsOf(sample);
        check(sample.kernel, slots, await runKernel(device, sample.kernel, slots));
      });
    }
    assert(device.memory().peakBytes > device.memory().bytes, "arrays were freed");
    await device.close();
  });
}
