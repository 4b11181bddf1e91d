/**
 * Where products may round their operands to f16: which values are also stored in f16. Operands of products lose nothing
 * by it that the product would keep; results of products that only elementwise kernels read lose their last digits.
 * What a norm, a softmax or a loss adds up stays f32, and so do residual sums, which norms read (see `halve_late.ts` for the
 * backward pass). @module
 */
import { sizeOf } from "../ir/aval.ts";
import { type Expr, loadsOf } from "../ir/expr.ts";
import type { Node, Program } from "../ir/program.ts";
import type { Bindings, Draft } from "../kernel/draft.ts";
import { type ContractForm, extentOf } from "../kernel/kernel.ts";

/** Smaller values are not worth it. */
const LEAST = 4096;
/** Rows and columns from which on a product is computed on matrix units. */
const SIDE = 16;
/** Elements between places where a binding may begin, for f16. */
const STEP = 128;

/** What kernels do with a value. */
interface Reads {
  /** As an operand of a product on matrix units. */
  operand: boolean;
  /** In a kernel with a reduction, or where f16 does not reach. */
  exact: boolean;
}

/** Whether a product is one for matrix units; small ones, as those of rotations, are exact. */
function isLarge({ row, col }: ContractForm): boolean {
  return extentOf(row) >= SIDE && extentOf(col) >= SIDE;
}

/** The program with the element types in which its values are to be stored. */
export function narrow(program: Program, drafts: readonly Draft[], bindings: Bindings): Program {
  const reads = new Map<number, Reads>();
  const unmoved = new Set<number>();
  const note = (slot: number, what: keyof Reads | null): void => {
    const { node, base } = bindings.at(slot);
    const all = reads.get(node) ?? { operand: false, exact: false };
    if (what) all[what] = true;
    reads.set(node, all);
    if (base % STEP !== 0) unmoved.add(node);
  };
  const each = (values: readonly Expr[], what: keyof Reads | null): void =>
    loadsOf(values).forEach((l) => note(l.slot, what));
  for (const { body } of drafts) {
    switch (body.form) {
      case "row": {
        const values = [...body.reduces, ...body.rowStores, ...body.stores].map((s) => s.value);
        each(values, body.reduces.length > 0 ? "exact" : null);
        break;
      }
      case "contract":
        each(body.terms.flatMap((t) => [t.left, t.right]), isLarge(body) ? "operand" : "exact");
        each(body.stores.map((s) => s.value), null);
        break;
      case "stages":
        note(body.coefficients, "exact");
        each([body.x, ...body.stores.map((s) => s.value)], null);
        break;
      case "stagesGrad":
        note(body.coefficients, "exact");
        each([body.x, body.ct], null);
        break;
      case "solve":
        each([body.a, body.b, ...body.stores.map((s) => s.value)], "exact");
        break;
      case "scatter":
        each([body.index, body.value], "exact");
        break;
      case "attention": {
        const { q, k, v, back, segments, stores } = body;
        each([q, k, v, ...(back ? [back.ct] : [])], "operand");
        each([...(segments ?? []), ...(back ? [back.logSumExp, back.delta] : [])], "exact");
        each(stores.map((s) => s.value), null);
      }
    }
  }
  // What a rotation reads goes with what it makes: where products round the one, the other may be rounded too.
  for (const { writes, body } of drafts) {
    if (body.form !== "stages" || !writes.every((id) => reads.get(id)?.operand)) continue;
    each([body.x], "operand");
  }
  const kept = new Set([...program.inputs, ...program.outputs, ...unmoved]);
  for (const { rules, inputs } of program.nodes) {
    if (rules?.lower.kind === "pack") { for (const part of inputs) kept.add(part); }
  }
  const chosen = new Set(drafts.flatMap(({ writes, body }) => {
    const isProduct = body.form === "attention" || (body.form === "contract" && isLarge(body));
    if (!isProduct && body.form !== "row" && body.form !== "stages") return [];
    return writes.filter((id) => {
      const { aval: { shape, dtype } } = program.nodes[id]!, read = reads.get(id);
      if (!read || kept.has(id) || dtype !== "f32" || sizeOf(shape) < LEAST) return false;
      return read.operand ? body.form !== "contract" || isProduct : isProduct && !read.exact;
    });
  }));
  const nodes = program.nodes.map((node): Node =>
    chosen.has(node.id) ? { ...node, aval: { ...node.aval, dtype: "f16" } } : node
  );
  return { ...program, nodes };
}
