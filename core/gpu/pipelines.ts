/** Compiled shaders of one device, shared by all plans on it. @module */
import type { Kernel, Slot } from "../kernel/kernel.ts";
import { type Wgsl, wgsl, type WgslLimits } from "../kernel/wgsl.ts";
import { wgslTogether } from "../kernel/wgsl_together.ts";
import { type Begin, plainly } from "./pace.ts";

/** A kernel ready to be dispatched. */
export interface Ready {
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly workgroups: readonly [number, number, number];
}

interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** The shader of kernels that are one launch. */
export function launchText(kernels: readonly Kernel[], limits: WgslLimits): Wgsl {
  return kernels.length === 1 ? wgsl(kernels[0]!, limits) : wgslTogether(kernels, limits);
}

/** Compiles each distinct shader text once. */
export class Pipelines {
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly #compiled = new Map<string, Promise<Compiled>>();

  #limits: WgslLimits;

  constructor(readonly gpu: GPUDevice, limits: WgslLimits, readonly begin: Begin = plainly) {
    this.#limits = limits;
  }

  get limits(): WgslLimits {
    return this.#limits;
  }

  /** Give products these tiles from now on, besides those that were given before. */
  useTiles(tuned: ReadonlyMap<string, string>): void {
    this.#limits = { ...this.#limits, tuned: new Map([...this.#limits.tuned ?? [], ...tuned]) };
  }

  /** Print and compile kernels as one launch; rejects with their names and the driver's message when it is not valid. */
  async ready(kernels: readonly Kernel[], limits = this.limits): Promise<Ready> {
    const { code, workgroups } = launchText(kernels, limits);
    const name = kernels.map((k) => k.name).join(" | "), slots = kernels.flatMap((k) => k.slots);
    // Names differ where kernels do not: the text without its first line decides.
    const key = code.slice(code.indexOf("\n"));
    let compiled = this.#compiled.get(key);
    if (!compiled) this.#compiled.set(key, compiled = this.#compile(name, slots, code));
    return { name, ...await compiled, workgroups };
  }

  #layout(slots: readonly Slot[]): GPUBindGroupLayout {
    const types = slots.map((s) => (s.access === "read" ? "read-only-storage" as const : "storage" as const));
    const key = types.join();
    let layout = this.#layouts.get(key);
    if (!layout) {
      const entries = types.map((type, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type },
      }));
      this.#layouts.set(key, layout = this.gpu.createBindGroupLayout({ entries }));
    }
    return layout;
  }

  async #compile(name: string, slots: readonly Slot[], code: string): Promise<Compiled> {
    const { gpu } = this;
    gpu.pushErrorScope("validation");
    const layout = this.#layout(slots);
    const module = gpu.createShaderModule({ label: name, code });
    const [invalid, pipeline] = await this.begin(() => {
      const made = gpu.createComputePipelineAsync({
        label: name,
        layout: gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
        compute: { module, entryPoint: "main" },
      }).catch((error: unknown) => new Error(String(error)));
      // Popped before anything is awaited, so that kernels compiled side by side do not see each other's errors.
      return Promise.all([gpu.popErrorScope(), made]);
    });
    if (!invalid && !(pipeline instanceof Error)) return { pipeline, layout };
    const reason = invalid?.message ?? (pipeline instanceof Error ? pipeline.message : "");
    throw new Error(`The GPU's driver does not accept kernel ${name}: ${reason}\n${code}`);
  }
}
