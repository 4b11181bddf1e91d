/**
 * Gyre: a pure-functional autodiff tensor DSL that compiles compositions of adapters into fused compute kernels, and
 * fine-tunes language models with them. Ops, adapters and training have entry points of their own. @module
 */
export * from "./adapters/mod.ts";
export * from "./core/mod.ts";
export { type CpuOptions, openCpu } from "./core/cpu/mod.ts";
export { type GpuOptions, openGpu } from "./core/gpu/mod.ts";
export * as ops from "./ops/mod.ts";
