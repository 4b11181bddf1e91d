/** The CPU target against the kernel interpreter, and what a device promises. @module */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { CpuMemoryError, openCpu } from "../core/cpu/mod.ts";
import { type Aval, aval, type DType } from "../core/ir/aval.ts";
import { call } from "../core/ir/expr.ts";
import { interpret } from "../core/kernel/interpret.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import type { Device, HostArray } from "../core/plan/device.ts";
import type { Plan } from "../core/plan/plan.ts";
import { sampleNamed, samples, slotsOf } from "./kernel_samples.ts";
import { acc, at, load, loop, row, type Sample, sample, slots, store } from "./samples/build.ts";

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
async function runKernel(
  device: Device,
  kernel: Kernel,
  filled: readonly Float64Array[],
): Promise<Float64Array[]> {
  const avals = kernel.slots.map(({ dtype }, i) => aval([filled[i]!.length], dtype));
  const executable = await device.compile(planOf(kernel, avals));
  const inputs = filled.map((s, i) => device.upload(encode(s, avals[i]!.dtype), avals[i]!));
  const outputs = executable.run(inputs);
  const results = await Promise.all(outputs.map(async (o) => decode(await device.download(o), o.aval.dtype)));
  inputs.forEach((i) => device.free(i));
  executable.dispose();
  return results;
}

/** Spacing of numbers of a type, relative to their size. */
const PRECISION: Readonly<Record<DType, number>> = {
  f32: 4e-6,
  f16: 2e-3,
  bf16: 1.6e-2,
  i32: 0,
  u32: 0,
  bool: 0,
};

function check(kernel: Kernel, filled: readonly Float64Array[], results: readonly Float64Array[]): void {
  const expected = filled.map((s) => s.slice());
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
    for (const tried of samples) {
      await t.step(tried.name, async () => {
        const filled = slotsOf(tried);
        check(tried.kernel, filled, await runKernel(device, tried.kernel, filled));
      });
    }
    assert(device.memory().peakBytes > device.memory().bytes, "arrays were freed");
    await device.close();
  });
}

/** A product of two terms with a factor on the way in, either operand lying either way. */
function product(
  m: number,
  n: number,
  k: number,
  k2: number,
  leftFlipped: boolean,
  rightFlipped: boolean,
): Sample {
  const i = loop("i", m), j = loop("j", n), r = loop("r", k), q = loop("q", k2);
  const left = leftFlipped ? at([r, m], [i, 1]) : at([i, k], [r, 1]);
  const right = rightFlipped ? at([r, n], [j, 1]) : at([j, k], [r, 1]);
  const declared = slots("f32", "bf16", "f32", "f16", "write f32");
  return sample("product", declared, [m * k, n * k, m * k2, n * k2, m * n], {
    form: "contract",
    batch: [],
    row: [i],
    col: [j],
    terms: [
      { inner: [r], left: load(0, left), right: load(1, right) },
      { inner: [q], left: load(2, at([i, k2], [q, 1])), right: load(3, at([j, k2], [q, 1])) },
    ],
    stores: [store(4, at([i, n], [j, 1]), acc())],
  });
}

/** Sums along rows or down columns, each element then multiplied by its sum. */
function reduction(m: number, n: number, flipped: boolean): Sample {
  const i = loop("i", m), j = loop("j", n);
  const here = flipped ? at([j, m], [i, 1]) : at([i, n], [j, 1]);
  const x = load(0, here);
  return sample(
    "reduction",
    slots("f32", "write f32", "write f32"),
    [m * n, m, m * n],
    row({
      outer: [i],
      reduces: [{ id: 0, inner: [j], combine: "add", value: x }],
      rowStores: [store(1, at([i, 1]), acc())],
      inner: [j],
      stores: [store(2, here, call("mul", x, acc()))],
    }),
  );
}

Deno.test("sizes that do not fit tiles, lanes or blocks", async () => {
  const device = await openCpu({ threads: 2 });
  const small = fc.integer({ min: 1, max: 40 }), long = fc.integer({ min: 1, max: 700 });
  const products = fc.tuple(small, small, long, small, fc.boolean(), fc.boolean()).map((p) => product(...p));
  const reductions = fc.tuple(small, long, fc.boolean()).map((r) => reduction(...r));
  await fc.assert(
    fc.asyncProperty(fc.oneof(products, reductions), async (tried) => {
      const filled = slotsOf(tried);
      check(tried.kernel, filled, await runKernel(device, tried.kernel, filled));
    }),
    { numRuns: 60 },
  );
  await device.close();
});

Deno.test("results are the same bits on any number of threads, run after run", async () => {
  const tried = [product(300, 333, 500, 16, false, false), reduction(700, 1000, true)];
  const [one, three] = await Promise.all([openCpu({ threads: 1 }), openCpu({ threads: 3 })]);
  for (const { kernel, sizes } of tried) {
    const filled = kernel.slots.map(({ dtype }, s) =>
      Float64Array.from(
        { length: sizes[s]! },
        (_, i) => dtype === "f32" ? Math.fround(Math.sin(i)) : (i % 9) / 8,
      )
    );
    const expected = await runKernel(one, kernel, filled);
    for (let run = 0; run < 3; run++) assertEquals(await runKernel(three, kernel, filled), expected);
  }
  await Promise.all([one.close(), three.close()]);
});

Deno.test("elementary functions are accurate to a few roundings, and right at the extremes", async () => {
  const device = await openCpu({ threads: 1 });
  const fns = {
    exp: [Math.exp, [-Infinity, -1e30, -104, -88, -87.3, -1, -1e-8, 0, 0.3, 1, 88.7, 89, 1e30, Infinity]],
    log: [Math.log, [0, 1e-45, 1e-39, 1e-30, 0.5, 0.999, 1, 1.001, 2, 1e10, 3e38, Infinity, -1, NaN]],
    tanh: [Math.tanh, [-Infinity, -50, -1, -0.55, -0.3, -1e-6, -0, 1e-6, 0.54, 0.56, 3, 9, 100, NaN]],
    sin: [Math.sin, [-1e5, -100, -3.2, -0.5, 0, 1e-5, 1, 1.5, 3.14159, 6.2, 50, 1e4, 1e6, NaN]],
    cos: [Math.cos, [-1e5, -100, -3.2, -0.5, 0, 1e-5, 1, 1.5, 3.14159, 6.2, 50, 1e4, 1e6, NaN]],
  } as const;
  for (const [fn, [exact, points]] of Object.entries(fns)) {
    const sweep = Array.from({ length: 2000 }, (_, i) => (fn === "log" ? 0.01 : -10) + i / 97);
    const x = Float64Array.from([...points, ...sweep], Math.fround);
    const i = loop("i", x.length);
    const value = call(fn as keyof typeof fns, load(0, at([i, 1])));
    const kernel: Kernel = {
      name: fn,
      slots: slots("f32", "write f32"),
      body: row({ inner: [i], stores: [store(1, at([i, 1]), value)] }),
    };
    const [y] = await runKernel(device, kernel, [x, x]);
    x.forEach((at, j) => {
      const want = Math.fround(exact(at)), got = y![j]!;
      // Zeros of sine and cosine: as near as neighbouring numbers are at 1.
      const room = 4e-7 * Math.max(Math.abs(want), fn === "sin" || fn === "cos" ? 0.3 : 1e-38);
      assert(
        Object.is(got, want) || Math.abs(got - want) <= room,
        `${fn}(${at}) is ${got}, expected ${want}`,
      );
    });
  }
  await device.close();
});

Deno.test("arrays keep their bits on the way up and down, and are counted", async () => {
  const device = await openCpu({ threads: 1 });
  const before = device.memory().bytes;
  const cases: [HostArray, DType][] = [
    [new Float32Array([1, -0, Infinity, 1e-40]), "f32"],
    [new Uint16Array([0x3c00, 0x8001, 0x7c00, 0xffff]), "f16"],
    [new Int32Array([-5, 2 ** 31 - 1, 0, 1]), "i32"],
    [new Uint32Array([1, 0, 0, 1]), "bool"],
  ];
  for (const [data, dtype] of cases) {
    const array = device.upload(data, aval([2, 2], dtype));
    assertEquals(await device.download(array), data);
    device.write(array, data.slice().reverse());
    assertEquals(await device.download(array), data.slice().reverse());
    assert(device.memory().bytes >= before + data.byteLength);
    device.free(array);
    assertThrows(() => device.free(array), Error, "was freed");
  }
  assertEquals(device.memory().bytes, before);
  assertThrows(
    () => device.upload(new Float32Array(3), aval([2, 2])),
    Error,
    "f32[2,2] is 4 numbers of 4 bytes",
  );
  await device.close();
});

Deno.test("memory that is not there is refused with what was asked, used and allowed", async () => {
  const device = await openCpu({ threads: 1, maxBytes: 2 ** 20 });
  const half = device.upload(new Float32Array(2 ** 17), aval([2 ** 17]));
  const refused = assertThrows(
    () => device.upload(new Float32Array(2 ** 17), aval([2 ** 17])),
    CpuMemoryError,
  );
  assertStringIncludes(String(refused), "asked for 524288 bytes, 524544 are in use and the limit is 983040");
  device.free(half);
  device.upload(new Float32Array(2 ** 17), aval([2 ** 17]));
  await device.close();
});

Deno.test("a plan is given what it takes, by the device that runs it", async () => {
  const [device, other] = await Promise.all([openCpu({ threads: 1 }), openCpu({ threads: 1 })]);
  const { kernel, sizes } = sampleNamed("map_tall");
  const executable = await device.compile(
    planOf(kernel, kernel.slots.map((s, i) => aval([sizes[i]!], s.dtype))),
  );
  const inputs = kernel.slots.map((s, i) =>
    device.upload(encode(new Float64Array(sizes[i]!), s.dtype), aval([sizes[i]!], s.dtype))
  );
  assertThrows(() => executable.run(inputs.slice(1)), Error, `takes ${inputs.length} inputs`);
  const foreign = other.upload(encode(new Float64Array(sizes[0]!), kernel.slots[0]!.dtype), inputs[0]!.aval);
  assertThrows(() => executable.run([foreign, ...inputs.slice(1)]), Error, "belongs to another device");
  const short = device.upload(new Float32Array(1), aval([1]));
  assertThrows(() => executable.run([short, ...inputs.slice(1)]), Error, "Input 0 of the plan is");
  await assertRejects(() => openCpu({ threads: 0 }), RangeError, "at least 1; got 0");
  executable.dispose();
  assertThrows(() => executable.run(inputs), Error, "disposed of");
  await Promise.all([device.close(), other.close()]);
});
