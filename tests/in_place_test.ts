/** Products that update an input in place: planned without a copy, right on every target, edges ragged. */
import { assert, assertEquals } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import {
  aval,
  compileTraced,
  type Device,
  evaluate,
  input,
  interpretPlan,
  sizeOf,
  type Tensor,
} from "../core/mod.ts";
import { add, eq, linear, mul, reshape, where } from "../ops/mod.ts";
import { difference, numbersOf } from "./matrix.ts";

interface Case {
  readonly rows: number;
  readonly cols: number;
  readonly inner: number;
}

const cases: readonly Case[] = [
  { rows: 5, cols: 7, inner: 3 },
  { rows: 64, cols: 64, inner: 32 },
  { rows: 67, cols: 130, inner: 19 },
  { rows: 1, cols: 33, inner: 200 },
  { rows: 129, cols: 6, inner: 1500 },
];

/** total ← first ? x·wᵀ : total + 2·x·wᵀ, in the memory of `total`. */
function update({ rows, cols, inner }: Case) {
  const total = input(aval([rows, cols]), "total"), x = input(aval([rows, inner]), "x");
  const w = input(aval([cols, inner]), "w"), first = input(aval([]), "first");
  const product = linear(x, w);
  const next = where(eq(reshape(first, [1, 1]), 1), product, add(total, mul(product, 2)));
  const given = new Map<Tensor, Float64Array>(
    [total, x, w].map((t, i) => [t, numbersOf(sizeOf(t.shape), 7 + i)]),
  );
  given.set(first, Float64Array.of(0));
  const ends = [...given.keys()].map((leaf) => ({ path: leaf.params, leaf }));
  const { plan } = compileTraced({ inputs: ends, outputs: [{ path: "total", leaf: next }] }, {
    inPlace: [{ output: "total", input: "total" }],
  });
  return { plan, given, next };
}

const needed = Deno.env.get("GYRE_REQUIRE_GPU") === "1";

async function check(device: Device): Promise<void> {
  for (const size of cases) {
    const { plan, given, next } = update(size);
    const executable = await device.compile(plan);
    const arrays = [...given].map(([t, numbers]) => device.upload(new Float32Array(numbers), t.aval));
    // Twice: what the first run wrote is what the second one reads.
    let expected = given.get([...given.keys()][0]!)!;
    for (let run = 0; run < 2; run++) {
      const [out] = executable.run(arrays);
      const values = new Map(given).set([...given.keys()][0]!, expected);
      [expected] = evaluate([next], values) as [Float64Array];
      const off = difference(Float64Array.from(await device.download(out!)), expected);
      assert(off < 1e-4, `${JSON.stringify(size)}, run ${run}: off by ${off}`);
    }
    executable.dispose();
    arrays.forEach((array) => device.free(array));
  }
}

Deno.test("products update in place without a copy, as the interpreter says", () => {
  for (const size of cases) {
    const { plan, given, next } = update(size);
    assertEquals(plan.steps.length, 1);
    assertEquals(plan.buffers.filter((b) => b.role !== "input"), []);
    const [found] = interpretPlan(plan, [...given.values()]);
    assert(difference(found!, evaluate([next], given)[0]!) < 1e-12);
  }
});

Deno.test("an operand of the product itself cannot be its result's memory", () => {
  const x = input(aval([8, 8]), "x"), w = input(aval([8, 8]), "w");
  const { plan } = compileTraced({
    inputs: [x, w].map((leaf) => ({ path: leaf.params, leaf })),
    outputs: [{ path: "x", leaf: add(linear(x, w), x) }],
  }, { inPlace: [{ output: "x", input: "x" }] });
  assertEquals(plan.steps.length, 2);
});

Deno.test("products update in place: CPU", async () => {
  for (const threads of [1, 2]) {
    const device = await openCpu({ threads });
    await check(device);
    await device.close();
  }
});

Deno.test("products update in place: GPU", async () => {
  const gpu = await openGpu({ software: true });
  if (!gpu) {
    assert(!needed, "GYRE_REQUIRE_GPU=1 and there is no WebGPU adapter");
    return console.log("skipped: there is no WebGPU adapter");
  }
  await check(gpu);
  await gpu.close();
});
