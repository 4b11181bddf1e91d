/** Oracle 1: what the numbers should be. Programs evaluated in float64 by each op's own reference. @module */
import { sizeOf } from "../ir/aval.ts";
import { linearise, type Program } from "../ir/program.ts";
import type { Tensor } from "../ir/tensor.ts";

/** Outputs of a program in float64; `inputs` in the program's order, each with as many numbers as its aval. */
export function evaluateProgram(program: Program, inputs: readonly Float64Array[]): Float64Array[] {
  const values: Float64Array[] = [];
  program.inputs.forEach((id, i) => {
    const expected = sizeOf(program.nodes[id]!.aval.shape), found = inputs[i]?.length;
    if (found !== expected) throw new RangeError(`Input ${i} needs ${expected} numbers; it got ${found}.`);
    values[id] = inputs[i]!;
  });
  for (const { id, rules, inputs: ins, aval: { shape }, op } of program.nodes) {
    if (!rules) continue;
    const value = rules.reference(ins.map((i) => values[i]!));
    if (value.length !== sizeOf(shape)) {
      throw new Error(`The reference of ${op} gave ${value.length} numbers for shape [${shape.join(",")}].`);
    }
    values[id] = value;
  }
  return program.outputs.map((id) => values[id]!);
}

/** Values of `outputs` in float64, given the numbers of the graph's inputs. */
export function evaluate(
  outputs: readonly Tensor[],
  given: ReadonlyMap<Tensor, Float64Array> = new Map(),
): Float64Array[] {
  return evaluateProgram(linearise([...given.keys()], outputs), [...given.values()]);
}
