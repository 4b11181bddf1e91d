/** Every row of the op table, with its pullback, on each target of this machine: f32 against the float64 reference. @module */
import { assert, assertEquals } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import {
  type Aval,
  aval,
  type Device,
  evaluate,
  type HostArray,
  input,
  linearise,
  makePlan,
  sizeOf,
  type Tensor,
} from "../core/mod.ts";
import { add, mul, slice } from "../ops/mod.ts";
import { evaluateGraph, type Graph, largest, pullbackGraph, requireClose } from "./check_primitive.ts";
import { difference, numbersOf } from "./matrix.ts";
import { runOnce } from "./run_once.ts";
import { noise, type OpRow, opRows, valuesOf } from "./op_rows.ts";

/** Largest error relative to an output's largest number: some tens of roundings of f32. */
const TOLERANCE = 1e-5;

/** Numbers as they lie in memory. */
function encode(numbers: Float64Array, { dtype }: Aval): HostArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(numbers);
    case "i32":
      return new Int32Array(numbers);
    case "u32":
    case "bool":
      return new Uint32Array(numbers);
    case "f16":
      return new Uint16Array(new Float16Array(numbers).buffer);
    case "bf16":
      return Uint16Array.from(new Uint32Array(new Float32Array(numbers).buffer), (bits) => bits >>> 16);
  }
}

/** A row and its pullback as one graph, with numbers for its inputs. */
function graphOf(row: OpRow): { readonly graph: Graph; readonly values: readonly Float64Array[] } {
  const inputs = row.inputs.map((a, i) => input(a, `x${i}`));
  const forward: Graph = { inputs, outputs: [row.f(...inputs)] };
  if (row.order === 0) return { graph: forward, values: valuesOf(row) };
  const pullback = pullbackGraph(forward);
  const random = noise(7);
  const cts = pullback.inputs.slice(inputs.length).map((ct) =>
    Float64Array.from({ length: sizeOf(ct.shape) }, random)
  );
  return {
    graph: { inputs: pullback.inputs, outputs: [...forward.outputs, ...pullback.outputs] },
    values: [...valuesOf(row), ...cts],
  };
}

async function checkOn(device: Device, row: OpRow): Promise<void> {
  const { graph: { inputs, outputs }, values } = graphOf(row);
  const plan = makePlan(linearise(inputs, outputs), { maxSlots: device.capabilities.maxSlots });
  const executable = await device.compile(plan);
  const arrays = inputs.map((x, i) => device.upload(encode(values[i]!, x.aval), x.aval));
  const found = await Promise.all(
    executable.run(arrays).map(async (y) => new Float64Array(await device.download(y))),
  );
  arrays.forEach((array) => device.free(array));
  executable.dispose();
  evaluateGraph({ inputs, outputs }, values).forEach((expected, i) => {
    const name = `${row.name}, output ${i}`;
    // Where everything cancels, what is left is as small as rounding of what came in.
    const least = largest(expected) > 0 ? 0 : Math.max(...values.map(largest));
    if (outputs[i]!.dtype === "f32") requireClose(name, found[i]!, expected, TOLERANCE, least);
    else assertEquals(found[i], expected, name);
  });
}

async function checkAllOn(device: Device): Promise<void> {
  const wrong: string[] = [];
  for (const row of opRows) {
    await checkOn(device, row).catch((error: unknown) =>
      wrong.push(`${row.name}: ${error instanceof Error ? error.message : error}`)
    );
  }
  await device.close();
  assert(wrong.length === 0, `${wrong.length} of ${opRows.length} rows:\n${wrong.join("\n")}`);
}

Deno.test("every op on the CPU target", async () => checkAllOn(await openCpu({ threads: 2 })));

const gpu = await openGpu({ software: true });
if (!gpu && Deno.env.get("GYRE_REQUIRE_GPU") === "1") {
  throw new Error("GYRE_REQUIRE_GPU is 1 and there is no WebGPU adapter.");
}
if (!gpu) console.log("Skipped on the GPU: there is no WebGPU adapter.");

Deno.test({
  name: "every op on the GPU target",
  ignore: gpu === null,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: () => checkAllOn(gpu!),
});

Deno.test("parts of one buffer that lie in one another are read whole, on every target", async () => {
  const x = input(aval([3, 4, 128]), "x");
  const row = (i: number): Tensor => slice(x, { start: [0, i, 0], stop: [3, i + 1, 128] });
  const y = add(add(row(0), mul(row(1), 2)), mul(row(3), 3));
  const given = new Map([[x, numbersOf(sizeOf(x.shape), 3)]]);
  const [expected] = evaluate([y], given);
  const cpu = await openCpu({ threads: 1 });
  assert(difference((await runOnce(cpu, [y], given))[0]!, expected!) < 1e-6);
  await cpu.close();
  const gpu = await openGpu({ software: true });
  if (!gpu) return console.log("skipped on the GPU: there is no WebGPU adapter");
  assert(difference((await runOnce(gpu, [y], given))[0]!, expected!) < 1e-6);
  await gpu.close();
});
