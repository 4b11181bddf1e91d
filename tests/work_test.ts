/** A kernel's work, counted by hand, and a profile's trace. @module */
import { assertEquals } from "@std/assert";
import { compileTraced } from "../core/compile.ts";
import { aval, input, type Tensor } from "../core/ir/mod.ts";
import { bytesTouched, operationsOf } from "../core/kernel/work.ts";
import type { Plan } from "../core/plan/mod.ts";
import { traceFile } from "../bench/trace.ts";
import { add, gather, matmul, slice, softmax, stages } from "../ops/mod.ts";

function planOf(inputs: readonly Tensor[], output: Tensor): Plan {
  const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
  return compileTraced({ inputs: ends(inputs), outputs: ends([output]) }).plan;
}

const x = input(aval([6, 8]), "x"), y = input(aval([8, 5]), "y"), ids = input(aval([3], "i32"), "ids");
const blocks = input(aval([8 * 4]), "c");

const cases: readonly (readonly [string, readonly Tensor[], Tensor, number, number])[] = [
  ["product", [x, y], matmul(x, y), 2 * 6 * 5 * 8, 4 * (48 + 40 + 30)],
  ["map", [x], add(x, 1), 48, 4 * (48 + 48)],
  ["softmax", [x], softmax(x), 48, 4 * (48 + 48)],
  ["a part", [x], add(slice(x, { start: [2, 0], stop: [4, 8] }), 1), 16, 4 * (16 + 16)],
  ["gather", [x, ids], gather(x, ids), 24, 4 * (24 + 3 + 24)],
  [
    "stages",
    [x, blocks],
    stages(x, blocks, { stages: [{ radix: 4, stride: 1, piece: 1 }] }),
    2 * 6 * 8 * 4,
    4 * (48 + 32 + 48),
  ],
];

for (const [name, inputs, output, operations, bytes] of cases) {
  Deno.test(`work: ${name}`, () => {
    const [kernel, ...others] = planOf(inputs, output).kernels;
    assertEquals([operationsOf(kernel!.body), bytesTouched(kernel!), others.length], [operations, bytes, 0]);
  });
}

Deno.test("a trace has an event for each kernel, in microseconds, with its rates", () => {
  const plan = planOf([x, y], softmax(matmul(x, y)));
  const times = plan.steps.map((_, i) => ({
    kernel: `kernel ${i}`,
    steps: [i],
    start: i * 3e-6,
    seconds: 2e-6,
  }));
  const { traceEvents } = JSON.parse(traceFile(plan, times, "a title")) as {
    traceEvents: { ph: string; name: string; ts: number; dur: number; args: Record<string, unknown> }[];
  };
  assertEquals(traceEvents[0]!.args, { name: "a title" });
  const events = traceEvents.filter((e) => e.ph === "X");
  assertEquals(events.map((e) => [e.name, Math.round(e.ts), Math.round(e.dur)]), [
    ["kernel 0", 0, 2],
    ["kernel 1", 3, 2],
  ]);
  assertEquals(events[0]!.args["GB/s"], Number((4 * (48 + 40 + 30) / 2e-6 / 1e9).toPrecision(4)));
});
