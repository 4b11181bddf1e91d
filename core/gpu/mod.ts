/** The GPU target. @module */
export { isSoftware } from "./adapter.ts";
export { GpuExecutable } from "./executable.ts";
export { Gpu, type GpuOptions, openGpu } from "./open_gpu.ts";
export { type Launch, launchesOf } from "./launches.ts";
export { type LaunchTime, profile } from "./profile.ts";
export type { Provider } from "./provider.ts";
