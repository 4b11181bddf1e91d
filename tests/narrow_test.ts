/** Which values are stored in f16 where products may round their operands, and what that does to the numbers. @module */
import { assert, assertEquals } from "@std/assert";
import { compileTraced } from "../core/compile.ts";
import { gradients } from "../core/diff/mod.ts";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import { aval, fill, input, sizeOf, type Tensor } from "../core/ir/mod.ts";
import type { Device } from "../core/mod.ts";
import type { Plan } from "../core/plan/mod.ts";
import { add, linear, mean, mul, rmsNorm, silu } from "../ops/mod.ts";

/** A feed-forward block with a residual, and the cotangents of its weights. */
function block(): { readonly inputs: Tensor[]; readonly outputs: Tensor[] } {
  const x = input(aval([128, 64]), "x"), scale = input(aval([64]), "scale");
  const gate = input(aval([96, 64]), "gate"),
    up = input(aval([96, 64]), "up"),
    down = input(aval([64, 96]), "down");
  const normed = rmsNorm(x, scale, 1e-5);
  const residual = add(x, linear(mul(silu(linear(normed, gate)), linear(normed, up)), down));
  const result = mean(mul(rmsNorm(residual, scale, 1e-5), residual), { axes: [0, 1] });
  return {
    inputs: [x, scale, gate, up, down],
    outputs: [result, ...gradients([result], [fill(1)], [gate, down])],
  };
}

function planOf(halfProducts: boolean): Plan {
  const { inputs, outputs } = block();
  const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
  return compileTraced({ inputs: ends(inputs), outputs: ends(outputs) }, { halfProducts }).plan;
}

function numbers(n: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31;
  });
}

async function run(device: Device, plan: Plan): Promise<Float64Array[]> {
  const executable = await device.compile(plan);
  const inputs = plan.inputs.map(({ aval: at }, i) => device.upload(numbers(sizeOf(at.shape), i + 1), at));
  const outputs = executable.run(inputs);
  return await Promise.all(outputs.map(async (a) => new Float64Array(await device.download(a))));
}

Deno.test("narrow: operands and results of products are halves, sums of norms and what is given and asked for are not", () => {
  const full = planOf(false), half = planOf(true);
  const types = (plan: Plan): string[] => plan.kernels.flatMap((k) => k.slots.map((s) => s.dtype));
  assertEquals(new Set(types(full)), new Set(["f32"]));
  assert(types(half).includes("f16"));
  for (const { dtype } of [...half.inputs.map((x) => x.aval), ...half.outputs.map((x) => x.aval)]) {
    assertEquals(dtype, "f32");
  }
  const normal = half.kernels.filter(({ body }) => body.form === "row" && body.reduces.length > 0);
  assert(normal.length > 0);
  // The first norm reads the input, the second the residual sum: both in full.
  for (const { slots } of normal) assertEquals(slots[0]!.dtype, "f32");
  const bytes = (plan: Plan): number =>
    plan.buffers.filter((b) => b.role === "temporary").reduce((n, b) => n + b.bytes, 0);
  assert(bytes(half) < 0.8 * bytes(full), `${bytes(half)} of ${bytes(full)} bytes`);
});

async function requireNear(device: Device): Promise<void> {
  const want = await run(device, planOf(false)), got = await run(device, planOf(true));
  want.forEach((values, i) => {
    const largest = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    values.forEach((v, j) => {
      const off = Math.abs(v - got[i]![j]!);
      assert(off <= 3e-3 * largest, `output ${i}[${j}] is ${got[i]![j]} in halves and ${v} in full`);
    });
  });
}

Deno.test("narrow: the numbers are near those in full, on the CPU", async () => {
  const device = await openCpu({ threads: 1 });
  await requireNear(device);
  await device.close();
});

const gpu = await openGpu({ software: true });
Deno.test({
  name: "narrow: the numbers are near those in full, on the GPU",
  ignore: gpu === null,
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () => requireNear(gpu!),
});
