/** Differentiation. @module */
export * from "./cotangent.ts";
export * from "./vjp.ts";
