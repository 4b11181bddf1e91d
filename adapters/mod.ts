/** Adapters and their algebra. To add one: its file, a line here, a row in the adapter tests. @module */
export * from "./adapter.ts";
export * from "./butterfly.ts";
export * from "./compose.ts";
export * from "./givens.ts";
export * from "./householder.ts";
export * from "./hybrid.ts";
export * from "./identity.ts";
export * from "./low_rank.ts";
export * from "./low_rank_start.ts";
export * from "./mix.ts";
export * from "./parallel.ts";
export * from "./place.ts";
export * from "./scale.ts";
export * from "./unitary.ts";
