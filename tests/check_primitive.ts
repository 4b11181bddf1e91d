/**
 * Checks of ops in float64: shapes against the reference, derivatives against central differences, and whatever fusion
 * and planning made of them against the reference. @module
 */
import { assert, assertEquals } from "@std/assert";
import { gradients } from "../core/diff/mod.ts";
import { evaluateProgram } from "../core/eval/mod.ts";
import { type Aval, aval, input, linearise, showAval, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { interpretPlan, makePlan } from "../core/plan/mod.ts";
import { noise, type OpRow, valuesOf } from "./op_rows.ts";

/** A graph: results as a function of inputs. */
export interface Graph {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/** Half the distance of central differences: its error and that of rounding are both near 1e-10. */
const STEP = 1e-5;

/** Largest relative error of a derivative. */
const TOLERANCE = 1e-6;

/** Largest error of a plan against the reference, relative to the largest number. */
const PLAN_TOLERANCE = 1e-9;

/** Bindings of a kernel: WebGPU's guaranteed minimum, and more. */
const SLOT_LIMITS = [8, 16];

/**
 * Check a row: the reference gives as many finite numbers as the shape rule says, and derivatives up to the row's
 * order agree with central differences along one random direction, the derivative of the pullback included. The plans
 * of the row and of its derivatives give the same numbers as the reference, whatever number of buffers a kernel may bind.
 */
export function checkPrimitive(row: OpRow): void {
  const inputs = row.inputs.map((a, i) => input(a, `x${i}`));
  const values = valuesOf(row);
  const y = row.f(...inputs);
  const numbers = evaluateGraph({ inputs, outputs: [y] }, values)[0]!;
  assertEquals(numbers.length, sizeOf(y.shape), `${row.name} has the shape ${showAval(y.aval)}`);
  assert(numbers.every(Number.isFinite), `${row.name} gives numbers`);
  checkPlans(row.name, { inputs, outputs: [y] }, values);
  checkDerivatives(row.name, { inputs, outputs: [y] }, values, row.order ?? 2, noise(7));
}

/** Throw unless a graph's plans, interpreted, agree with the reference. */
export function checkPlans(name: string, { inputs, outputs }: Graph, values: readonly Float64Array[]): void {
  const program = linearise(inputs, outputs);
  const expected = evaluateProgram(program, values);
  for (const maxSlots of SLOT_LIMITS) {
    const plan = makePlan(program, { maxSlots });
    for (const { name: kernel, slots } of plan.kernels) {
      assert(
        slots.length <= maxSlots,
        `${name}: the kernel ${kernel} binds ${slots.length} buffers of ${maxSlots} allowed`,
      );
    }
    const found = interpretPlan(plan, values.map((v) => v.slice()));
    expected.forEach((y, i) =>
      requireClose(`${name}, at most ${maxSlots} buffers, output ${i}`, found[i]!, y, PLAN_TOLERANCE)
    );
  }
}

/** Throw unless numbers agree up to `tolerance` times the largest of them, or times `least` if that is more. */
export function requireClose(
  name: string,
  found: Float64Array,
  expected: Float64Array,
  tolerance: number,
  least = 0,
): void {
  assertEquals(found.length, expected.length, `${name} has ${found.length} numbers`);
  const scale = Math.max(least, largest(expected));
  found.forEach((v, j) => {
    const y = expected[j]!;
    // Written so that NaN fails.
    assert(Math.abs(v - y) <= tolerance * scale || v === y, `${name}[${j}] is ${v}; expected ${y}`);
  });
}

/** The largest absolute value. */
export function largest(of: Float64Array): number {
  return of.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
}

/** Values of a graph's outputs in float64. */
export function evaluateGraph({ inputs, outputs }: Graph, values: readonly Float64Array[]): Float64Array[] {
  return evaluateProgram(linearise(inputs, outputs), values);
}

/** The graph of cotangents of the real inputs, given those inputs and cotangents of the real outputs. */
export function pullbackGraph({ inputs, outputs }: Graph): Graph {
  const reals = outputs.filter((y) => isReal(y.aval));
  const cts = reals.map((y, i) => input(aval(y.shape), `ct${i}`));
  return {
    inputs: [...inputs, ...cts],
    outputs: gradients(reals, cts, inputs.filter((x) => isReal(x.aval))),
  };
}

function checkDerivatives(
  name: string,
  graph: Graph,
  values: readonly Float64Array[],
  order: number,
  random: () => number,
): void {
  if (order === 0) return;
  const pullback = pullbackGraph(graph);
  const cts = pullback.inputs.slice(graph.inputs.length).map((ct) => fillWith(ct, random));
  const direction = graph.inputs.map((x) =>
    isReal(x.aval) ? fillWith(x, random) : new Float64Array(sizeOf(x.shape))
  );
  const program = linearise(graph.inputs, graph.outputs.filter((y) => isReal(y.aval)));
  const along = (step: number): number => {
    const moved = values.map((x, i) => x.map((v, j) => v + step * direction[i]![j]!));
    return evaluateProgram(program, moved).reduce((total, y, i) => total + dot(y, cts[i]!), 0);
  };
  const expected = (along(STEP) - along(-STEP)) / (2 * STEP);
  const all = [...values, ...cts];
  const found = evaluateGraph(pullback, all);
  const reals = graph.inputs.flatMap((x, i) => isReal(x.aval) ? [direction[i]!] : []);
  const terms = found.map((dx, i) => dot(dx, reals[i]!));
  const actual = terms.reduce((a, b) => a + b, 0);
  // The terms may cancel: an error counts relative to their size.
  const scale = terms.reduce((a, b) => a + Math.abs(b), Math.abs(expected)) + 1e-3;
  assert(
    Math.abs(actual - expected) <= TOLERANCE * scale,
    `${name}: the derivative along a random direction is ${actual}; central differences give ${expected} (${
      order - 1
    } more orders to go)`,
  );
  checkPlans(`${name} with its pullback`, {
    inputs: pullback.inputs,
    outputs: [...graph.outputs, ...pullback.outputs],
  }, all);
  checkDerivatives(`pullback of ${name}`, pullback, all, order - 1, random);
}

function isReal({ dtype }: Aval): boolean {
  return dtype === "f32";
}

function fillWith(x: Tensor, random: () => number): Float64Array {
  return Float64Array.from({ length: sizeOf(x.shape) }, random);
}

function dot(x: Float64Array, y: Float64Array): number {
  return x.reduce((total, v, i) => total + v * y[i]!, 0);
}
