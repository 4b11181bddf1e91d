/** Before fusion: nodes without a kernel of their own on a target become what they are composed of. @module */
import { showAval } from "../ir/aval.ts";
import { linearise, type Node, type Program } from "../ir/program.ts";
import { input } from "../ir/tensor.ts";

/** Rows and columns of a matrix instruction, and the largest head whose sums stay in registers. */
const SIDE = 16, LARGEST = 128;

/** Whether attention has a kernel of its own: on matrix units, where they divide a head. */
function hasKernel({ nodes }: Program, { rules, inputs }: Node, halfProducts: boolean): boolean {
  if (!halfProducts || rules?.lower.kind !== "attention") return false;
  const [, , t, d] = nodes[inputs[0]!]!.aval.shape, s = nodes[inputs[1]!]!.aval.shape[2];
  return d! % SIDE === 0 && d! <= LARGEST && Math.min(t!, s!) >= SIDE;
}

/**
 * The program with every composed node that has no kernel replaced by its parts: attention everywhere but on matrix units,
 * on which products round to f16. Parts that several nodes have in common, as the weights of an attention and of its
 * derivative, are one; what nothing needs any more is left out.
 */
export function expand(program: Program, halfProducts: boolean): Program {
  const isExpanded = (node: Node): boolean =>
    node.rules !== null && node.rules.composed !== null && !hasKernel(program, node, halfProducts);
  if (!program.nodes.some(isExpanded)) return program;
  const nodes: Node[] = [];
  const known = new Map<string, number>();
  const add = (node: Node, inputs: readonly number[]): number => {
    const key = `${node.op} ${node.params} ${inputs.join()} ${showAval(node.aval)}`;
    const old = node.rules ? known.get(key) : undefined;
    if (old !== undefined) return old;
    const id = nodes.push({ ...node, id: nodes.length, inputs }) - 1;
    known.set(key, id);
    return id;
  };
  const place: number[] = [];
  for (const node of program.nodes) {
    const inputs = node.inputs.map((i) => place[i]!);
    if (!isExpanded(node)) {
      place.push(add(node, inputs));
      continue;
    }
    const xs = node.inputs.map((i) => input(program.nodes[i]!.aval));
    const parts = linearise(xs, [node.rules!.composed!(xs)]);
    const own: number[] = [];
    parts.inputs.forEach((id, i) => (own[id] = inputs[i]!));
    for (const part of parts.nodes) {
      if (part.rules) own[part.id] = add(part, part.inputs.map((i) => own[i]!));
    }
    place.push(own[parts.outputs[0]!]!);
  }
  return withoutUnused({
    nodes,
    inputs: program.inputs.map((i) => place[i]!),
    outputs: program.outputs.map((i) => place[i]!),
  });
}

function withoutUnused({ nodes, inputs, outputs }: Program): Program {
  const needed = new Set(inputs);
  const stack = [...outputs];
  for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
    if (needed.has(id)) continue;
    needed.add(id);
    stack.push(...nodes[id]!.inputs);
  }
  const place = new Map<number, number>();
  const kept = nodes.filter(({ id }) => needed.has(id)).map((node, id): Node => {
    place.set(node.id, id);
    return { ...node, id, inputs: node.inputs.map((i) => place.get(i)!) };
  });
  const at = (id: number): number => place.get(id)!;
  return { nodes: kept, inputs: inputs.map(at), outputs: outputs.map(at) };
}
