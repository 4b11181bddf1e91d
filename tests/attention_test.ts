/** Attention's kernels: what planning makes of the parts, and their numbers by the interpreter. @module */
import { assert, assertEquals } from "@std/assert";
import { evaluateProgram } from "../core/eval/mod.ts";
import type { Compiled } from "../core/compile.ts";
import { linearise } from "../core/ir/mod.ts";
import { interpretPlan, makePlan } from "../core/plan/mod.ts";
import { attentionCases, graphOf, numbersOf, stepOf } from "./attention_cases.ts";
import { requireClose } from "./check_primitive.ts";

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
        assertEquals(own, halfProducts ? (maxSlots === 8 && of.segment ? 4 : 3) : 0);
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

for (const packed of [false, true]) {
  Deno.test(`attention: a step of training means the same with its kernels, rows ${packed ? "packed" : "plain"}`, () => {
    const own = stepOf(true, packed), composed = stepOf(false, packed), numbers = numbersOf(own);
    const found = [own, composed].map(({ plan }) => interpretPlan(plan, numbers.map((v) => v.slice())));
    const expected = evaluateProgram(own.program, numbers);
    for (const outputs of found) {
      expected.forEach((y, i) => requireClose(own.outputs[i]!, outputs[i]!, y, 1e-7));
    }
    const count = ({ plan }: Compiled) =>
      plan.steps.filter((s) => plan.kernels[s.kernel]!.body.form === "attention").length;
    assertEquals([count(own), count(composed)], [6, 0]);
  });
}
