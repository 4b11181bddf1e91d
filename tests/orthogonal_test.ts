/** The orthogonal and unitary adapters: their invariants at any size and after training, and what they refuse. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  type Adapter,
  butterfly,
  compose,
  fit,
  type Fitted,
  givens,
  householder,
  type LinearDims,
  siteOf,
  unitary,
  unitaryNote,
} from "../adapters/mod.ts";
import { openCpu } from "../core/cpu/mod.ts";
import { aval, evaluate, fill, input, ShapeError, sizeOf, type Tensor } from "../core/mod.ts";
import { eye, key, mean, normal, square, sub } from "../ops/mod.ts";
import { minimise } from "../train/minimise.ts";
import { compareNorms, sampleOf } from "./check_adapter.ts";
import { difference, numbersOf, singularValues, timesTransposed } from "./matrix.ts";
import { runOnce } from "./run_once.ts";

const device = await openCpu({ threads: 1 });

/** An adapter fitted to sizes that it takes. */
interface Case {
  readonly fitted: Fitted;
  readonly dims: LinearDims;
}

function caseOf<P>(adapter: Adapter<P>, inDim: number): Case {
  const dims = { inDim, outDim: Math.min(3, inDim) };
  return { fitted: fit(adapter, dims), dims };
}

const groups = fc.integer({ min: 1, max: 5 });
const one = fc.oneof(
  fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 12, max: 80 }))
    .map(([pairs, inDim]) => caseOf(householder({ reflections: 2 * pairs }), inDim)),
  fc.tuple(fc.integer({ min: 1, max: 6 }), groups)
    .map(([layers, count]) => caseOf(givens({ layers }), count * 2 ** layers)),
  fc.integer({ min: 4, max: 70 }).map((n) => caseOf(unitary(), 2 * n)),
);
/** More reflections than dimensions: their rounding errors exceed 5e-7·√d, the bound for U·Uᵀ. */
const tiny = fc.integer({ min: 1, max: 3 }).map((n) => caseOf(unitary(), 2 * n));
/** A product of two is of the same kind. */
const several = fc.integer({ min: 1, max: 6 }).map((n) =>
  caseOf(compose(compose(unitary(), householder({ reflections: 4 })), givens({ layers: 2 })), 8 * n)
);
const cases = fc.oneof({ arbitrary: one, weight: 4 }, { arbitrary: several, weight: 1 });
const seeds = fc.integer({ min: 1, max: 1e6 });
const few = { numRuns: 40 };
const all = fc.oneof({ arbitrary: cases, weight: 6 }, { arbitrary: tiny, weight: 1 });

/** x·Uᵀ for rows x. */
function turned({ fitted }: Case, params: readonly Tensor[], x: Tensor): Tensor {
  return fitted.apply(params, (u) => u)(x);
}

/** Random parameters, as inputs with numbers; the rows x are the identity matrix. */
function whole({ fitted, dims }: Case, seed: number) {
  const sample = sampleOf(fitted, dims, seed, 2);
  return { ...sample, rows: eye([dims.inDim, dims.inDim]) };
}

Deno.test("orthogonal adapters: norms and singular values stay at any parameters, in float64 and f32", async () => {
  await fc.assert(
    fc.asyncProperty(all, seeds, async (at, seed) => {
      const { x, w, params, given } = whole(at, seed), { inDim } = at.dims;
      const outputs = [turned(at, params, x), at.fitted.merge(params, w)];
      const exact = evaluate(outputs, given), found = await runOnce(device, outputs, given);
      const expected = singularValues(given.get(w)!, inDim);
      for (const { numbers, most } of [{ numbers: exact, most: 1e-11 }, { numbers: found, most: 1e-5 }]) {
        compareNorms(numbers[0]!, given.get(x)!, inDim, most);
        singularValues(numbers[1]!, inDim).forEach((s, i) =>
          assert(Math.abs(s - expected[i]!) <= most * expected[0]!, `singular value ${i} is ${s}.`)
        );
      }
    }),
    few,
  );
});

Deno.test("orthogonal adapters: U·Uᵀ = I, in float64 and f32; unmerge takes merge back", async () => {
  await fc.assert(
    fc.asyncProperty(cases, seeds, async (at, seed) => {
      const { rows, w, params, given } = whole(at, seed), { inDim } = at.dims;
      const outputs = [turned(at, params, rows), at.fitted.unmerge!(params, at.fitted.merge(params, w))];
      const exact = evaluate(outputs, given), found = await runOnce(device, outputs, given);
      const unit = evaluate([rows])[0]!;
      const most = 5e-7 * Math.sqrt(inDim);
      for (const { numbers, limit } of [{ numbers: exact, limit: 1e-12 }, { numbers: found, limit: most }]) {
        const off = difference(timesTransposed(numbers[0]!, numbers[0]!, inDim), unit);
        assert(
          off <= limit,
          `|U·Uᵀ − I| is ${off} for ${at.fitted.name} on ${inDim}; at most ${limit} is allowed.`,
        );
        const back = difference(numbers[1]!, given.get(w)!);
        assert(back <= 4 * limit, `unmerging is off by ${back}.`);
      }
    }),
    few,
  );
});

Deno.test("orthogonal adapters: the identity at the start, in f32, for any key", async () => {
  await fc.assert(
    fc.asyncProperty(all, seeds, async (at, seed) => {
      const { inDim, outDim } = at.dims;
      const site = siteOf(fill(0, [outDim, inDim])), start = at.fitted.init(key(seed), site);
      const x = input(aval([4, inDim]), "x"), given = new Map([[x, numbersOf(sizeOf(x.shape), seed)]]);
      const [y] = await runOnce(device, [turned(at, start, x)], given);
      const off = difference(y!, given.get(x)!);
      assert(off <= 1e-5, `${at.fitted.name} on ${inDim} starts ${off} away from the identity.`);
    }),
    few,
  );
});

/** Train the turned rows towards others for 200 steps; frozen parameters stay as they start. */
async function train({ fitted, dims }: Case, rate: number) {
  const { inDim } = dims, from = normal(key(1), [8, inDim]), to = normal(key(2), [8, inDim]);
  const start = fitted.init(key(3), siteOf(fill(0, [dims.outDim, inDim])));
  const isTrained = fitted.leaves.map((leaf) => leaf.rate !== "frozen");
  const rotate = (trained: readonly Tensor[]): Tensor => {
    let next = 0;
    return fitted.apply(isTrained.map((is, i) => (is ? trained[next++]! : start[i]!)), (u) => u)(from);
  };
  const loss = (p: readonly Tensor[]): Tensor => mean(square(sub(rotate(p), to)), { axes: [0, 1] });
  const found = await minimise(device, loss, start.filter((_, i) => isTrained[i]), { steps: 200, rate });
  const [rotated, plain] = await runOnce(device, [rotate(found.params), from], found.values);
  return { losses: found.losses, rotated: rotated!, plain: plain! };
}

for (
  const [name, at, rate] of [
    ["householder", caseOf(householder({ reflections: 8 }), 36), 0.05],
    ["givens", caseOf(givens({ layers: 5 }), 64), 0.05],
    ["unitary", caseOf(unitary(), 60), 0.05],
    ["unitary, in blocks", caseOf(unitary(), 44), 0.05],
    ["unitary, two runs of stages", caseOf(unitary(), 2048), 0.02],
    ["unitary ∘ butterfly", caseOf(compose(unitary(), butterfly({ block: 4, factors: 2 })), 32), 0.05],
  ] as const
) {
  Deno.test(`${name}: norms stay after 200 steps of AdamW, in f32`, async () => {
    const { losses, rotated, plain } = await train(at, rate);
    assert(losses.at(-1)! < 0.95 * losses[0]!, `the loss went from ${losses[0]} to ${losses.at(-1)} only.`);
    assert(difference(rotated, plain) > 0.1, "200 steps did not turn anything.");
    compareNorms(rotated, plain, at.dims.inDim, 1e-5);
  });
}

Deno.test("orthogonal adapters: sizes that do not fit are refused, with what does", () => {
  const at = (inDim: number) => ({ inDim, outDim: 4 });
  const refused: readonly (readonly [() => unknown, string])[] = [
    [() => fit(householder({ reflections: 3 }), at(8)), "use an even number from 2 to 8"],
    [() => fit(householder({ reflections: 8 }), at(7)), "use an even number from 2 to 6"],
    [() => fit(givens({ layers: 4 }), at(24)), "24 is not divisible by 2^layers = 16. Use 1 to 3 layers."],
    [() => fit(givens({ layers: 1 }), at(9)), "leave this map out"],
    [() => givens({ layers: 0 }), "whole number of at least 1"],
    [() => fit(unitary(), at(9)), "Cannot pair 9 features"],
  ];
  for (const [call, message] of refused) assertThrows(call, ShapeError, message);
});

Deno.test("unitary says what its Fourier transform leaves unmixed", () => {
  assertEquals(unitaryNote(2 * 960), null);
  assert(unitaryNote(44)!.includes("11 blocks of 2"));
});
