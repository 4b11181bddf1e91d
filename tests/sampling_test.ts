/** Choosing tokens: the graph on a device beside a plain reference that sorts, and what is promised of draws. @module */
import { assert, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import { aval, type Device, type Tensor } from "../core/mod.ts";
import { runnerOf } from "../train/runner.ts";
import { chooseToken, drawAt, tokenAt, tokenWeights } from "../train/sample.ts";

/** Compile `f`, on the CPU unless another device is given, for inputs of these sizes, and use it. */
async function withGraph<K extends string>(
  f: (x: Readonly<Record<K, Tensor>>) => Tensor,
  shapes: Readonly<Record<K, readonly number[]>>,
  use: (run: (x: Readonly<Record<K, readonly number[]>>) => Promise<number[]>) => Promise<void>,
  open: () => Promise<Device> = openCpu,
): Promise<void> {
  const device = await open();
  try {
    const names = Object.keys(shapes) as K[];
    const at = (name: K) => aval(shapes[name], name === "keys" ? "u32" : "f32");
    const avals = Object.fromEntries(names.map((name) => [name, at(name)])) as Record<
      K,
      ReturnType<typeof at>
    >;
    const { run } = await runnerOf(device, (x) => ({ y: f(x as Readonly<Record<K, Tensor>>) }), avals);
    await use(async (x) => {
      const arrays = names.map((name) => {
        const data = name === "keys" ? Uint32Array.from(x[name]) : Float32Array.from(x[name]);
        return [name, device.upload(data, at(name))] as const;
      });
      const y = [...await device.download(run(new Map(arrays)).get("y")!)];
      for (const [, array] of arrays) device.free(array);
      return y;
    });
  } finally {
    await device.close();
  }
}

/** Places of the tokens that are kept, by sorting: all as likely as the k-th, then the likeliest that reach p, with ties. */
function keptBySorting(logits: readonly number[], temperature: number, k: number, p: number): number[] {
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!);
  const kth = logits[order[Math.min(k, order.length) - 1]!]!;
  const likely = order.filter((i) => logits[i]! >= kth);
  const mass = likely.map((i) => Math.exp((logits[i]! - logits[order[0]!]!) / temperature));
  const total = mass.reduce((a, b) => a + b, 0);
  let sum = 0;
  const last = likely.find((_, i) => (sum += mass[i]!) >= p * total) ?? likely.at(-1)!;
  return likely.filter((i) => logits[i]! >= logits[last]!).sort((a, b) => a - b);
}

function places(weights: readonly number[]): number[] {
  return [...weights.keys()].filter((i) => weights[i]! > 0);
}

/** Logits in steps of 1/64, which f32 holds: few values give many ties, many give few. */
const logit = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc.integer({ min: -1000, max: 1000 }).map((n) => n / 64),
);

for (const vocab of [1, 40, 5000]) {
  Deno.test(`sampling: of ${vocab} tokens the filters keep what sorting keeps`, async () => {
    const shapes = { logits: [2, vocab], temperature: [], topK: [], topP: [] };
    const filters = fc.record({
      temperature: fc.constantFrom(0.5, 1, 2),
      k: fc.integer({ min: 1, max: Math.min(vocab, 60) + 5 }),
      p: fc.constantFrom(0.01, 0.3, 0.77, 0.95, 0.9999),
      logits: fc.array(logit, { minLength: Math.min(80, 2 * vocab), maxLength: 2 * vocab }),
    });
    await withGraph(
      ({ logits, temperature, topK, topP }) => tokenWeights(logits, { temperature, topK, topP }),
      shapes,
      async (run) => {
        await fc.assert(
          fc.asyncProperty(filters, async ({ temperature, k, p, logits }) => {
            const all = Array.from({ length: 2 * vocab }, (_, i) => logits[(i * 7) % logits.length]!);
            const weights = await run({ logits: all, temperature: [temperature], topK: [k], topP: [p] });
            for (const row of [0, 1]) {
              const own = all.slice(row * vocab, (row + 1) * vocab);
              const found = places(weights.slice(row * vocab, (row + 1) * vocab));
              // Where the mass is p but for rounding, both sides are right.
              const [least, most] = [-1, 1].map((side) =>
                keptBySorting(own, temperature, k, p + side * 1e-5)
              );
              assert(least!.every((i) => found.includes(i)), `${found} lacks some of ${least}`);
              assert(found.every((i) => most!.includes(i)), `${found} has more than ${most}`);
            }
          }),
          { numRuns: vocab > 1000 ? 20 : 100 },
        );
      },
    );
  });
}

Deno.test("sampling: the k likeliest alone, k of the vocabulary and more, and weights in proportion", async () => {
  const logits = [2, 1, 1, 0, -3, -200];
  await withGraph(
    ({ logits, temperature, topK }) => tokenWeights(logits, { temperature, topK }),
    { logits: [1, 6], temperature: [], topK: [] },
    async (run) => {
      const kept = async (k: number) => places(await run({ logits, temperature: [1], topK: [k] }));
      assertEquals(await kept(1), [0]);
      assertEquals(await kept(2), [0, 1, 2]);
      assertEquals(await kept(4), [0, 1, 2, 3]);
      // The last token's probability is 0 in f32.
      assertEquals([await kept(6), await kept(1000)], [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]);
      const weights = await run({ logits, temperature: [2], topK: [6] });
      weights.forEach((w, i) => assert(Math.abs(w - Math.exp((logits[i]! - 2) / 2)) < 1e-6, `${w} at ${i}`));
    },
  );
});

Deno.test("sampling: the token is where the running sum passes the draw, and always one with a weight", async () => {
  const vocab = 13;
  const row = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 64 })), {
    minLength: vocab,
    maxLength: vocab,
  }).filter((w) => w.some((x) => x > 0));
  await withGraph(
    ({ weights, at }) => tokenAt(weights, at),
    { weights: [1, vocab], at: [1] },
    async (run) => {
      await fc.assert(
        fc.asyncProperty(row, fc.integer({ min: 0, max: 2 ** 10 - 1 }), async (weights, n) => {
          const at = n / 2 ** 10, total = weights.reduce((a, b) => a + b, 0);
          let sum = 0;
          const expected = weights.findIndex((w) => (sum += w) > at * total);
          assertEquals(await run({ weights, at: [at] }), [expected]);
        }),
      );
      assertEquals(await run({ weights: weightsEnding(vocab), at: [1 - 2 ** -23] }), [vocab - 3]);
    },
  );
});

/** Weights of which the last two are 0. */
function weightsEnding(vocab: number): number[] {
  return Array.from({ length: vocab }, (_, i) => i < vocab - 2 ? 1 / 3 : 0);
}

Deno.test("sampling: draws are even, and differ by key and position", async () => {
  const rows = 4096;
  const keys = Array.from({ length: 2 * rows }, (_, i) => i * 2654435761 >>> 0);
  await withGraph(
    ({ keys, position }) => drawAt(keys, position),
    { keys: [rows, 2], position: [] },
    async (run) => {
      const [first, second] = [await run({ keys, position: [3] }), await run({ keys, position: [4] })];
      assertEquals(await run({ keys, position: [3] }), first);
      for (const draws of [first, second]) {
        assert(draws.every((u) => u >= 0 && u < 1));
        const counts = Array.from(
          { length: 16 },
          (_, b) => draws.filter((u) => Math.floor(16 * u) === b).length,
        );
        const chi = counts.reduce((sum, n) => sum + (n - rows / 16) ** 2 / (rows / 16), 0);
        // 15 degrees of freedom: above 37.7 once in a thousand.
        assert(chi < 37.7, `χ² is ${chi}`);
      }
      assert(first.filter((u, i) => u === second[i]).length < 3);
    },
  );
});

Deno.test("sampling: tokens come as often as their probabilities say", async () => {
  const rows = 4000, logits = [1, 0, -1, 0.5, -9];
  await withGraph(
    ({ logits, temperature, topP, keys, position }) =>
      chooseToken(logits, { temperature, topP, keys }, position),
    { logits: [rows, 5], temperature: [], topP: [], keys: [rows, 2], position: [] },
    async (run) => {
      const keys = Array.from({ length: 2 * rows }, (_, i) => i);
      const chosen = await run({
        logits: Array.from({ length: rows }, () => logits).flat(),
        temperature: [0.7],
        topP: [0.99],
        keys,
        position: [11],
      });
      const kept = keptBySorting(logits, 0.7, 5, 0.99);
      const mass = logits.map((l, i) => kept.includes(i) ? Math.exp(l / 0.7) : 0);
      const total = mass.reduce((a, b) => a + b, 0);
      mass.forEach((m, i) => {
        const p = m / total, share = chosen.filter((c) => c === i).length / rows;
        assert(
          Math.abs(share - p) <= 4 * Math.sqrt(p * (1 - p) / rows),
          `token ${i}: ${share}, expected ${p}`,
        );
      });
    },
  );
});

const gpu = await openGpu({ software: true, provider: "deno" });
Deno.test({
  name: "sampling: a GPU chooses the tokens that the CPU chooses",
  ignore: gpu === null,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const vocab = 300, rows = 4;
    const shapes = {
      logits: [rows, vocab],
      temperature: [],
      topK: [],
      topP: [],
      keys: [rows, 2],
      position: [],
    };
    // Whole numbers and their halves: no sum of weights is near a bound by rounding alone.
    const logits = Array.from({ length: rows * vocab }, (_, i) => ((i * 7919) % 31 - 15) / 2);
    const on = async (open: () => Promise<Device>): Promise<number[][]> => {
      const found: number[][] = [];
      await withGraph(
        ({ logits, temperature, topK, topP, keys, position }) =>
          chooseToken(logits, { temperature, topK, topP, keys }, position),
        shapes,
        async (run) => {
          for (let position = 0; position < 12; position++) {
            const keys = Array.from({ length: 2 * rows }, (_, i) => 1000 + i);
            const x = { logits, temperature: [0.9], topK: [120], topP: [0.95], keys, position: [position] };
            found.push(await run(x));
          }
        },
        open,
      );
      return found;
    };
    const cpu = await on(openCpu);
    assert(new Set(cpu.flat()).size > 12);
    assertEquals(await on(() => Promise.resolve(gpu!)), cpu);
  },
});
