/** Values that are read much later as halves: which ones, what it saves, and what it does to the numbers. @module */
import { assert, assertEquals } from "@std/assert";
import { compileTraced } from "../core/compile.ts";
import { openCpu } from "../core/cpu/mod.ts";
import { gradients } from "../core/diff/mod.ts";
import { evaluateProgram } from "../core/eval/mod.ts";
import { aval, fill, input, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { add, linear, mean, mul, rmsNorm, silu } from "../ops/mod.ts";

const LAYERS = 4;

/** Blocks with residuals, and the cotangents of their weights. */
function stack(): { readonly inputs: Tensor[]; readonly outputs: Tensor[] } {
  const x = input(aval([128, 64]), "x"), scale = input(aval([64]), "scale");
  const weights = Array.from({ length: LAYERS }, (_, i) => [
    input(aval([512, 64]), `up${i}`),
    input(aval([64, 512]), `down${i}`),
  ]).flat();
  let hidden = x;
  for (let i = 0; i < LAYERS; i++) {
    const normed = rmsNorm(hidden, scale, 1e-5);
    hidden = add(hidden, linear(silu(linear(normed, weights[2 * i]!)), weights[2 * i + 1]!));
  }
  const result = mean(mul(rmsNorm(hidden, scale, 1e-5), hidden), { axes: [0, 1] });
  return {
    inputs: [x, scale, ...weights],
    outputs: [result, ...gradients([result], [fill(1)], weights)],
  };
}

function compiled(halfProducts: boolean) {
  const { inputs, outputs } = stack();
  const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
  const recompute = { from: 4096, apart: 6 };
  return compileTraced({ inputs: ends(inputs), outputs: ends(outputs) }, { halfProducts, recompute });
}

/** Numbers for the inputs; those of x are multiplied by `size`. */
function numbersOf(program: ReturnType<typeof compiled>["program"], size: number): Float64Array[] {
  let state = 7;
  return program.inputs.map((id, place) => {
    const { shape } = program.nodes[id]!.aval;
    return Float64Array.from({ length: sizeOf(shape) }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      return Math.fround(state / 2 ** 31 * (place === 0 ? size : 0.3));
    });
  });
}

async function run(halfProducts: boolean, size: number): Promise<Float64Array[]> {
  const { plan, program } = compiled(halfProducts), device = await openCpu({ threads: 1 });
  const executable = await device.compile(plan);
  const inputs = numbersOf(program, size).map((v, i) =>
    device.upload(new Float32Array(v), plan.inputs[i]!.aval)
  );
  const found = await Promise.all(executable.run(inputs).map((y) => device.download(y)));
  await device.close();
  return found.map((y) => new Float64Array(y as Float32Array));
}

Deno.test("halves for late reads: residual sums are stored twice, in full for the next layer, as halves for the way back", () => {
  const { plan } = compiled(true);
  const twice = plan.steps.filter(({ kernel }) => {
    const written = plan.kernels[kernel]!.slots.filter((s) => s.access !== "read").map((s) => s.dtype);
    return written.includes("f32") && written.includes("f16");
  });
  // The sum of the last layer is read soon, and x is given.
  assertEquals(twice.length, LAYERS - 1);
  assert(compiled(false).plan.kernels.every((k) => k.slots.every((s) => s.dtype === "f32")));
});

Deno.test("halves for late reads: losses and gradients are those of float64 but for the last digits", async () => {
  const { program } = compiled(false);
  const expected = evaluateProgram(program, numbersOf(program, 1));
  const found = await run(true, 1);
  found.forEach((y, i) => {
    const norm = Math.hypot(...expected[i]!), error = Math.hypot(...y.map((v, j) => v - expected[i]![j]!));
    assert(error < 3e-3 * norm, `output ${i}: ${error} of ${norm}`);
  });
});

Deno.test("halves for late reads: sums beyond the range of f16 stay finite", async () => {
  const found = await run(true, 2e5);
  assert(found.every((y) => y.every(Number.isFinite)));
});
