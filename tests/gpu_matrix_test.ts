/** Products on matrix units beside the interpreter: emulated on any adapter, and on hardware where there is some. @module */
import { assert, assertEquals } from "@std/assert";
import { openAdapter } from "../core/gpu/adapter.ts";
import { Gpu } from "../core/gpu/mod.ts";
import { matrixTiles } from "../core/kernel/wgsl.ts";
import { emulateMatrix } from "./emulate_matrix.ts";
import { halves, hasMatrixUnits, requireSame } from "./gpu_compare.ts";
import { sampleNamed, samples } from "./kernel_samples.ts";

const opened = await openAdapter({ software: true, provider: "deno", halfProducts: false });
if (!opened && Deno.env.get("GYRE_REQUIRE_GPU") === "1") {
  throw new Error("GYRE_REQUIRE_GPU is 1 and there is no WebGPU adapter.");
}
const isSoftware = opened?.isSoftware === true;
opened?.gpu.destroy();
const options = { sanitizeResources: false, sanitizeOps: false };

/** Layouts, ragged ends, several terms, batches; each takes a software driver seconds to compile. */
const emulatedSamples = [
  "contract_150x140x72_plain_transposed",
  "contract_148x140x50_transposed_plain",
  "contract_low_rank",
  "contract_scores_wide",
];

for (const tile of matrixTiles) {
  Deno.test({
    name: `gpu: products on matrix units, emulated, tiles of ${tile.rows}×${tile.cols}×${tile.depth}`,
    ...options,
    // Hardware has less workgroup memory than the emulation takes, and matrix units of its own.
    ignore: !isSoftware,
    fn: async () => {
      const opened = (await openAdapter({ software: true, provider: "deno", halfProducts: false }))!;
      assert(opened.limits.f16, "the emulation needs shader-f16");
      const make = opened.gpu.createShaderModule.bind(opened.gpu);
      let emulated = 0;
      opened.gpu.createShaderModule = (d: GPUShaderModuleDescriptor) => {
        emulated++;
        return make({ ...d, code: emulateMatrix(d.code) });
      };
      const limits = { ...opened.limits, maxWorkgroupBytes: 65536, maxInvocations: 1024, matrix: [tile] };
      const device = new Gpu({ ...opened, limits });
      const chosen = tile.rows === 128 ? emulatedSamples.slice(0, 2) : emulatedSamples;
      for (const named of chosen) await requireSame(device, halves(sampleNamed(named)));
      assertEquals(emulated, chosen.length);
      await device.close();
    },
  });
}

Deno.test({
  name: "gpu: products on matrix units",
  ignore: !await hasMatrixUnits(),
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    for (const tile of matrixTiles) {
      const opened = (await openAdapter({ software: false, provider: "dawn", halfProducts: true }))!;
      const device = new Gpu({ ...opened, limits: { ...opened.limits, matrix: [tile] } });
      for (const sample of samples.filter(({ name }) => /^contract/.test(name))) {
        await requireSame(device, halves(sample));
      }
      await device.close();
    }
  },
});
