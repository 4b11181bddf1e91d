/** Kernels as WebAssembly text: SIMD with relaxed multiply-add, one shared memory, one function a kernel. @module */
import type { Form, Kernel } from "./kernel.ts";
import { printContract } from "./wat_contract.ts";
import { WatFunction } from "./wat_code.ts";
import { Values } from "./wat_expr.ts";
import type { Cut } from "./wat_loops.ts";
import { mathFunctions } from "./wat_math.ts";
import { printRow } from "./wat_row.ts";
import { printScatter } from "./wat_scatter.ts";
import { MEMORY_IMPORT, sharedImports } from "./wat_shared.ts";
import { printSolve } from "./wat_solve.ts";
import { printStages, printStagesGrad } from "./wat_stages.ts";

export type { Cut } from "./wat_loops.ts";
export { sharedModule } from "./wat_shared.ts";

/** Kernels printed as one module, and how each is cut. */
export interface WatModule {
  readonly text: string;
  readonly cuts: readonly Cut[];
}

/**
 * Print kernels as one module that exports `k0`, `k1`, …: (begin, end, scratch, address of each slot) runs the units
 * begin ≤ unit < end. Units may run in any order and on any thread, each thread with scratch memory of its own (16-byte
 * aligned). Loads may touch up to 64 bytes behind a slot. Imports the memory and the functions of {@linkcode sharedModule}.
 */
export function printWat(kernels: readonly Kernel[]): WatModule {
  const calls = new Set<string>();
  const printed = kernels.map((kernel, i) => {
    const fn = new WatFunction();
    const cut = printForm(kernel.body, new Values(fn, kernel.slots));
    for (const name of fn.calls) calls.add(name);
    const params = ["begin", "end", "scratch", ...kernel.slots.map((_, s) => `s${s}`)].map((p) =>
      `(param $${p} i32)`
    );
    return { cut, text: fn.text(`(export "k${i}") ${params.join(" ")}`) };
  });
  const text = [
    "(module",
    MEMORY_IMPORT,
    sharedImports(calls),
    mathFunctions(calls),
    ...printed.map((p) => p.text),
    ")",
  ];
  return { text: text.join("\n"), cuts: printed.map((p) => p.cut) };
}

function printForm(form: Form, values: Values): Cut {
  switch (form.form) {
    case "row":
      return printRow(form, values);
    case "contract":
      return printContract(form, values);
    case "stages":
      return printStages(form, values);
    case "stagesGrad":
      return printStagesGrad(form, values);
    case "solve":
      return printSolve(form, values);
    case "scatter":
      return printScatter(form, values);
    case "attention":
      throw new Error("Attention has no kernel of its own on a processor: plan without products in f16.");
  }
}
