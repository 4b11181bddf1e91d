/** Pictures of runs. @module */
export * from "./charts.ts";
export * from "./heat_map.ts";
export * from "./lambda.ts";
export * from "./svg.ts";
