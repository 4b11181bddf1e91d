/** Tensors are nodes of a graph: pure values that say how they are computed. @module */
import { type Aval, aval, type DType, type Shape, ShapeError, showAval } from "./aval.ts";
import { constant, scalarType } from "./expr.ts";
import type { Lowering } from "./lowering.ts";

/** Two values for each input `I`. */
export type Each<I, T> = { readonly [K in keyof I]: T };

/** The rules of a primitive with its parameters bound. */
export interface Rules<I extends readonly Tensor[]> {
  /** Result from the inputs' avals; throws {@linkcode ShapeError}. */
  readonly shape: (xs: Each<I, Aval>) => Aval;
  /** The meaning, in float64: slow and obvious. */
  readonly reference: (xs: Each<I, Float64Array>, avals: Each<I, Aval>, out: Aval) => Float64Array;
  /** Cotangents of the inputs from that of the output, as a graph; null where none flows. */
  readonly vjp: (ct: Tensor, xs: I, y: Tensor) => Each<I, Tensor | null>;
  /** How it becomes part of a kernel. */
  readonly lower: Lowering;
  /** The same value from other primitives, where a kernel of its own kind is of no use; inputs may be left out of it. */
  readonly composed?: (xs: I) => Tensor;
}

/** The rules of one node, its inputs bound. */
export interface NodeRules {
  readonly reference: (xs: readonly Float64Array[]) => Float64Array;
  readonly vjp: (ct: Tensor) => readonly (Tensor | null)[];
  readonly lower: Lowering;
  /** The same value of other tensors, from other primitives; null where there is no such way. */
  readonly composed: ((xs: readonly Tensor[]) => Tensor) | null;
}

/** A node of the graph. */
export interface Tensor {
  readonly aval: Aval;
  readonly shape: Shape;
  readonly dtype: DType;
  /** Name of the primitive; `input` for a program's input. */
  readonly op: string;
  /** Parameters in print: same op, parameters and inputs mean the same value. */
  readonly params: string;
  readonly inputs: readonly Tensor[];
  /** Null for inputs. */
  readonly rules: NodeRules | null;
  /** Order of creation: inputs come before their users, and it is the order of the plan. */
  readonly order: number;
}

/** A primitive: parameters, then tensors. */
export type Op<I extends readonly Tensor[], P> = (params: P) => (...xs: I) => Tensor;

let created = 0;

function node(
  op: string,
  params: string,
  inputs: readonly Tensor[],
  at: Aval,
  rules: NodeRules | null,
): Tensor {
  return { op, params, inputs, aval: at, shape: at.shape, dtype: at.dtype, rules, order: created++ };
}

/** Parameters in print; numbers in full, functions refused. */
function showParams(params: unknown): string {
  if (params === undefined) return "";
  return JSON.stringify(params, (_key, value) => {
    if (typeof value === "function") throw new TypeError("A primitive's parameters must be plain data.");
    return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
  });
}

/**
 * Define a primitive from its name and rules. The rules receive the parameters; the parameters are printed as JSON
 * and tell nodes apart, so they must be plain data.
 */
export function primitive<I extends readonly Tensor[], P = void>(
  name: string,
  rules: (params: P) => Rules<I>,
): Op<I, P> {
  return (params) => {
    const bound = rules(params);
    const printed = showParams(params);
    return (...xs) => {
      // A mapped tuple type is not inferred from Array.map; lengths agree by construction.
      const avals = xs.map((x) => x.aval) as unknown as Each<I, Aval>;
      const at = bound.shape(avals);
      const y: Tensor = node(name, printed, xs, at, {
        // Same reason: the evaluator passes one array for each input.
        reference: (values) => bound.reference(values as unknown as Each<I, Float64Array>, avals, at),
        vjp: (ct) => bound.vjp(ct, xs, y),
        lower: bound.lower,
        composed: bound.composed ? (tensors) => bound.composed!(tensors as unknown as I) : null,
      });
      return y;
    };
  };
}

/** An input of a program, to be filled at run time. */
export function input(at: Aval, name = ""): Tensor {
  return node("input", name, [], at, null);
}

const filled = primitive<[], { value: number; shape: Shape; dtype: DType }>(
  "fill",
  ({ value, shape, dtype }) => ({
    shape: () => aval(shape, dtype),
    reference: (_xs, _avals, out) => new Float64Array(out.shape.reduce((n, d) => n * d, 1)).fill(value),
    vjp: () => [],
    lower: { kind: "elementwise", expr: () => constant(value, scalarType(dtype)) },
  }),
);

/** A tensor with `value` everywhere; costs nothing. */
export function fill(value: number, shape: Shape = [], dtype: DType = "f32"): Tensor {
  return filled({ value, shape, dtype })();
}

/** Throw unless two avals agree, naming both. */
export function requireSame(what: string, x: Aval, y: Aval): void {
  if (showAval(x) !== showAval(y)) {
    throw new ShapeError(`Cannot ${what} ${showAval(x)} and ${showAval(y)}: they must be the same.`);
  }
}
