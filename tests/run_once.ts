/** Run a graph once on a device. @module */
import { compileTraced, type Device, type Tensor } from "../core/mod.ts";

/** Values of `outputs` as the device computes them in f32, given the numbers of the graph's inputs, which are f32. */
export async function runOnce(
  device: Device,
  outputs: readonly Tensor[],
  given: ReadonlyMap<Tensor, Float64Array>,
): Promise<Float64Array[]> {
  const ends = (list: Iterable<Tensor>) => [...list].map((leaf, i) => ({ path: String(i), leaf }));
  const { plan } = compileTraced(
    { inputs: ends(given.keys()), outputs: ends(outputs) },
    { maxSlots: device.capabilities.maxSlots },
  );
  const executable = await device.compile(plan);
  const inputs = [...given].map(([leaf, numbers]) => device.upload(new Float32Array(numbers), leaf.aval));
  const results = executable.run(inputs);
  const numbers = await Promise.all(
    results.map(async (array) => new Float64Array(await device.download(array))),
  );
  inputs.forEach((array) => device.free(array));
  executable.dispose();
  return numbers;
}
