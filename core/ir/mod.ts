/** The graph: avals, index and scalar expressions, lowering kinds, tensors, programs, trees. @module */
export * from "./aval.ts";
export * from "./expr.ts";
export * from "./ix.ts";
export * from "./lowering.ts";
export * from "./program.ts";
export * from "./tensor.ts";
export * from "./tree.ts";
