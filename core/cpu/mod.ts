/** The CPU target. @module */
export { type CpuOptions, openCpu } from "./open_cpu.ts";
export { CpuMemoryError } from "./memory.ts";
