/** Every stage of compilation as a value with a readable print. @module */
import * as Either from "fp-ts/Either.js";
import { compile, type Compiled, type CompileOptions } from "./compile.ts";
import type { Aval, ShapeError } from "./ir/aval.ts";
import { showProgram } from "./ir/program.ts";
import type { Tensor } from "./ir/tensor.ts";
import type { MapTree } from "./ir/tree.ts";
import { showKernel } from "./kernel/show_kernel.ts";
import { DAWN_SUBGROUP, defaultLimits, matrixTiles, wgsl, type WgslLimits } from "./kernel/wgsl.ts";
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

/** A device for which products in f16 are planned. */
const MATRIX_UNITS: WgslLimits = {
  ...defaultLimits,
  f16: true,
  maxWorkgroupBytes: 49152,
  maxInvocations: 1024,
  matrix: matrixTiles,
  subgroup: DAWN_SUBGROUP,
};

/** Explain how `f` compiles for arguments shaped like `avals`; left where the shapes do not fit. */
export function explain<A>(
  f: (x: MapTree<A, Aval, Tensor>) => object,
  avals: A,
  options: CompileOptions = {},
): Either.Either<ShapeError, Explanation> {
  const limits = options.halfProducts ? MATRIX_UNITS : defaultLimits;
  return Either.map((of: Compiled) => explainCompiled(of, limits))(compile(f, avals, options));
}

/** Explain what was compiled already, with its kernels in print for a device of these limits. */
export function explainCompiled(compiled: Compiled, limits: WgslLimits = defaultLimits): Explanation {
  const { program, plan } = compiled;
  return {
    ...compiled,
    text: {
      program: showProgram(program),
      kernels: plan.kernels.map(showKernel),
      wgsl: plan.kernels.map((kernel) => wgsl(kernel, limits).code),
      plan: showPlan(plan),
    },
    bytes: planBytes(plan),
  };
}
