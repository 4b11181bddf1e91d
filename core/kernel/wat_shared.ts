/**
 * The module of loops over scratch memory that all kernels share: few functions, called often, so that the engine soon
 * runs them in its optimising tier. Addresses and strides are in bytes. @module
 */
import { eliminateFunctions } from "./wat_eliminate.ts";
import { mathConstants } from "./wat_math.ts";
import { mixFunctions } from "./wat_mix.ts";
import { tileFunctions } from "./wat_tile.ts";

/** The import of the one memory, in every module. */
export const MEMORY_IMPORT = `(import "gyre" "memory" (memory 1 65536 shared))`;

/** Number of i32 parameters of each exported function of the shared module; none has a result. */
const PARAMETERS: Readonly<Record<string, number>> = {
  sweepByRows: 10,
  sweepByInner: 10,
  stage: 7,
  stageTransposed: 7,
  outer: 7,
  fold: 3,
  blank: 3,
  eliminate: 4,
};

/** Text of the shared module, which also brings the constants of the elementary functions into the memory's first page. */
export function sharedModule(): string {
  return ["(module", MEMORY_IMPORT, tileFunctions, mixFunctions, eliminateFunctions, mathConstants(), ")"]
    .join("\n");
}

/** Text of the imports of the shared functions that are in `names`. */
export function sharedImports(names: ReadonlySet<string>): string {
  return Object.entries(PARAMETERS).filter(([name]) => names.has(name)).map(([name, count]) =>
    `(import "gyre" "${name}" (func $${name} (param${" i32".repeat(count)})))`
  ).join("\n");
}
