/** The float64 reference. @module */
export * from "./evaluate.ts";
