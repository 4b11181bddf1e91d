/** Before fusion: copies where a value would otherwise need two places in memory. @module */
import type { Node, Program } from "../ir/program.ts";

/** Output `output` takes the memory of input `input` (places in the program's lists). */
export interface Donation {
  readonly output: number;
  readonly input: number;
}

const copyRules: NonNullable<Node["rules"]> = {
  reference: ([x]) => x!,
  lower: { kind: "elementwise", expr: ([x]) => x! },
  composed: null,
};

/**
 * Insert copies: for parts of a packed value that are inputs, outputs, packed values themselves or packed twice, and
 * for an output that is an input, if it takes over the memory of another or its own is taken over, and for an output
 * that is another output as well: each has memory of its own, since the next plan may update one in place.
 */
export function prepare(program: Program, donations: readonly Donation[]): Program {
  const asked = new Set([...program.inputs, ...program.outputs]);
  const packed = new Set<number>();
  const nodes: Node[] = [];
  const place = new Map<number, number>();
  const push = (node: Omit<Node, "id">): number => nodes.push({ ...node, id: nodes.length }) - 1;
  const copyOf = (id: number): number =>
    push({ op: "copy", params: "", inputs: [id], aval: nodes[id]!.aval, rules: copyRules });
  for (const node of program.nodes) {
    let inputs = node.inputs.map((i) => place.get(i)!);
    if (node.rules?.lower.kind === "pack") {
      inputs = node.inputs.map((i) => {
        const part = program.nodes[i]!;
        const shared = asked.has(i) || packed.has(i) || part.rules?.lower.kind === "pack";
        packed.add(i);
        return shared ? copyOf(place.get(i)!) : place.get(i)!;
      });
    }
    place.set(node.id, push({ ...node, inputs }));
  }
  const outputs = program.outputs.map((id) => place.get(id)!);
  const isInput = new Set(program.inputs);
  const to = new Map(donations.map(({ output, input }) => [output, program.inputs[input]!]));
  const overwritten = new Set(
    [...to].filter(([output, id]) => program.outputs[output] !== id).map(([, id]) => id),
  );
  program.outputs.forEach((id, output) => {
    const moves = to.has(output) && to.get(output) !== id;
    const isRepeated = program.outputs.indexOf(id) !== output;
    if (isRepeated || (isInput.has(id) && (moves || overwritten.has(id)))) {
      outputs[output] = copyOf(place.get(id)!);
    }
  });
  return { nodes, inputs: program.inputs.map((id) => place.get(id)!), outputs };
}
