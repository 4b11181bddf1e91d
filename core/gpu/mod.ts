/** The GPU target. @module */
export { isSoftware } from "./adapter.ts";
export { Gpu, type GpuOptions, openGpu } from "./open_gpu.ts";
