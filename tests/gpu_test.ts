/** The GPU target against the kernel interpreter, on any adapter, lavapipe included. @module */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { openAdapter, type Opened } from "../core/gpu/adapter.ts";
import { Gpu, isSoftware, openGpu, profile } from "../core/gpu/mod.ts";
import { aval } from "../core/ir/aval.ts";
import { call, constant, type Expr, indexValue } from "../core/ir/expr.ts";
import { ixVar } from "../core/ir/ix.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import { DAWN_SUBGROUP, defaultLimits, wgsl, type WgslLimits } from "../core/kernel/wgsl.ts";
import type { Subgroup } from "../core/kernel/wgsl_memory.ts";
import { exact, planOf, requireSame } from "./gpu_compare.ts";
import { type Sample, sampleNamed, samples } from "./kernel_samples.ts";

const gpu = await openGpu({ software: true });
if (!gpu && Deno.env.get("GYRE_REQUIRE_GPU") === "1") {
  throw new Error("GYRE_REQUIRE_GPU is 1 and there is no WebGPU adapter.");
}
console.log(
  gpu
    ? `GPU tests run on ${gpu.capabilities.adapterName}`
    : "GPU tests are skipped: there is no WebGPU adapter.",
);
const options = { ignore: gpu === null, sanitizeResources: false, sanitizeOps: false };

for (const sample of samples) {
  Deno.test({ name: `gpu: ${sample.name}`, ...options, fn: () => requireSame(gpu!, exact(sample)) });
}

for (const n of [65536, 65540, 2051]) {
  const sample: Sample = { name: `line of ${n}`, kernel: line(n), sizes: [n, n] };
  Deno.test({ name: `gpu: ${sample.name}`, ...options, fn: () => requireSame(gpu!, exact(sample)) });
}

/** The device's own subgroups, which are not used unasked where it computes on the processor; null where there are none. */
function subgroupOf({ gpu, capabilities }: Opened): Subgroup | null {
  const { subgroupMinSize: size, subgroupMaxSize } = gpu.adapterInfo;
  return capabilities.gpu!.subgroups && size === subgroupMaxSize ? { size, directives: [] } : null;
}

/** Stages of groups of 4 to 32 features, with several numbers of rows. */
const smallGroups = [
  ...["stages_b4_m1_1x12", "stages_b4_m2_70x8", "stages_b8_m2_300x96", "stages_b8_m2_130x32_transposed"],
  ...["stages_b16_m2_21x64", "stages_b16_m2_37x32_transposed", "stages_view", "stages_view_transposed"],
  ...["stages_b8_m2_bf16_4x48", "stages_b8_m2_f16_4x48_transposed", "stages_b8_m3_3x96"],
  ...["stages_grad_b8_m2_300x48", "stages_grad_b8_m2_130x64", "stages_grad_b16_m2_77x64"],
  ...["stages_grad_b4_m1_6x12", "stages_grad_b4_m2_33x24", "stages_grad_b8_m1_1x8", "stages_grad_view"],
];

/** Other devices than the one at hand, as far as the printer can tell. */
const others: readonly {
  readonly name: string;
  readonly limits: WgslLimits;
  readonly samples: readonly string[];
}[] = [
  {
    name: "least limits",
    limits: defaultLimits,
    samples: [
      "map_f16",
      "map_store_f16_16",
      "map_store_f16_33",
      "map_long",
      "contract_130x70x8_plain_plain",
      "contract_f16_result",
      "contract_f16_9x7x13",
      "solve_2x32x32",
    ],
  },
  {
    name: "largest tiles",
    limits: { ...defaultLimits, maxWorkgroupBytes: 32768, maxInvocations: 1024, busyWorkgroups: 1e-3 },
    samples: [
      "contract_130x70x8_plain_plain",
      "contract_low_rank",
      "contract_scores",
      "map_store_f16_16",
      "map_store_bf16_16",
      "map_tall",
    ],
  },
  {
    name: "largest tiles where indices are not checked",
    limits: { ...defaultLimits, checked: false, busyWorkgroups: 1e-3 },
    samples: [
      "contract_130x70x8_plain_plain",
      "contract_64x64x64_transposed_transposed",
      "contract_70x8x130_plain_transposed",
      "contract_low_rank",
    ],
  },
  {
    name: "largest tiles, little memory",
    limits: { ...defaultLimits, busyWorkgroups: 1e-3 },
    samples: [
      "contract_130x70x8_plain_plain",
      "contract_64x64x64_transposed_transposed",
      "contract_70x8x130_plain_transposed",
    ],
  },
  {
    name: "tiles that many groups share",
    limits: { ...defaultLimits, maxWorkgroupBytes: 32768, maxInvocations: 1024 },
    samples: [
      "contract_40x16x530_plain_plain",
      "contract_3x3x2000_plain_plain",
      "contract_148x140x50_transposed_plain",
      "contract_64x64x64_transposed_transposed",
      "contract_150x140x72_plain_transposed",
      "contract_33x17x65_transposed_plain",
      "contract_low_rank",
      "contract_batched",
    ],
  },
  { name: "no subgroups", limits: { ...defaultLimits, busyWorkgroups: 2 }, samples: smallGroups },
  {
    name: "many rows for each invocation",
    limits: { ...defaultLimits, busyWorkgroups: 1e-3, subgroup: DAWN_SUBGROUP },
    samples: smallGroups,
  },
];

for (const { name, limits, samples } of others) {
  Deno.test({
    name: `gpu: ${name}`,
    ...options,
    fn: async () => {
      const opened = (await openAdapter({ software: true, provider: "deno", halfProducts: false }))!;
      const own = subgroupOf(opened);
      assert(!limits.subgroup || own || !opened.isSoftware, "lavapipe has subgroups, of one size");
      const device = new Gpu({ ...opened, limits: { ...limits, subgroup: limits.subgroup && own } });
      for (const sample of samples) await requireSame(device, exact(sampleNamed(sample)));
      await device.close();
    },
  });
}

/** Golden texts: a change of the printer shows here. Rewrite them with GYRE_UPDATE_GOLDEN=1. */
for (
  const name of [
    "map_padded_gather",
    "row_softmax_3x128",
    "contract_low_rank",
    "stages_b4_m2_3x24",
    "stages_radix_7_5_2x70",
    "solve_3x8x8",
  ]
) {
  Deno.test(`wgsl: golden ${name}`, async () => {
    const path = new URL(`golden/${name}.wgsl`, import.meta.url);
    const { code } = wgsl(sampleNamed(name).kernel);
    if (Deno.env.get("GYRE_UPDATE_GOLDEN") === "1") {
      await Deno.mkdir(new URL("golden/", import.meta.url), { recursive: true });
      await Deno.writeTextFile(path, code);
    }
    assertEquals(code, await Deno.readTextFile(path));
  });
}

/** Element `name` of a slot. */
function read(slot: number, name: string, extent: number): Expr {
  return { kind: "load", type: "f32", slot, ix: ixVar({ name, extent }), valid: [] };
}

/** `slot 1 = 2 · slot 0 + 1`, over n elements. */
function line(n: number): Kernel {
  const value = call("add", call("mul", read(0, "i", n), constant(2)), constant(1));
  return {
    name: "line",
    slots: [{ dtype: "f32", access: "read" }, { dtype: "f32", access: "write" }],
    body: {
      form: "row",
      outer: [],
      reduces: [],
      rowStores: [],
      inner: [{ name: "i", extent: n }],
      stores: [{ slot: 1, ix: ixVar({ name: "i", extent: n }), value }],
    },
  };
}

Deno.test({
  name: "gpu: steps see each other's results, also within one buffer, and outputs are stable",
  ...options,
  fn: async () => {
    const at = aval([50]);
    const before = gpu!.memory().bytes;
    const executable = await gpu!.compile({
      inputs: [{ aval: at, buffer: 0 }],
      outputs: [{ aval: at, place: { buffer: 1, offset: 256 } }, {
        aval: at,
        place: { buffer: 0, offset: 0 },
      }],
      buffers: [{ bytes: 256, role: "input" }, { bytes: 512, role: "zeroed" }],
      kernels: [line(50)],
      steps: [
        { kernel: 0, slots: [{ buffer: 0, offset: 0 }, { buffer: 1, offset: 0 }] },
        // Reads one half of a buffer and writes the other.
        { kernel: 0, slots: [{ buffer: 1, offset: 0 }, { buffer: 1, offset: 256 }] },
        { kernel: 0, slots: [{ buffer: 1, offset: 256 }, { buffer: 0, offset: 0 }] },
      ],
    });
    const x = gpu!.upload(Float32Array.from({ length: 50 }, (_, i) => i), at);
    const first = executable.run([x]);
    assert(first[1] === x, "an output updated in place is its input");
    const [y, z] = await Promise.all(first.map((a) => gpu!.download(a)));
    assertEquals([y![7], z![7]], [4 * 7 + 3, 8 * 7 + 7]);
    const second = executable.run([x]);
    assert(first[0] === second[0], "outputs are stable");
    assertEquals((await gpu!.download(second[0]!))[7], 4 * (8 * 7 + 7) + 3);
    gpu!.write(x, new Float32Array(50).fill(2));
    assertEquals((await gpu!.download(executable.run([x])[0]!))[49], 11);
    assertEquals(gpu!.memory().bytes - before, 256 + 512);
    executable.dispose();
    gpu!.free(x);
    assertEquals(gpu!.memory().bytes, before);
    assert(gpu!.memory().peakBytes >= before + 768);
    assertThrows(() => executable.run([x]), Error, "disposed");
    assertThrows(() => gpu!.free(x), Error, "freed before");
  },
});

Deno.test({
  name: "gpu: a profile names every step and computes the same",
  ...options,
  fn: async () => {
    const executable = await gpu!.compile(planOf(line(8), [8, 8]));
    const [x, y] = [1, 2].map((v) => gpu!.upload(new Float32Array(8).fill(v), aval([8])));
    const times = await profile(executable, [x!, y!]);
    assertEquals(times.map((t) => t.kernel), ["line"]);
    assert(times[0]!.seconds >= 0 && times[0]!.seconds < 10);
    assertEquals(times[0]!.start, 0);
    assertEquals((await gpu!.download(y!))[0], 3);
    executable.dispose();
    [x!, y!].forEach((a) => gpu!.free(a));
  },
});

Deno.test({
  name: "gpu: more workgroups than one dimension takes",
  ...options,
  fn: async () => {
    const rows = 140_001, row = { name: "i", extent: rows }, k = { name: "k", extent: 33 };
    const kernel: Kernel = {
      name: "many_rows",
      slots: [{ dtype: "f32", access: "read" }, { dtype: "f32", access: "write" }],
      body: {
        form: "row",
        outer: [row],
        reduces: [{ id: 0, inner: [k], combine: "add", value: read(0, "k", 33) }],
        rowStores: [{
          slot: 1,
          ix: ixVar(row),
          value: call("add", { kind: "acc", type: "f32", id: 0 }, call("toF32", indexValue(ixVar(row)))),
        }],
        inner: [],
        stores: [],
      },
    };
    assert(wgsl(kernel).workgroups[1] > 1);
    const executable = await gpu!.compile(planOf(kernel, [33, rows]));
    const x = gpu!.upload(new Float32Array(33).fill(1), aval([33])),
      y = gpu!.upload(new Float32Array(rows), aval([rows]));
    executable.run([x, y]);
    const got = await gpu!.download(y);
    assertEquals(got.findIndex((v, i) => v !== 33 + i), -1);
    executable.dispose();
    [x, y].forEach((a) => gpu!.free(a));
  },
});

Deno.test({
  name: "gpu: zeros are zero, and may be written and freed as what was uploaded",
  ...options,
  fn: async () => {
    const before = gpu!.memory().bytes;
    const x = gpu!.zeros(aval([3, 5])), odd = gpu!.zeros(aval([3], "f16"));
    assertEquals(await gpu!.download(x), new Float32Array(15));
    assertEquals(await gpu!.download(odd), new Uint16Array(3));
    const data = Float32Array.from({ length: 15 }, (_, i) => i);
    gpu!.write(x, data);
    assertEquals(await gpu!.download(x), data);
    gpu!.free(x);
    gpu!.free(odd);
    assertEquals(gpu!.memory().bytes, before);
  },
});

Deno.test({
  name: "gpu: errors say what is wrong",
  ...options,
  fn: async () => {
    const executable = await gpu!.compile(planOf(line(8), [8, 8]));
    const x = gpu!.upload(new Float32Array(8), aval([8])), long = gpu!.upload(new Float32Array(9), aval([9]));
    assertThrows(() => executable.run([x]), TypeError, "The plan has 2 inputs and was given 1.");
    assertThrows(
      () => executable.run([x, long]),
      TypeError,
      "Input 1 of the plan is f32[8] and was given f32[9].",
    );
    assertThrows(() => executable.run([x, x]), Error, "was also given as another input");
    assertThrows(() => executable.run([x, { aval: aval([8]) }]), TypeError, "is on another device");
    assertThrows(
      () => gpu!.upload(new Float32Array(3), aval([8])),
      TypeError,
      "needs a Float32Array of 8 elements",
    );
    assertThrows(() => gpu!.upload(new Int32Array(8), aval([8])), TypeError, "was given a Int32Array of 8");
    const kernel = line(8),
      slots = Array.from(
        { length: gpu!.capabilities.maxSlots + 1 },
        (_, i) => kernel.slots[i] ?? kernel.slots[0]!,
      );
    const crowded: Kernel = { ...kernel, name: "crowded", slots };
    const error = await assertRejects(() => gpu!.compile(planOf(crowded, slots.map(() => 8))), Error);
    assertStringIncludes(String(error), "does not accept kernel crowded");
    executable.dispose();
    [x, long].forEach((a) => gpu!.free(a));
  },
});

Deno.test({
  name: "gpu: a closed device says so",
  ...options,
  fn: async () => {
    const device = (await openGpu({ software: true }))!;
    const x = device.upload(new Float32Array(8), aval([8]));
    await device.close();
    assertThrows(() => device.upload(new Float32Array(8), aval([8])), Error, "The GPU was closed.");
    await assertRejects(() => device.download(x), Error, "The GPU was closed.");
  },
});

Deno.test({
  name: "gpu: software drivers are told from hardware, and only taken when asked for",
  ...options,
  fn: async () => {
    const info = {
      vendor: "",
      architecture: "",
      device: "",
      description: "",
      subgroupMinSize: 4,
      subgroupMaxSize: 128,
    };
    const named = (description: string, isFallbackAdapter = false): GPUAdapterInfo =>
      ({ ...info, description, isFallbackAdapter }) as GPUAdapterInfo;
    assert(isSoftware(named("llvmpipe (LLVM 15.0.6, 256 bits)")));
    assert(isSoftware(named("SwiftShader Device (Subzero)")));
    assert(isSoftware(named("", true)));
    assert(!isSoftware(named("NVIDIA H100 80GB HBM3")));
    if (gpu!.isSoftware) assertEquals(await openGpu(), null);
  },
});

Deno.test("wgsl: what cannot be printed is refused", () => {
  const kernel = line(8);
  const { body } = kernel;
  if (body.form !== "row") throw new Error("line is a row kernel");
  const nan: Kernel = {
    ...kernel,
    body: { ...body, stores: [{ ...body.stores[0]!, value: constant(Number.NaN) }] },
  };
  assertThrows(() => wgsl(nan), Error, "constant NaN");
  const solve = sampleNamed("solve_2x32x32").kernel;
  assertThrows(
    () => wgsl(solve, { ...defaultLimits, maxWorkgroupBytes: 2048 }),
    Error,
    "too many for 2048 bytes",
  );
  const stages = sampleNamed("stages_b32_m2_2x128").kernel;
  assertThrows(
    () => wgsl(stages, { ...defaultLimits, maxWorkgroupBytes: 128 }),
    Error,
    "workgroup memory holds 32",
  );
});
