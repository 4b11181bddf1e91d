/** Compiles shaders on a device of its own, in a thread or a process of its own. @module */
import { openAdapter } from "../core/gpu/adapter.ts";
import { paced, plainly } from "../core/gpu/pace.ts";
import type { Provider } from "../core/gpu/provider.ts";

/** A text and which of its bindings it writes. */
export interface Shader {
  readonly code: string;
  readonly written: readonly boolean[];
}

/** What to compile, and on what. */
export interface Task {
  readonly shaders: readonly Shader[];
  readonly provider: Provider;
  readonly dtype: "f32" | "f16";
  readonly dawnFlags: readonly string[];
}

/** What it took. */
export interface Compiled {
  readonly openSeconds: number;
  readonly compileSeconds: number;
  readonly adapterName: string;
}

/** Open a device and make a pipeline of every shader, all asked for at once. Rejects with the driver's message. */
export async function compileAll({ shaders, provider, dtype, dawnFlags }: Task): Promise<Compiled> {
  const start = performance.now();
  const opened = await openAdapter({ software: true, provider, halfProducts: dtype === "f16", dawnFlags });
  if (!opened) throw new Error(`There is no WebGPU adapter for ${provider}.`);
  const { gpu, capabilities } = opened, begin = provider === "dawn" ? paced : plainly;
  const ready = performance.now();
  const made = await Promise.all(shaders.map(({ code, written }) => {
    const layout = gpu.createBindGroupLayout({
      entries: written.map((is, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: is ? "storage" : "read-only-storage" },
      })),
    });
    const module = gpu.createShaderModule({ code });
    const descriptor = {
      layout: gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main" },
    };
    return begin(() => gpu.createComputePipelineAsync(descriptor)).catch((error: unknown) =>
      new Error(String(error))
    );
  }));
  const failed = made.find((m) => m instanceof Error);
  if (failed) throw failed;
  const end = performance.now();
  begin(() => gpu.destroy());
  return {
    openSeconds: (ready - start) / 1000,
    compileSeconds: (end - ready) / 1000,
    adapterName: capabilities.adapterName,
  };
}

/** What this module sees of a worker's global scope. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<Task>) => void) | null;
  postMessage(message: Compiled): void;
}

function isWorkerScope(scope: object): scope is WorkerScope {
  return "postMessage" in scope && "DedicatedWorkerGlobalScope" in scope;
}

const scope: object = globalThis;
if (isWorkerScope(scope)) {
  scope.onmessage = async ({ data }) => scope.postMessage(await compileAll(data));
} else if (import.meta.main) {
  const task: Task = JSON.parse(await Deno.readTextFile(Deno.args[0]!));
  console.log(JSON.stringify(await compileAll(task)));
  Deno.exit(0);
}
