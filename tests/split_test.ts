/** Deep products that are cut along their inner axis: what is cut, and that the numbers stay. @module */
import { assert, assertEquals } from "@std/assert";
import { evaluateProgram } from "../core/eval/mod.ts";
import { aval, input, linearise, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { interpretPlan, makePlan, type Plan } from "../core/plan/mod.ts";
import { add, dotGeneral, mul, reshape, silu, transpose } from "../ops/mod.ts";

const split = { workgroups: 8, least: 64 };

function check(inputs: readonly Tensor[], y: Tensor): Plan {
  const program = linearise(inputs, [y]), plan = makePlan(program, { maxSlots: 8, split });
  const values = inputs.map((x, i) =>
    Float64Array.from({ length: sizeOf(x.shape) }, (_, j) => Math.fround(Math.sin(j * (i + 1)) / 8))
  );
  const [want] = evaluateProgram(program, values), [got] = interpretPlan(plan, values.map((v) => v.slice()));
  const largest = want!.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  want!.forEach((v, i) =>
    assert(Math.abs(v - got![i]!) <= 1e-5 * largest, `element ${i}: ${got![i]}, not ${v}`)
  );
  return plan;
}

function batches(plan: Plan): number[] {
  return plan.kernels.flatMap(({ body }) =>
    body.form === "contract" ? [body.batch.reduce((n, v) => n * v.extent, 1)] : []
  );
}

Deno.test("split: a deep product of few tiles is cut, and what follows it is done after the parts are added", () => {
  const x = input(aval([130, 128]), "x"),
    w = input(aval([128, 128]), "w"),
    r = input(aval([130, 128]), "r");
  const y = dotGeneral(x, w, { batch: [[], []], inner: [[1], [1]] });
  const plan = check([x, w, r], add(silu(y), mul(r, y)));
  // Two tiles of 128 rows, parts of at least 64 steps.
  assertEquals(batches(plan), [2]);
  assertEquals(plan.steps.length, 2);
});

Deno.test("split: an inner axis of several is cut along its first; transposed operands stay as they are", () => {
  const x = input(aval([4, 64, 128]), "x"), w = input(aval([4, 64, 128]), "w");
  const plan = check([x, w], dotGeneral(x, w, { batch: [[], []], inner: [[0, 1], [0, 1]] }));
  assertEquals(batches(plan), [4]);
  const flat = input(aval([256, 128]), "x");
  const again = check(
    [flat],
    dotGeneral(transpose(flat), reshape(flat, [256, 128]), { batch: [[], []], inner: [[1], [0]] }),
  );
  assertEquals(batches(again), [4]);
});

Deno.test("split: products of many tiles, shallow ones and small ones stay whole", () => {
  for (const [m, k, n] of [[512, 128, 256], [128, 64, 128], [64, 512, 128]] as const) {
    const x = input(aval([m, k]), "x"), w = input(aval([k, n]), "w");
    const plan = makePlan(linearise([x, w], [dotGeneral(x, w, { batch: [[], []], inner: [[1], [0]] })]), {
      maxSlots: 8,
      split,
    });
    assertEquals(batches(plan), [1], `${m} × ${k} × ${n}`);
  }
});
