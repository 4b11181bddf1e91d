/** Attention's kernels for matrix units on a device: emulated on any adapter, and by Dawn's compiler. @module */
import { assert, assertEquals } from "@std/assert";
import { openAdapter } from "../core/gpu/adapter.ts";
import { Gpu, openGpu } from "../core/gpu/mod.ts";
import { evaluateProgram } from "../core/eval/mod.ts";
import { type DType, linearise } from "../core/ir/mod.ts";
import { matrixTiles, wgsl } from "../core/kernel/wgsl.ts";
import { type HostArray, makePlan } from "../core/plan/mod.ts";
import { type AttentionCase, attentionCases, graphOf, numbersOf, stepOf } from "./attention_cases.ts";
import { requireClose } from "./check_primitive.ts";
import { emulateMatrix } from "./emulate_matrix.ts";
import { hasMatrixUnits } from "./gpu_compare.ts";

const opened = await openAdapter({ software: true, provider: "deno", halfProducts: false });
if (!opened && Deno.env.get("GYRE_REQUIRE_GPU") === "1") {
  throw new Error("GYRE_REQUIRE_GPU is 1 and there is no WebGPU adapter.");
}
const options = { ignore: !opened?.isSoftware, sanitizeResources: false, sanitizeOps: false };

/** A device whose kernels for matrix units are emulated. Kernels that are one launch take a software driver long to compile. */
function emulating({ matrix = matrixTiles, together = false } = {}): Gpu {
  const make = opened!.gpu.createShaderModule.bind(opened!.gpu);
  const gpu = new Proxy(opened!.gpu, {
    get: (target, name) => {
      if (name === "createShaderModule") {
        return (d: GPUShaderModuleDescriptor) =>
          make(/subgroupMatrix/.test(d.code) ? { ...d, code: emulateMatrix(d.code) } : d);
      }
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const busyWorkgroups = together ? opened!.limits.busyWorkgroups : 1e-3;
  const limits = {
    ...{ ...opened!.limits, maxWorkgroupBytes: 49152, maxInvocations: 1024 },
    ...{ matrix, busyWorkgroups },
  };
  return new Gpu({ ...opened!, gpu, limits });
}

function host(values: Float64Array, dtype: DType): HostArray {
  if (dtype === "i32") return new Int32Array(values);
  return dtype === "u32" ? Uint32Array.from(values, Math.abs) : new Float32Array(values);
}

/** A software driver takes seconds to compile each; these have all of it between them, but for windows without segments. */
const emulated = ["causal", "groups", "all in a window", "rising", "two walks", "both ways"].map((name) =>
  attentionCases.find((of) => of.name.startsWith(name))!
);

/** Outputs and cotangents of a case on a device, beside float64. */
async function requireAttention(device: Gpu, of: AttentionCase): Promise<void> {
  const { inputs, outputs: all, numbers } = graphOf(of);
  // The first is the output, then come the cotangents of queries, keys and values.
  const outputs = of.name.startsWith("two walks") ? all.slice(2) : all;
  const program = linearise(inputs, outputs);
  const expected = evaluateProgram(program, numbers);
  const executable = await device.compile(makePlan(program, { maxSlots: 16, halfProducts: true }));
  const upload = (of: readonly Float64Array[]) =>
    of.map((v, i) => device.upload(host(v, inputs[i]!.dtype), inputs[i]!.aval));
  const arrays = upload(numbers);
  // What an earlier run left must not shine through.
  const poison = upload(numbers.map((v, i) => (inputs[i]!.dtype === "i32" ? v : v.map(() => NaN))));
  executable.run(poison);
  const found = await Promise.all(executable.run(arrays).map((y) => device.download(y)));
  found.forEach((y, i) => requireClose(`output ${i}`, new Float64Array(y), expected[i]!, 3e-3));
  [...arrays, ...poison].forEach((x) => device.free(x));
  executable.dispose();
}

emulated.forEach((of, place) => {
  Deno.test({
    name: `attention on matrix units, emulated: ${of.name}`,
    ...options,
    fn: async () => {
      await requireAttention(emulating({ together: place === 0 }), of);
    },
  });
});

const hardware = await hasMatrixUnits();
for (const of of attentionCases) {
  Deno.test({
    name: `attention on matrix units of hardware: ${of.name}`,
    ...options,
    ignore: !hardware,
    fn: async () => {
      const device = (await openGpu({ provider: "dawn", halfProducts: true }))!;
      await requireAttention(device, of);
      await device.close();
    },
  });
}

Deno.test({
  name: "attention on matrix units, emulated: loss and gradient norm of a step, with values stored in f16",
  ...options,
  fn: async () => {
    const step = stepOf(true, true, [9]), { plan, program } = step, numbers = numbersOf(step);
    const expected = evaluateProgram(program, numbers);
    assert(plan.kernels.some((k) => k.body.form === "attention" && k.slots.some((s) => s.dtype === "f16")));
    // Other products stay in f32: emulated, they take minutes to compile.
    const device = emulating({ matrix: [] });
    const executable = await device.compile(plan);
    const arrays = numbers.map((v, i) => {
      const { aval } = plan.inputs[i]!;
      return device.upload(host(v, aval.dtype), aval);
    });
    const found = await Promise.all(executable.run(arrays).map((y) => device.download(y)));
    step.outputs.forEach((path, i) => {
      // First moments are a tenth of the gradients and the rest of what they were.
      if (!/^(metrics|optimiser\.m_)/.test(path)) return;
      requireClose(path, new Float64Array(found[i]!), expected[i]!, 1e-2);
    });
    arrays.forEach((x) => device.free(x));
    executable.dispose();
  },
});

Deno.test({
  name: "attention on matrix units: Dawn's compiler accepts it",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const dawn = (await openAdapter({
      software: true,
      provider: "dawn",
      dawnFlags: ["backend=null"],
      halfProducts: true,
    }))!;
    let found = 0;
    for (const of of attentionCases) {
      const { inputs, outputs } = graphOf(of);
      const plan = makePlan(linearise(inputs, outputs), { maxSlots: 16, halfProducts: true });
      for (const kernel of plan.kernels.filter((k) => k.body.form === "attention")) {
        const limits = {
          ...dawn.limits,
          maxWorkgroupBytes: 49152,
          maxInvocations: 1024,
          matrix: matrixTiles,
        };
        const { code } = wgsl(kernel, limits);
        dawn.gpu.pushErrorScope("validation");
        // The null backend has too little workgroup memory for the pipelines, which the text alone does not need.
        dawn.gpu.createShaderModule({ code });
        assertEquals((await dawn.gpu.popErrorScope())?.message, undefined, code);
        found++;
      }
    }
    assert(found >= 3 * attentionCases.length);
    dawn.gpu.destroy();
  },
});
