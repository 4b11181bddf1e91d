/** Which values get memory of their own before any kernel is built. @module */
import { sameShape, sizeOf } from "../ir/aval.ts";
import { constant, nodesOf } from "../ir/expr.ts";
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
      case "attention":
        stored.add(node.id);
        for (const x of node.inputs) storeOperand(x, nodes, stored);
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
function epilogueEnd(
  from: Node,
  nodes: readonly Node[],
  users: readonly number[][],
  outputs: ReadonlySet<number>,
): number {
  let end = from;
  for (;;) {
    const [next, more] = users[end.id]!;
    if (next === undefined || more !== undefined || outputs.has(end.id)) return end.id;
    const user = nodes[next]!;
    if (user.rules?.lower.kind !== "elementwise" || !sameShape(user.aval.shape, from.aval.shape)) {
      return end.id;
    }
    end = user;
  }
}

/** Store the value under an operand's views and cheap scalar operations: reading through them costs hardly more than a load. */
function storeOperand(id: number, nodes: readonly Node[], stored: Set<number>): void {
  const node = nodes[id]!;
  if (stored.has(id) || !node.rules) return;
  if (node.rules.lower.kind === "view") return storeOperand(node.inputs[0]!, nodes, stored);
  const through = cheapInput(node, nodes);
  if (through === null) stored.add(id);
  else storeOperand(through, nodes, stored);
}

/** The one large input of a single cheap scalar operation on it and on uniform values; null for anything else. */
function cheapInput(node: Node, nodes: readonly Node[]): number | null {
  const lower = node.rules!.lower;
  if (lower.kind !== "elementwise") return null;
  const large = node.inputs.filter((i) => !isUniform(nodes[i]!, nodes));
  const expr = lower.expr(node.inputs.map(() => constant(0)), node.aval.shape.map(() => constant(0, "i32")));
  const calls = nodesOf([expr]).filter((e) => e.kind === "call");
  const cheap = calls.length <= 1 && calls.every((e) => e.kind === "call" && CHEAP.has(e.fn));
  return cheap && large.length === 1 ? large[0]! : null;
}

/** Whether all elements are one number: a constant, a scalar, or a view of one. */
function isUniform(node: Node, nodes: readonly Node[]): boolean {
  if (sizeOf(node.aval.shape) === 1) return true;
  const lower = node.rules?.lower;
  if (lower?.kind === "view") return isUniform(nodes[node.inputs[0]!]!, nodes);
  if (lower?.kind !== "elementwise" || node.inputs.length > 0) return false;
  // An index in the expression shows as this probe.
  const probe = constant(Number.NaN, "i32");
  return !nodesOf([lower.expr([], node.aval.shape.map(() => probe))]).includes(probe);
}

const CHEAP: ReadonlySet<string> = new Set(["mul", "add", "sub", "neg", "toF32"]);
