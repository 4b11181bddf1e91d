/** Minimisation of small functions on a device. @module */
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { evaluate, fill, ShapeError, type Tensor } from "../core/mod.ts";
import { add, iota, log, mul, square, sub, sum } from "../ops/mod.ts";
import { minimise } from "../train/minimise.ts";

const device = await openCpu({ threads: 1 });

function total(x: Tensor): Tensor {
  return sum(x, { axes: x.shape.map((_, i) => i) });
}

Deno.test("minimise: a quadratic of a tree of tensors finds its minimum", async () => {
  const goal = iota([2, 3], 1, "f32");
  const start = { x: fill(0, [2, 3]), more: [fill(5, [4]), fill(1, [4])] as const };
  const loss = ({ x, more: [y, z] }: typeof start): Tensor =>
    add(total(square(sub(x, goal))), total(add(square(sub(y, 2)), mul(square(z), 0.5))));
  const { losses, params, values } = await minimise(device, loss, start, { steps: 400, rate: 0.05 });
  assertEquals(losses.length, 400);
  assertAlmostEquals(losses[0]!, 10 + 4 * (9 + 0.5), 1e-4);
  assert(losses.at(-1)! < 1e-4, `the loss ended at ${losses.at(-1)}.`);
  const [x, y, end] = evaluate([params.x, params.more[0], loss(params)], values);
  x!.forEach((v, i) => assertAlmostEquals(v, i % 3, 1e-2));
  y!.forEach((v) => assertAlmostEquals(v, 2, 1e-2));
  assert(end![0]! < 1e-4);
});

Deno.test("minimise: memory is given back", async () => {
  const before = device.memory().bytes;
  await minimise(device, (x: Tensor) => total(square(x)), fill(1, [10]), { steps: 3, rate: 0.1 });
  assertEquals(device.memory().bytes, before);
});

Deno.test("minimise: a loss that is no scalar, or no number, is refused", async () => {
  const start = fill(1, [3]);
  await assertRejects(
    () => minimise(device, (x: Tensor) => square(x), start, { steps: 1, rate: 0.1 }),
    ShapeError,
  );
  const diverging = minimise(device, (x: Tensor) => total(log(x)), start, { steps: 50, rate: 0.5 });
  await assertRejects(() => diverging, RangeError, "use a lower rate");
});
