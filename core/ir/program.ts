/** Programs: a graph in a line, each value computed once. @module */
import { type Aval, showAval } from "./aval.ts";
import type { NodeRules, Tensor } from "./tensor.ts";

/** One line of a program. */
export interface Node {
  /** Its place in {@linkcode Program.nodes}. */
  readonly id: number;
  readonly op: string;
  readonly params: string;
  /** Places of its inputs, all smaller than `id`. */
  readonly inputs: readonly number[];
  readonly aval: Aval;
  /** Null for the program's inputs. */
  readonly rules: Pick<NodeRules, "reference" | "lower" | "composed"> | null;
}

/** A straight-line program. */
export interface Program {
  readonly nodes: readonly Node[];
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/**
 * Put the graph of `outputs` in a line, in the order in which it was traced: nodes that no output needs are left out,
 * equal ones (same op, parameters, inputs) become one. Inputs keep their order, used or not.
 */
export function linearise(inputs: readonly Tensor[], outputs: readonly Tensor[]): Program {
  const needed = new Set<Tensor>();
  const stack = [...outputs];
  for (let t = stack.pop(); t; t = stack.pop()) {
    if (needed.has(t)) continue;
    needed.add(t);
    stack.push(...usedInputs(t));
  }
  const nodes: Node[] = [];
  const place = new Map<Tensor, number>();
  const known = new Map<string, number>();
  const add = (t: Tensor, ins: readonly number[]): void => {
    const key = `${t.op} ${t.params} ${ins.join()} ${showAval(t.aval)}`;
    const old = t.rules ? known.get(key) : undefined;
    if (old !== undefined) return void place.set(t, old);
    const id = nodes.length;
    nodes.push({ id, op: t.op, params: t.params, inputs: ins, aval: t.aval, rules: t.rules });
    place.set(t, id);
    known.set(key, id);
  };
  for (const t of inputs) add(t, []);
  for (const t of [...needed].sort((a, b) => a.order - b.order)) {
    if (place.has(t)) continue;
    if (!t.rules) {
      throw new Error(`The program uses an input that it was not given: ${t.params || showAval(t.aval)}.`);
    }
    add(t, usedInputs(t).map((x) => place.get(x)!));
  }
  const at = (t: Tensor): number => place.get(t)!;
  return { nodes, inputs: inputs.map(at), outputs: outputs.map(at) };
}

/** Inputs that the value of `t` depends on: a view reads its first input only. */
function usedInputs(t: Tensor): readonly Tensor[] {
  return t.rules?.lower.kind === "view" ? t.inputs.slice(0, 1) : t.inputs;
}

/** One line a node: `%3 f32[4,8] = add %1 %2`. */
export function showProgram({ nodes, outputs }: Program): string {
  const lines = nodes.map((n) =>
    `%${n.id} ${showAval(n.aval)} = ${
      [n.op + (n.params ? (n.rules ? n.params : `:${n.params}`) : ""), ...n.inputs.map((i) => `%${i}`)].join(
        " ",
      )
    }`
  );
  return [...lines, `return ${outputs.map((i) => `%${i}`).join(" ")}`].join("\n");
}
