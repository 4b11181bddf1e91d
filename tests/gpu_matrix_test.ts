/** Products on matrix units beside the interpreter: emulated on any adapter, and on hardware where there is some. @module */
import { assert, assertEquals } from "@std/assert";
import { openAdapter } from "../core/gpu/adapter.ts";
import { Gpu } from "../core/gpu/mod.ts";
import { aval } from "../core/ir/mod.ts";
import { matrixTiles } from "../core/kernel/wgsl.ts";
import { Factoriser } from "../train/factorise.ts";
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

Deno.test({
  name: "gpu: factors of a matrix are computed in f32 on a device whose products round otherwise",
  ...options,
  ignore: !isSoftware,
  fn: async () => {
    const opened = (await openAdapter({ software: true, provider: "deno", halfProducts: false }))!;
    const texts: string[] = [], make = opened.gpu.createShaderModule.bind(opened.gpu);
    opened.gpu.createShaderModule = (d: GPUShaderModuleDescriptor) => {
      texts.push(d.code);
      return make(d);
    };
    const { capabilities, limits } = opened;
    const gpu = { ...capabilities.gpu!, matrix: true, halfProducts: true };
    const device = new Gpu({
      ...{ ...opened, capabilities: { ...capabilities, gpu } },
      limits: { ...limits, maxWorkgroupBytes: 65536, maxInvocations: 1024, matrix: matrixTiles },
    });
    // Halves hold neither these numbers nor what makes their directions orthonormal.
    const m = 96, n = 80, k = 4, matrix = aval([m, n]);
    const data = Float32Array.from({ length: m * n }, (_, i) => 1e-9 * Math.sin(i * i % 1009));
    const factoriser = new Factoriser(device, 3);
    const { u, s, v } = await factoriser.factors(device.upload(data, matrix), { by: "svd", columns: k });
    for (const [side, rows] of [[u, m], [v, n]] as const) {
      for (let i = 0; i < k; i++) {
        for (let j = 0; j < k; j++) {
          let dot = 0;
          for (let r = 0; r < rows; r++) dot += side[r * k + i]! * side[r * k + j]!;
          assert(Math.abs(dot - (i === j ? 1 : 0)) < 1e-5, `columns ${i} and ${j}: ${dot}`);
        }
      }
    }
    assert(s.every((x) => x > 1e-9 && x < 1e-6), `${s}`);
    assert(texts.length > 0 && texts.every((code) => !/subgroup_matrix/.test(code)));
    await factoriser.dispose();
    await device.close();
  },
});
