/** Mixing by gradient norms: what λ is, and what it does to a step. @module */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Adapter, butterfly, gradNormShare, hybrid, lowRank, mix, on, place } from "../adapters/mod.ts";
import { evaluate, fill, input, sizeOf, type Tensor } from "../core/mod.ts";
import { aval } from "../core/mod.ts";
import { arenaAval, classesOf, type ShapeClass } from "../train/arena.ts";
import {
  addDecayedWeights,
  chain,
  clipByGlobalNorm,
  lambdaKey,
  mixBranches,
  type Optimiser,
  scaleByAdam,
  scaleByRate,
} from "../train/optimiser.ts";
import { numbersOf } from "./matrix.ts";

const lora = lowRank({ rank: 3, alpha: 6 }), boft = butterfly({ block: 4, factors: 2 });
const options = { rank: 3, alpha: 6, block: 4, factors: 2 };

/** One class with two members. */
function classOf<P>(adapter: Adapter<P>): ShapeClass {
  const modules = ["a.q_proj", "b.q_proj"].map((path) => ({ path, inDim: 16, outDim: 8 }));
  return classesOf(place(modules, [on("all-linear", adapter)]))[0]!;
}

/** Numbers of each arena: leaf `path`, scaled by `scale(branch)`. Rows end in zeros, as packed gradients do. */
function gradientsOf(
  of: ShapeClass,
  scale: (branch: number) => number,
  seedOf = (path: string): string => path,
): Map<string, Float64Array> {
  return new Map(of.leaves.map((leaf) => {
    const size = sizeOf(leaf.aval.shape);
    const seed = [...seedOf(leaf.path)].reduce((n, c) => 31 * n + c.charCodeAt(0), 7);
    const numbers = new Float64Array(of.members.length * leaf.slot);
    of.members.forEach((_, row) =>
      numbers.set(numbersOf(size, seed + row).map((g) => g * scale(Number(leaf.path[0]))), row * leaf.slot)
    );
    return [leaf.key, numbers];
  }));
}

interface Outcome {
  readonly updates: ReadonlyMap<string, Float64Array>;
  readonly state: ReadonlyMap<string, Float64Array>;
}

/** One update in float64. */
function updateOnce(
  optimiser: Optimiser,
  of: ShapeClass,
  grads: ReadonlyMap<string, Float64Array>,
  state: ReadonlyMap<string, Float64Array>,
): Outcome {
  const given = new Map<Tensor, Float64Array>();
  const arenas = (numbers: ReadonlyMap<string, Float64Array>): Record<string, Tensor> =>
    Object.fromEntries(of.leaves.map((leaf) => {
      const t = input(arenaAval(of, leaf), leaf.key);
      given.set(t, numbers.get(leaf.key)!);
      return [leaf.key, t];
    }));
  const spec = Object.entries(optimiser.state([of]));
  const old = Object.fromEntries(spec.map(([name, s]) => {
    const t = input(s.aval, name);
    given.set(t, state.get(name) ?? new Float64Array(sizeOf(s.aval.shape)).fill(s.initial));
    return [name, t];
  }));
  const g = arenas(grads), params = arenas(gradientsOf(of, () => 1, (path) => `parameter ${path}`));
  const rates = {
    plain: fill(0.01),
    orthogonal: fill(0.002),
    correction1: fill(10),
    correction2: fill(1000),
  };
  const result = optimiser.update(g, old, { classes: [of], params, grads: g, rates });
  const names = [...Object.keys(result.updates), ...Object.keys(result.state)];
  const values = evaluate([...Object.values(result.updates), ...Object.values(result.state)], given);
  const all = names.map((name, i) => [name, values[i]!] as const);
  const count = Object.keys(result.updates).length;
  return { updates: new Map(all.slice(0, count)), state: new Map(all.slice(count)) };
}

/** λ of each branch and member after `steps` updates with the same gradients. */
function lambdas(of: ShapeClass, grads: ReadonlyMap<string, Float64Array>, steps = 1): number[][] {
  let state: ReadonlyMap<string, Float64Array> = new Map();
  for (let i = 0; i < steps; i++) ({ state } = updateOnce(mixBranches(), of, grads, state));
  return Array.from({ length: of.mixing!.branches }, (_, b) => [...state.get(lambdaKey(of, b))!]);
}

const power = fc.double({ min: -12, max: 12, noNaN: true }).map((p) => 10 ** p);
const steps = fc.integer({ min: 1, max: 40 });
const few = { numRuns: 40 };

Deno.test("hybrid: λ starts at one half, stays within its bounds, and both branches' sum to 1", () => {
  const of = classOf(hybrid(options));
  const initial = Object.entries(mixBranches().state([of])).map(([, s]) => s.initial);
  assertEquals(initial, [0.5, 0.5]);
  fc.assert(
    fc.property(power, power, steps, (low, orthogonal, n) => {
      const [a, b] = lambdas(of, gradientsOf(of, (branch) => [low, orthogonal][branch]!), n);
      a!.forEach((l, i) => {
        assert(l >= 0.05 && l <= 0.95, `λ is ${l}`);
        assertAlmostEquals(l + b![i]!, 1, 1e-12);
      });
    }),
    few,
  );
});

Deno.test("hybrid: λ is g_L / (g_L + g_O), norms over the root of the number of parameters", () => {
  const of = classOf(hybrid({ ...options, ema: 0, clamp: [0, 1] }));
  const grads = gradientsOf(of, (branch) => [3, 1][branch]!);
  const norm = (branch: number, row: number): number => {
    const leaves = of.leaves.filter((l) => l.path.startsWith(`${branch}.`));
    const squares = leaves.flatMap((l) =>
      [...grads.get(l.key)!.subarray(row * l.slot, (row + 1) * l.slot)].map((g) => g * g)
    );
    return Math.sqrt(
      squares.reduce((p, q) => p + q, 0) / leaves.reduce((n, l) => n + sizeOf(l.aval.shape), 0),
    );
  };
  lambdas(of, grads)[0]!.forEach((l, row) =>
    assertAlmostEquals(l, norm(0, row) / (norm(0, row) + norm(1, row)), 1e-12)
  );
});

Deno.test("hybrid: swapping the branches gives 1 − λ, scaling both gradients leaves λ", () => {
  const of = classOf(mix([lora, boft], gradNormShare)), swapped = classOf(mix([boft, lora], gradNormShare));
  const other = (path: string): string => `${1 - Number(path[0])}${path.slice(1)}`;
  fc.assert(
    fc.property(power, power, fc.constantFrom(1e-3, 7, 1e4), steps, (low, orthogonal, factor, n) => {
      const scale = (branch: number): number => [low, orthogonal][branch]!;
      const [direct] = lambdas(of, gradientsOf(of, scale), n);
      const [turned] = lambdas(swapped, gradientsOf(swapped, (branch) => scale(1 - branch), other), n);
      const [scaled] = lambdas(of, gradientsOf(of, (branch) => factor * scale(branch)), n);
      direct!.forEach((l, i) => {
        assertAlmostEquals(turned![i]!, 1 - l, 1e-12);
        assertAlmostEquals(scaled![i]!, l, 1e-12);
      });
    }),
    few,
  );
});

Deno.test("hybrid: a branch without gradient leaves all but the clamp to the other; no gradient at all leaves λ", () => {
  const of = classOf(hybrid(options));
  assertEquals(lambdas(of, gradientsOf(of, (branch) => 1 - branch), 60), [[0.95, 0.95], [0.05, 0.05]]);
  assertEquals(lambdas(of, gradientsOf(of, (branch) => branch), 60), [[0.05, 0.05], [0.95, 0.95]]);
  lambdas(of, gradientsOf(of, () => 0), 5).flat().forEach((l) => assertAlmostEquals(l, 0.5, 1e-12));
  const free = classOf(hybrid({ ...options, ema: 0, clamp: [0, 1] }));
  lambdas(free, gradientsOf(free, (branch) => 1 - branch))[0]!.forEach((l) =>
    assertAlmostEquals(l, 1, 1e-12)
  );
});

Deno.test("gradNormShare: shares are not negative and sum to 1 for any number of branches", () => {
  const norms = fc.array(fc.oneof(fc.constant(0), power), { minLength: 1, maxLength: 6 });
  fc.assert(fc.property(norms, (given) => {
    const inputs = given.map((_, i) => input(aval([1]), `g${i}`));
    const shares = evaluate(
      gradNormShare(inputs).slice(),
      new Map(inputs.map((t, i) => [t, Float64Array.of(given[i]!)])),
    );
    shares.forEach(([s]) => assert(s! >= 0, `a share is ${s}`));
    assertAlmostEquals(shares.reduce((total, [s]) => total + s!, 0), 1, 1e-12);
  }));
});

Deno.test("mix: the step of branch i is λ_i times the step without mixing", () => {
  const links = (mixing: readonly Optimiser[]): Optimiser =>
    chain(
      clipByGlobalNorm(1),
      scaleByAdam({ beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }),
      addDecayedWeights(0.1),
      ...mixing,
      scaleByRate(),
    );
  const three = mix([lora, boft, lowRank({ rank: 1, alpha: 2 })], gradNormShare);
  for (const shapeClass of [classOf(hybrid(options)), classOf(three)]) {
    const grads = gradientsOf(shapeClass, (branch) => [1, 20, 0.3][branch]!);
    const mixed = updateOnce(links([mixBranches()]), shapeClass, grads, new Map());
    const plain = updateOnce(links([]), shapeClass, grads, new Map());
    for (const { key, path, slot } of shapeClass.leaves) {
      const lambda = mixed.state.get(lambdaKey(shapeClass, Number(path[0])))!;
      const expected = plain.updates.get(key)!.map((u, i) => u * lambda[Math.floor(i / slot)]!);
      assert(expected.some((u) => Math.abs(u) > 1e-4), `the step of ${path} is zero.`);
      mixed.updates.get(key)!.forEach((u, i) => assertAlmostEquals(u, expected[i]!, 1e-15));
    }
  }
});
