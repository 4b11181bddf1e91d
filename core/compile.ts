/** From a pure function to a plan: trace, put in a line, fuse, plan. No effects. @module */
import * as Either from "fp-ts/Either.js";
import { type Aval, ShapeError, showAval } from "./ir/aval.ts";
import { linearise, type Program } from "./ir/program.ts";
import { input, type Tensor } from "./ir/tensor.ts";
import { leaves, type MapTree, mapTree, type Tree } from "./ir/tree.ts";
import { makePlan, type PlanLimits } from "./plan/make_plan.ts";
import type { Plan } from "./plan/plan.ts";
import type { Donation } from "./plan/prepare.ts";
import type { Recomputation } from "./plan/recompute.ts";
import type { Splitting } from "./plan/split.ts";

/** Options of {@linkcode compile}. */
export interface CompileOptions {
  /** Buffers that one kernel may bind; default 8, WebGPU's guaranteed minimum. */
  readonly maxSlots?: number;
  /** Products may round their operands to f16, and values may be stored so; default false. */
  readonly halfProducts?: boolean;
  /** Values that may be computed again, for the backward pass, rather than kept; absent: all are kept. */
  readonly recompute?: Recomputation;
  /** Order the kernels so that neighbours can run at once, as on a GPU; default false. */
  readonly overlap?: boolean;
  /** Deep products of few tiles that may be cut into parts, as on a GPU; absent: none is. */
  readonly split?: Splitting;
  /** Paths of outputs that take over the memory of the input of the given path. */
  readonly inPlace?: readonly { readonly output: string; readonly input: string }[];
}

/** A function compiled for fixed shapes. */
export interface Compiled {
  readonly program: Program;
  readonly plan: Plan;
  /** Paths in the tree of arguments, in the plan's order. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** Whether a tree's leaf is an aval. */
export function isAval(x: unknown): x is Aval {
  return typeof x === "object" && x !== null && "shape" in x && "dtype" in x && !("op" in x);
}

/** Whether a tree's leaf is a tensor. */
export function isTensor(x: unknown): x is Tensor {
  return typeof x === "object" && x !== null && "op" in x && "aval" in x;
}

/** A traced function: its graph's ends, by path. */
export interface Traced {
  readonly inputs: readonly { readonly path: string; readonly leaf: Tensor }[];
  readonly outputs: readonly { readonly path: string; readonly leaf: Tensor }[];
}

/** Call `f` on fresh inputs shaped like the tree `avals`. Its result is a tree of tensors: interfaces have no index signature, so the
 * type says only `object`, and a leaf of another kind throws TypeError. */
export function traceTree<A>(
  f: (x: MapTree<A, Aval, Tensor>) => object,
  avals: A,
): Traced {
  const inputs: { path: string; leaf: Tensor }[] = [];
  const xs = mapTree<A, Aval, Tensor>(avals, isAval, (a, path) => {
    const leaf = input(a, path);
    inputs.push({ path, leaf });
    return leaf;
  });
  return { inputs, outputs: leaves<Tensor>(f(xs) as Tree<Tensor>, isTensor) };
}

/**
 * Compile `f` for arguments shaped like the tree `avals`. Left: shapes that do not fit, with the place in the user's
 * program. Arguments and results are trees; a result that should update an argument in place is named in `inPlace`.
 */
export function compile<A>(
  f: (x: MapTree<A, Aval, Tensor>) => object,
  avals: A,
  options: CompileOptions = {},
): Either.Either<ShapeError, Compiled> {
  try {
    return Either.right(compileTraced(traceTree(f, avals), options));
  } catch (error) {
    if (error instanceof ShapeError) return Either.left(error);
    throw error;
  }
}

/** What a plan is made of: it depends on nothing else. */
export interface PlanRequest {
  readonly program: Program;
  readonly limits: PlanLimits;
  readonly donations: readonly Donation[];
}

/** Compile a graph that was traced already; `plan` makes the plan, or knows it from an equal request. */
export function compileTraced(
  { inputs, outputs }: Traced,
  options: CompileOptions = {},
  plan: (request: PlanRequest) => Plan = planOf,
): Compiled {
  const find = (ends: Traced["inputs"], path: string, what: string): number => {
    const i = ends.findIndex((e) => e.path === path);
    if (i < 0) {
      throw new Error(`There is no ${what} "${path}"; there are: ${ends.map((e) => e.path).join(", ")}.`);
    }
    return i;
  };
  const taken = new Set<number>();
  const donations = (options.inPlace ?? []).map(({ output, input }) => {
    const pair = { output: find(outputs, output, "output"), input: find(inputs, input, "input") };
    if (taken.has(pair.input)) throw new Error(`Two outputs are to update "${input}" in place; give one.`);
    taken.add(pair.input);
    requireSameAval(inputs[pair.input]!.leaf, outputs[pair.output]!.leaf, input);
    return pair;
  });
  const program = linearise(inputs.map((x) => x.leaf), outputs.map((x) => x.leaf));
  const limits: PlanLimits = {
    maxSlots: options.maxSlots ?? 8,
    halfProducts: options.halfProducts ?? false,
    overlap: options.overlap ?? false,
    ...(options.split ? { split: options.split } : {}),
    ...(options.recompute ? { recompute: options.recompute } : {}),
  };
  return {
    program,
    plan: plan({ program, limits, donations }),
    inputs: inputs.map((x) => x.path),
    outputs: outputs.map((x) => x.path),
  };
}

/** Make a plan. */
export function planOf({ program, limits, donations }: PlanRequest): Plan {
  return makePlan(program, limits, donations);
}

/** Text that says all of a request, as far as ops are known by their names and parameters: equal texts, equal plans. */
export function showRequest({ program, limits, donations }: PlanRequest): string {
  const { nodes, inputs, outputs } = program;
  return [
    JSON.stringify({ limits, donations, inputs, outputs }),
    ...nodes.map((n) =>
      `${n.op} ${n.params} ${
        n.rules ? "" : "input "
      }${n.inputs.join()} ${n.aval.dtype}[${n.aval.shape.join()}]`
    ),
  ].join("\n");
}

function requireSameAval(x: Tensor, y: Tensor, path: string): void {
  if (showAval(x.aval) !== showAval(y.aval)) {
    throw new ShapeError(
      `Cannot update ${path} ${showAval(x.aval)} in place by ${showAval(y.aval)}: they must be the same.`,
    );
  }
}
