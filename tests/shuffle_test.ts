/** Stages whose features pass within subgroups: when they do, and that Dawn takes the text. Numbers: `gpu_test.ts`. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { openAdapter } from "../core/gpu/adapter.ts";
import { Gpu } from "../core/gpu/mod.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import { DAWN_SUBGROUP, defaultLimits, matrixTiles, wgsl, type WgslLimits } from "../core/kernel/wgsl.ts";
import { wgslTogether } from "../core/kernel/wgsl_together.ts";
import { exact, requireSame } from "./gpu_compare.ts";
import { sampleNamed, samples } from "./kernel_samples.ts";

const limits: WgslLimits = { ...defaultLimits, maxWorkgroupBytes: 32768, subgroup: DAWN_SUBGROUP };
const shuffled = "subgroupShuffleXor";

/** Kernels of samples that hand features over within subgroups of this device. */
function shuffling(of: WgslLimits): readonly Kernel[] {
  return samples.map((s) => s.kernel).filter((kernel) => wgsl(kernel, of).code.includes(shuffled));
}

Deno.test("shuffle: groups of 8, 16 and 32 features pass within subgroups that hold them, others do not", () => {
  const names = (of: WgslLimits): string[] => shuffling(of).map((k) => k.name);
  assertEquals(names({ ...limits, subgroup: null }), []);
  const all = names(limits);
  for (const name of ["b4_m2_3x24", "b8_m1_7x24", "b8_m2_300x96", "b16_m2_21x64", "view_transposed"]) {
    assert(all.includes(`stages_${name}`), name);
  }
  // One vector of four is a whole group, and has no neighbours.
  assert(!/workgroupBarrier|subgroup/.test(wgsl(sampleNamed("stages_b4_m1_1x12").kernel, limits).code));
  const narrow = names({ ...limits, subgroup: { size: 4, directives: [] } });
  assertEquals(all.filter((name) => !narrow.includes(name)).some((name) => /b16_m2/.test(name)), true);
  assert(narrow.includes("stages_b8_m2_300x96"));
});

Deno.test("shuffle: nothing waits, and each provider has the lines that it wants", () => {
  for (const kernel of shuffling(limits).filter((k) => k.body.form === "stages")) {
    const { code } = wgsl(kernel, limits);
    assert(!/workgroupBarrier|var<workgroup>/.test(code), code);
    assert(code.includes("\nenable subgroups;\n"));
    const { code: own } = wgsl(kernel, { ...limits, subgroup: { size: 8, directives: [] } });
    assert(!own.includes("enable subgroups"));
  }
});

Deno.test("shuffle: rows are cut so that none has to be asked for where that goes", () => {
  const { kernel } = sampleNamed("stages_b8_m2_300x96");
  const { code } = wgsl(kernel, { ...limits, busyWorkgroups: 1 });
  assert(code.includes("< 300u) {"));
  const even = { ...kernel, body: { ...kernel.body, outer: [{ name: "o", extent: 1024 }] } } as Kernel;
  assert(!/if \(row|min\(start/.test(wgsl(even, { ...limits, busyWorkgroups: 1 }).code));
});

Deno.test("shuffle: matrix units and shuffles are not put into one shader", () => {
  const given = { ...limits, f16: true, maxInvocations: 1024, maxWorkgroupBytes: 49152 };
  const lanes = (k: Kernel, l: WgslLimits): string => /@workgroup_size\((\d+)\)/.exec(wgsl(k, l).code)![1]!;
  const [stages] = shuffling(given);
  const found = matrixTiles.flatMap((tile) => {
    const of = { ...given, matrix: [tile] };
    const product = samples.map((s) => s.kernel).find((k) =>
      wgsl(k, of).code.includes("subgroupMatrixMultiplyAccumulate") && lanes(k, of) === lanes(stages!, of)
    );
    return product ? [{ product, of }] : [];
  });
  assert(found.length > 0);
  for (const { product, of } of found) {
    assertThrows(() => wgslTogether([product, stages!], of), Error, "cannot be one");
  }
});

/** Subgroups of any size, on any device: numbers are handed over through workgroup memory. */
function emulated(code: string): string {
  return code.replaceAll(shuffled + "(", "hand(lane, ").replace(
    "@compute",
    `var<workgroup> handed: array<vec4f, 512>;
fn hand(lane: u32, value: vec4f, bits: u32) -> vec4f {
  workgroupBarrier();
  handed[lane] = value;
  workgroupBarrier();
  return handed[lane ^ bits];
}
@compute`,
  );
}

const first = await openAdapter({ software: true, provider: "deno", halfProducts: false });
first?.gpu.destroy();

Deno.test({
  name: "shuffle: subgroups of 32, emulated",
  ignore: first === null,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    for (
      const [name, busyWorkgroups] of [
        ["stages_b8_m2_300x96", 1e-3],
        ["stages_b16_m2_21x64", 132],
        // Sums of one group a workgroup meet in three steps, those of four in one.
        ["stages_grad_b8_m2_300x48", 132],
        ["stages_grad_b8_m2_130x64", 1e-3],
      ] as const
    ) {
      const opened = (await openAdapter({ software: true, provider: "deno", halfProducts: false }))!;
      const make = opened.gpu.createShaderModule.bind(opened.gpu);
      const texts: string[] = [];
      opened.gpu.createShaderModule = (d: GPUShaderModuleDescriptor) => {
        texts.push(d.code);
        return make({ ...d, code: emulated(d.code) });
      };
      const subgroup = { size: 32, directives: [] };
      const device = new Gpu({
        ...opened,
        limits: { ...limits, f16: opened.limits.f16, busyWorkgroups, subgroup },
      });
      await requireSame(device, exact(sampleNamed(name)));
      assert(texts.length === 1 && texts[0]!.includes(shuffled), name);
      await device.close();
    }
  },
});

Deno.test({
  name: "shuffle: Dawn's compiler accepts such kernels, alone and launched together",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const { gpu } = (await openAdapter({
      ...{ software: true, provider: "dawn", halfProducts: false, dawnFlags: ["backend=null"] },
    }))!;
    const accept = async (code: string): Promise<void> => {
      gpu.pushErrorScope("validation");
      const module = gpu.createShaderModule({ code });
      gpu.createComputePipeline({ layout: "auto", compute: { module } });
      const error = await gpu.popErrorScope();
      assertEquals(error?.message, undefined, code);
    };
    for (const f16 of [false, true]) {
      const of = { ...limits, f16, maxWorkgroupBytes: defaultLimits.maxWorkgroupBytes };
      const kernels = shuffling(of);
      assert(kernels.length >= 14, `${kernels.length} kernels`);
      for (const kernel of kernels) await accept(wgsl(kernel, of).code);
      // Stages, and their cotangents.
      for (const lanes of [128, 256]) {
        const alike = kernels.filter((k) => wgsl(k, of).code.includes(`@workgroup_size(${lanes})`));
        assert(alike.length >= 4, `${alike.length} kernels of ${lanes} invocations`);
        for (let i = 0; i + 2 <= alike.length; i += 2) {
          await accept(wgslTogether(alike.slice(i, i + 2), of).code);
        }
      }
    }
    gpu.destroy();
  },
});
