/** Stages whose features pass within subgroups: when they do, and that Dawn takes the text. Numbers: `gpu_test.ts`. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { openAdapter } from "../core/gpu/adapter.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import { DAWN_SUBGROUP, defaultLimits, matrixTiles, wgsl, type WgslLimits } from "../core/kernel/wgsl.ts";
import { wgslTogether } from "../core/kernel/wgsl_together.ts";
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
  assert(code.includes("if (row >= 300u) { return; }"));
  const even = { ...kernel, body: { ...kernel.body, outer: [{ name: "o", extent: 1024 }] } } as Kernel;
  assert(!wgsl(even, { ...limits, busyWorkgroups: 1 }).code.includes("return; }"));
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
      const alike = kernels.filter((k) => /@workgroup_size\(128\)/.test(wgsl(k, of).code));
      assert(alike.length >= 4);
      for (let i = 0; i + 2 <= alike.length; i += 2) {
        await accept(wgslTogether(alike.slice(i, i + 2), of).code);
      }
    }
    gpu.destroy();
  },
});
