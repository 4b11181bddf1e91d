/** Compiled shaders of one device, shared by all plans on it. @module */
import type { Kernel, Slot } from "../kernel/kernel.ts";
import { wgsl, type WgslLimits } from "../kernel/wgsl.ts";

/** A kernel ready to be dispatched. */
export interface Ready {
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly workgroups: readonly [number, number, number];
}

/** Compiles each distinct shader text once. */
export class Pipelines {
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();

  constructor(readonly gpu: GPUDevice, readonly limits: WgslLimits) {}

  /** Print and compile a kernel; rejects with its name and the driver's message when it is not valid. */
  async ready(kernel: Kernel): Promise<Ready> {
    const { code, workgroups } = wgsl(kernel, this.limits);
    const layout = this.#layout(kernel.slots);
    // Names differ where kernels do not: the text without its first line decides.
    const key = code.slice(code.indexOf("\n"));
    let pipeline = this.#pipelines.get(key);
    if (!pipeline) this.#pipelines.set(key, pipeline = this.#compile(kernel.name, code, layout));
    return { name: kernel.name, pipeline: await pipeline, layout, workgroups };
  }

  #layout(slots: readonly Slot[]): GPUBindGroupLayout {
    const types = slots.map((s) => (s.access === "read" ? "read-only-storage" as const : "storage" as const));
    const key = types.join();
    let layout = this.#layouts.get(key);
    if (!layout) {
      const entries = types.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } }));
      this.#layouts.set(key, layout = this.gpu.createBindGroupLayout({ entries }));
    }
    return layout;
  }

  async #compile(name: string, code: string, layout: GPUBindGroupLayout): Promise<GPUComputePipeline> {
    const { gpu } = this;
    gpu.pushErrorScope("validation");
    const module = gpu.createShaderModule({ label: name, code });
    const made = gpu.createComputePipelineAsync({
      label: name,
      layout: gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main" },
    }).catch((error: unknown) => new Error(String(error)));
    const [invalid, pipeline] = await Promise.all([gpu.popErrorScope(), made]);
    if (!invalid && !(pipeline instanceof Error)) return pipeline;
    const reason = invalid?.message ?? (pipeline instanceof Error ? pipeline.message : "");
    throw new Error(`The WGSL of kernel ${name} does not compile: ${reason}\n${code}`);
  }
}
