/** Which values get memory of their own before any kernel is built. @module */
import { sizeOf } from "../ir/aval.ts";
import { constant, nodesOf } from "../ir/expr.ts";
import { sameShape } from "../ir/aval.ts";
import type { Node, Program } from "../ir/program.ts";

/** Users of each value, each once. */
export function usersOf({ nodes }: Program): number[][] {
  const users: number[][] = nodes.map(() => []);
  for (const node of nodes) for (const i of new Set(node.inputs)) users[i]!.push(node.id);
  return users;
}

/**
 * Values stored from the start: inputs, outputs, results of kernels that nothing can join, and operands that a
 * contraction's tiles would otherwise compute again and again.
 */
export function initiallyStored(program: Program): Set<number> {
  const { nodes } = program;
  const users = usersOf(program);
  const outputs = new Set(program.outputs);
  const stored = new Set([...program.inputs, ...program.outputs]);
  for (const node of nodes) {
    const lower = node.rules?.lower;
    switch (lower?.kind) {
      case "contract":
        stored.add(epilogueEnd(node, nodes, users, outputs));
        for (const x of node.inputs) storeOperand(x, nodes, stored);
        break;
      case "stages":
      case "stagesGrad":
      case "solve":
      case "scatter":
      case "gather":
        stored.add(node.id);
        break;
      case "pack":
        stored.add(node.id);
        for (const x of node.inputs) stored.add(x);
        break;
      default:
    }
  }
  return stored;
}

/** The last of the elementwise ops that follow a contraction one by one, each the only user of the one before. */
function epilogueEnd(from: Node, nodes: readonly Node[], users: readonly number[][], outputs: ReadonlySet<number>): number {
  let end = from;
  for (;;) {
    const [next, more] = users[end.id]!;
    if (next === undefined || more !== undefined || outputs.has(end.id)) return end.id;
    const user = nodes[next]!;
    if (user.rules?.lower.kind !== "elementwise" || !sameShape(user.aval.shape, from.aval.shape)) return end.id;
    end = user;
  }
}

/** Store the value under an operand's views, unless reading it costs hardly more than a load. */
function storeOperand(id: number, nodes: readonly Node[], stored: Set<number>): void {
  let under = nodes[id]!;
  while (!stored.has(under.id) && under.rules?.lower.kind === "view") under = nodes[under.inputs[0]!]!;
  if (under.rules && !isCheap(under, nodes)) stored.add(under.id);
}

/** One scalar operation on one tensor and single numbers. */
function isCheap(node: Node, nodes: readonly Node[]): boolean {
  const lower = node.rules!.lower;
  if (lower.kind !== "elementwise") return false;
  const large = node.inputs.filter((i) => sizeOf(nodes[i]!.aval.shape) > 1);
  const expr = lower.expr(node.inputs.map(() => constant(0)), node.aval.shape.map(() => constant(0, "i32")));
  const calls = nodesOf([expr]).filter((e) => e.kind === "call");
  const plain = large.every((i) => nodes[i]!.rules === null || nodes[i]!.rules!.lower.kind !== "elementwise");
  return large.length <= 1 && plain && calls.length <= 1 && calls.every((e) => e.kind === "call" && CHEAP.has(e.fn));
}

const CHEAP: ReadonlySet<string> = new Set(["mul", "add", "sub", "neg", "toF32"]);
