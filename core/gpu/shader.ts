/** A shader's text as a pipeline of a device. @module */
import type { Begin } from "./pace.ts";

/** A text and what it binds. */
export interface Shader {
  /** For the driver's messages. */
  readonly name: string;
  readonly code: string;
  /** For each binding, whether it is written. */
  readonly writes: readonly boolean[];
}

/** A shader on a device. */
export interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** A shader whose text is checked. */
export interface ReadShader {
  readonly shader: Shader;
  readonly layout: GPUBindGroupLayout;
  readonly whole: GPUPipelineLayout;
  readonly module: GPUShaderModule;
  /** What is wrong with it. */
  readonly invalid: Promise<GPUError | null>;
}

/** Makes pipelines on one device; shaders with equal bindings share their layout. */
export class ShaderCompiler {
  readonly #layouts = new Map<string, GPUBindGroupLayout>();

  constructor(readonly gpu: GPUDevice, readonly begin: Begin) {}

  /** Have the text read and checked; the driver does not have it yet. */
  read(shader: Shader): ReadShader {
    const { gpu } = this;
    gpu.pushErrorScope("validation");
    const layout = this.#layout(shader.writes);
    const whole = gpu.createPipelineLayout({ bindGroupLayouts: [layout] });
    const module = gpu.createShaderModule({ label: shader.name, code: shader.code });
    return { shader, layout, whole, module, invalid: this.begin(() => gpu.popErrorScope()) };
  }

  /** Compile a shader that was read; rejects with its name and the driver's message when it is not valid. */
  async compile({ shader, layout, whole, module, invalid }: ReadShader): Promise<Compiled> {
    const { name, code } = shader, problem = await invalid;
    const pipeline = problem ?? await this.#pipeline(name, whole, module);
    if (!("message" in pipeline)) return { pipeline, layout };
    throw new Error(`The GPU's driver does not accept kernel ${name}: ${pipeline.message}\n${code}`);
  }

  /** A pipeline, or why there is none: providers tell it in either of two ways. */
  async #pipeline(
    label: string,
    layout: GPUPipelineLayout,
    module: GPUShaderModule,
  ): Promise<GPUComputePipeline | GPUError | Error> {
    const { gpu } = this;
    gpu.pushErrorScope("validation");
    const [invalid, made] = await this.begin(() => {
      const made = gpu.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: "main" } })
        .catch((error: unknown) => new Error(String(error)));
      // Popped before anything is awaited, so that kernels compiled side by side do not see each other's errors.
      return Promise.all([gpu.popErrorScope(), made]);
    });
    return invalid ?? made;
  }

  #layout(writes: readonly boolean[]): GPUBindGroupLayout {
    const key = writes.join();
    let layout = this.#layouts.get(key);
    if (!layout) {
      const entries = writes.map((is, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: is ? "storage" as const : "read-only-storage" as const },
      }));
      this.#layouts.set(key, layout = this.gpu.createBindGroupLayout({ entries }));
    }
    return layout;
  }
}
