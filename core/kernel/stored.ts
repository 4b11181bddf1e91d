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
  const users = usersOf(program), before = contractionsBefore(nodes);
  const outputs = new Set(program.outputs);
  const stored = new Set([...program.inputs, ...program.outputs]);
  for (const node of nodes) {
    const lower = node.rules?.lower;
    switch (lower?.kind) {
      case "contract":
        stored.add(epilogueEnd(node, nodes, users, outputs, before));
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
        if (isFarSum(node, nodes, users, before)) stored.add(node.id);
    }
  }
  return stored;
}

/**
 * Whether a value is the sum of two that nothing else needs, and is needed much later itself: stored, it takes half of
 * what they would take until then.
 */
function isFarSum(
  { id, op, inputs, aval }: Node,
  nodes: readonly Node[],
  users: readonly number[][],
  before: readonly number[],
): boolean {
  return op === "add" && users[id]!.every((u) => isFar(before, id, u)) &&
    inputs.every((i) => users[i]!.length === 1 && sameShape(nodes[i]!.aval.shape, aval.shape));
}

/**
 * Contractions between a value and the op that takes it, from which on that is far away: a sum over the parts of a batch
 * would keep what it is made of for all parts until the last one's is there.
 */
const FAR = 32;

/** How many contractions there are before each value. */
export function contractionsBefore(nodes: readonly Node[]): number[] {
  let count = 0;
  return nodes.map((node) => node.rules?.lower.kind === "contract" ? count++ : count);
}

/** Whether so much is between two values that what one of them is made of should not wait for the other. */
export function isFar(before: readonly number[], one: number, other: number): boolean {
  return Math.abs(before[other]! - before[one]!) > FAR;
}

/**
 * The last of the elementwise ops that follow a contraction one by one, each the only user of the one before and not long
 * after it.
 */
function epilogueEnd(
  from: Node,
  nodes: readonly Node[],
  users: readonly number[][],
  outputs: ReadonlySet<number>,
  before: readonly number[],
): number {
  let end = from;
  for (;;) {
    const [next, more] = users[end.id]!;
    if (next === undefined || more !== undefined || outputs.has(end.id)) return end.id;
    const user = nodes[next]!;
    if (user.rules?.lower.kind !== "elementwise" || !sameShape(user.aval.shape, from.aval.shape)) {
      return end.id;
    }
    if (isFar(before, end.id, next)) return end.id;
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
