/** Every stage of compilation as a value with a readable print. @module */
import * as Either from "fp-ts/Either.js";
import { compile, type Compiled, type CompileOptions } from "./compile.ts";
import type { Aval, ShapeError } from "./ir/aval.ts";
import { showProgram } from "./ir/program.ts";
import type { Tensor } from "./ir/tensor.ts";
import type { MapTree } from "./ir/tree.ts";
import { showKernel } from "./kernel/show_kernel.ts";
import { wgsl } from "./kernel/wgsl.ts";
import { type PlanBytes, planBytes } from "./plan/check_limits.ts";
import { showPlan } from "./plan/show_plan.ts";

/** The stages of one function's compilation, in print. */
export interface Explanation extends Compiled {
  readonly text: {
    readonly program: string;
    readonly kernels: readonly string[];
    /** The kernels for WebGPU. */
    readonly wgsl: readonly string[];
    readonly plan: string;
  };
  readonly bytes: PlanBytes;
}

/** Explain how `f` compiles for arguments shaped like `avals`; left where the shapes do not fit. */
export function explain<A>(
  f: (x: MapTree<A, Aval, Tensor>) => object,
  avals: A,
  options: CompileOptions = {},
): Either.Either<ShapeError, Explanation> {
  return Either.map(explainCompiled)(compile(f, avals, options));
}

/** Explain what was compiled already. */
export function explainCompiled(compiled: Compiled): Explanation {
  const { program, plan } = compiled;
  return {
    ...compiled,
    text: {
      program: showProgram(program),
      kernels: plan.kernels.map(showKernel),
      wgsl: plan.kernels.map((kernel) => wgsl(kernel).code),
      plan: showPlan(plan),
    },
    bytes: planBytes(plan),
  };
}
