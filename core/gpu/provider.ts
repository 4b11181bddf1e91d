/** The two implementations of WebGPU: the one in Deno, and Dawn from the npm package `webgpu`. @module */

/** Who implements WebGPU: Deno itself (wgpu), or Dawn, which alone reaches matrix units. */
export type Provider = "deno" | "dawn";

/** What the npm package gives. */
interface DawnModule {
  readonly create: (flags: readonly string[]) => GPU;
}

/**
 * Dawn's settings: `vulkan_enable_f16_on_nvidia` because it leaves f16 out there; no checks of indices, since printers
 * keep all within bounds, those that data decide too; quantised timestamps are too coarse for kernels.
 */
const DAWN_FLAGS: readonly string[] = [
  "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,disable_robustness",
  "disable-dawn-features=timestamp_quantization",
];

/** Instances of Dawn that were made: it ends the process when one is collected while its device lives. */
const instances: GPU[] = [];

/** The entry point of Deno's own WebGPU; null where Deno was built without it. */
export function denoGpu(): GPU | null {
  return navigator.gpu ?? null;
}

/**
 * Load Dawn; nothing of it is loaded before. `flags` are added to its settings. Rejects, saying what to do, where the
 * package or the permission to load its library is missing.
 */
export async function dawnGpu(flags: readonly string[] = []): Promise<GPU> {
  // Not a literal, and not in the import map: it is 130 MB, which a run without it should not fetch.
  const name = "npm:webgpu@0.6.2";
  try {
    const { create }: DawnModule = await import(name);
    const instance = create([...DAWN_FLAGS, ...flags]);
    instances.push(instance);
    return instance;
  } catch (error) {
    throw new Error(
      `Dawn cannot be loaded: allow it with --allow-ffi (or -A) and fetch it once with "deno cache npm:webgpu@0.6.2". ${
        error instanceof Error ? error.message : String(error)
      }`,
    );
  }
}

/** Whether this process may load Dawn's library without asking. */
export function mayLoadDawn(): boolean {
  return Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}
