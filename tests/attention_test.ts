/** Attention's kernels: what planning makes of the parts, and their numbers by the interpreter. @module */
import { assert, assertEquals } from "@std/assert";
import { evaluateProgram } from "../core/eval/mod.ts";
import { input, linearise, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { interpretPlan, makePlan } from "../core/plan/mod.ts";
import { type AttentionCase, attentionCases } from "./attention_cases.ts";
import { pullbackGraph, requireClose } from "./check_primitive.ts";
import { noise } from "./op_rows.ts";

/** The graph of a case's output and cotangents, and numbers for its inputs. */
function graphOf({ inputs, f, fill }: AttentionCase) {
  const xs: Tensor[] = inputs.map((a, i) => input(a, `x${i}`));
  const y = f(xs);
  const back = pullbackGraph({ inputs: xs, outputs: [y] });
  const random = noise(3);
  const numbers = back.inputs.map(({ shape }, k) =>
    Float64Array.from({ length: sizeOf(shape) }, (_, i) => k === 3 && fill ? fill(i) : random())
  );
  return { inputs: back.inputs, outputs: [y, ...back.outputs], numbers };
}

for (const of of attentionCases) {
  Deno.test(`attention: kernels without all scores, ${of.name}`, () => {
    const { inputs, outputs, numbers } = graphOf(of);
    const program = linearise(inputs, outputs);
    const expected = evaluateProgram(program, numbers);
    for (const halfProducts of [true, false]) {
      for (const maxSlots of [8, 16]) {
        const plan = makePlan(program, { maxSlots, halfProducts });
        const forms = plan.steps.map((s) => plan.kernels[s.kernel]!.body.form);
        const own = forms.filter((f) => f === "attention").length;
        // With segments the cotangents of keys and of values need nine buffers together.
        assertEquals(own, halfProducts ? (maxSlots === 8 && of.fill ? 4 : 3) : 0);
        assertEquals(forms.includes("contract"), !halfProducts);
        const found = interpretPlan(plan, numbers.map((v) => v.slice()));
        expected.forEach((y, i) => requireClose(`output ${i}`, found[i]!, y, 1e-9));
      }
    }
  });
}

Deno.test("attention: without a derivative no sums are kept", () => {
  const { inputs, outputs } = graphOf(attentionCases[0]!);
  const plan = makePlan(linearise(inputs.slice(0, 3), [outputs[0]!]), { maxSlots: 8, halfProducts: true });
  assertEquals(plan.steps.length, 1);
  assert(plan.kernels[0]!.body.form === "attention" && plan.kernels[0]!.body.stores.length === 1);
});
