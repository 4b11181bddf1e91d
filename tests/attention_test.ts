/** Attention's kernels: what planning makes of the parts, and their numbers by the interpreter. @module */
import { assert, assertEquals } from "@std/assert";
import { evaluateProgram } from "../core/eval/mod.ts";
import type { Compiled } from "../core/compile.ts";
import { linearise, sizeOf } from "../core/ir/mod.ts";
import { type Capabilities, interpretPlan, makePlan } from "../core/plan/mod.ts";
import { attentionCases, graphOf } from "./attention_cases.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { weightShapes } from "../train/decoder.ts";
import { methodClasses } from "../train/methods.ts";
import { adamW } from "../train/optimiser.ts";
import { llamaShape } from "../train/run_plan/shapes.ts";
import { planStep } from "../train/step_plan.ts";
import { requireClose } from "./check_primitive.ts";
import { noise } from "./op_rows.ts";

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

/** A device with matrix units, or one without. */
function deviceWith(halfProducts: boolean): Capabilities {
  const gpu = {
    provider: "dawn",
    subgroups: true,
    matrix: true,
    halfProducts,
    readBackMs: 1,
    note: null,
  } as const;
  return {
    ...{ kind: "gpu", adapterName: "a device", f16: true, maxSlots: 16, gpu },
    ...{ maxBufferBytes: 2 ** 31, maxTotalBytes: null },
  };
}

for (const packed of [false, true]) {
  Deno.test(`attention: a step of training means the same with its kernels, rows ${packed ? "packed" : "plain"}`, () => {
    const config = { ...llamaShape(48, 2, [3, 1], 32, 40, true), windows: [null, 9] };
    const classes = methodClasses({
      ...DEFAULT_SETTINGS,
      method: "lora",
      rank: 2,
      alpha: 4,
      target: "all-linear",
    }, config);
    const step = (halfProducts: boolean) =>
      planStep({
        ...{
          subject: { config, classes },
          capabilities: deviceWith(halfProducts),
          optimiser: adamW({ clip: 1 }),
        },
        ...{ accumulate: 1, maxLength: 24, batch: { rows: 2, length: 24 }, packed },
        weights: weightShapes(config),
      });
    const own = step(true), composed = step(false), random = noise(5);
    const numbers = own.program.inputs.map((id, k) => {
      const { shape, dtype } = own.program.nodes[id]!.aval, path = own.inputs[k]!;
      return Float64Array.from({ length: sizeOf(shape) }, (_, i) => {
        if (path === "batch.segments") return Math.floor(i % 24 / 10);
        if (path === "batch.positions") return i % 24 % 10;
        if (dtype === "i32") return 3 + i * 7 % 30;
        // Rates and second moments are not negative.
        return /^(optimiser|rates)/.test(path) ? 0.01 * Math.abs(random()) : 0.3 * random();
      });
    });
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
