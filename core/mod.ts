/** The compiler: graphs, derivatives, the float64 reference, kernels, plans. No effects. @module */
export * from "./compile.ts";
export * from "./diff/mod.ts";
export * from "./eval/mod.ts";
export * from "./explain.ts";
export * from "./ir/mod.ts";
export * from "./plan/mod.ts";
