/** Memory of a plan beside the least that it could do with. @module */
import { assert } from "@std/assert";
import { compileTraced } from "../core/compile.ts";
import { gradients } from "../core/diff/mod.ts";
import { aval, fill, input, type Tensor } from "../core/ir/mod.ts";
import type { Plan } from "../core/plan/mod.ts";
import { add, linear, mean, rmsNorm, silu } from "../ops/mod.ts";

/** Blocks of several widths with residuals, and the cotangents of their weights. */
function planOf(overlap: boolean): Plan {
  const x = input(aval([256, 64]), "x"), scale = input(aval([64]), "scale");
  const weights = [96, 512, 160, 1024, 320].flatMap((width, i) => [
    input(aval([width, 64]), `up${i}`),
    input(aval([64, width]), `down${i}`),
  ]);
  let hidden: Tensor = x;
  for (let i = 0; i < weights.length; i += 2) {
    hidden = add(
      hidden,
      linear(silu(linear(rmsNorm(hidden, scale, 1e-5), weights[i]!)), weights[i + 1]!),
    );
  }
  const loss = mean(hidden, { axes: [0, 1] });
  const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
  const outputs = [loss, ...gradients([loss], [fill(1)], weights)];
  return compileTraced({ inputs: ends([x, scale, ...weights]), outputs: ends(outputs) }, { overlap }).plan;
}

/** Bytes of the buffers whose values are needed at one time, at the most. */
function largestLiveSet({ steps, kernels, buffers }: Plan): number {
  const live: number[] = steps.map(() => 0);
  const open = new Map<number, { first: number; last: number; bytes: number }>();
  const close = (buffer: number): void => {
    const value = open.get(buffer);
    if (value) { for (let i = value.first; i <= value.last; i++) live[i]! += value.bytes; }
    open.delete(buffer);
  };
  steps.forEach(({ kernel, slots }, i) =>
    slots.forEach(({ buffer }, slot) => {
      if (buffers[buffer]!.role !== "temporary") return;
      if (kernels[kernel]!.slots[slot]!.access === "write") {
        close(buffer);
        open.set(buffer, { first: i, last: i, bytes: buffers[buffer]!.bytes });
      } else open.get(buffer)!.last = i;
    })
  );
  [...open.keys()].forEach(close);
  return Math.max(...live);
}

Deno.test("memory: temporaries take little more than what is needed at one time", () => {
  const plan = planOf(false);
  const planned = plan.buffers.filter((b) => b.role === "temporary").reduce((n, b) => n + b.bytes, 0);
  const needed = largestLiveSet(plan);
  assert(needed <= planned && planned <= 1.1 * needed, `${planned} bytes where ${needed} are needed`);
});
