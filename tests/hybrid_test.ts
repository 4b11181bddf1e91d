/** Mixing by gradient norms: what λ is, and what it does to a step. @module */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type Adapter,
  butterfly,
  gradNormShare,
  hybrid,
  lowRank,
  mix,
  on,
  place,
  siteOf,
} from "../adapters/mod.ts";
import { key } from "../ops/mod.ts";
import { evaluate, fill, input, sizeOf, type Tensor } from "../core/mod.ts";
import { aval } from "../core/mod.ts";
import { arenaAval, classesOf, type ShapeClass, trainedLeaves } from "../train/arena.ts";
import {
  addDecayedWeights,
  chain,
  clipByGlobalNorm,
  mixBranches,
  type Optimiser,
  scaleByAdam,
  scaleByRate,
} from "../train/optimiser.ts";
import { branchOf, weightsLeaf } from "../train/mixing.ts";
import { numbersOf, singularValues } from "./matrix.ts";

const lora = lowRank({ rank: 3, alpha: 6 }), boft = butterfly({ block: 4, factors: 2 });
const options = { rank: 3, alpha: 6, block: 4, factors: 2, start: "zero" } as const;

/** One class with two members. */
function classOf<P>(adapter: Adapter<P>): ShapeClass {
  const modules = ["a.q_proj", "b.q_proj"].map((path) => ({ path, inDim: 16, outDim: 8 }));
  return classesOf(place(modules, [on("all-linear", adapter)]))[0]!;
}

/** Which branch a leaf of a mix is of. */
const branch = (of: ShapeClass, path: string): number => branchOf(of.mixing[0]!, path)!;

/** Numbers of each trained arena: leaf `path`, scaled by `scale(branch)`. Rows end in zeros, as packed gradients do. */
function gradientsOf(
  of: ShapeClass,
  scale: (branch: number) => number,
  seedOf = (path: string): string => path,
): Map<string, Float64Array> {
  return new Map(
    trainedLeaves(of).map((leaf) => {
      const size = sizeOf(leaf.aval.shape);
      const seed = [...seedOf(leaf.path)].reduce((n, c) => 31 * n + c.charCodeAt(0), 7);
      const numbers = new Float64Array(of.members.length * leaf.slot);
      of.members.forEach((_, row) =>
        numbers.set(numbersOf(size, seed + row).map((g) => g * scale(branch(of, leaf.path))), row * leaf.slot)
      );
      return [leaf.key, numbers];
    }),
  );
}

interface Outcome {
  readonly updates: ReadonlyMap<string, Float64Array>;
  readonly state: ReadonlyMap<string, Float64Array>;
  /** Numbers of the arena of weights. */
  readonly weights: Float64Array | null;
}

/** One update in float64. */
function updateOnce(
  optimiser: Optimiser,
  of: ShapeClass,
  grads: ReadonlyMap<string, Float64Array>,
  state: ReadonlyMap<string, Float64Array>,
  weights: Float64Array | null = null,
): Outcome {
  const given = new Map<Tensor, Float64Array>();
  const arenas = (numbers: ReadonlyMap<string, Float64Array>): Record<string, Tensor> =>
    Object.fromEntries(
      of.leaves.filter((leaf) => numbers.has(leaf.key)).map((leaf) => {
        const t = input(arenaAval(of, leaf), leaf.key);
        given.set(t, numbers.get(leaf.key)!);
        return [leaf.key, t];
      }),
    );
  const spec = Object.entries(optimiser.state([of]));
  const old = Object.fromEntries(spec.map(([name, s]) => {
    const t = input(s.aval, name);
    given.set(t, state.get(name) ?? new Float64Array(sizeOf(s.aval.shape)).fill(s.initial));
    return [name, t];
  }));
  const g = arenas(grads);
  const values = new Map(gradientsOf(of, () => 1, (path) => `parameter ${path}`));
  for (const mixing of of.mixing) {
    const leaf = weightsLeaf(of, mixing), n = mixing.branches.length;
    const start = new Float64Array(of.members.length * leaf.slot);
    of.members.forEach((_, row) => start.fill(1 / n, row * leaf.slot, row * leaf.slot + n));
    values.set(leaf.key, weights ?? start);
  }
  const params = arenas(values);
  const rates = {
    plain: fill(0.01),
    orthogonal: fill(0.002),
    correction1: fill(10),
    correction2: fill(1000),
  };
  const result = optimiser.update(g, old, { classes: [of], params, grads: g, rates });
  const outputs = [result.updates, result.state, result.replaced ?? {}];
  const numbers = evaluate(outputs.flatMap((o) => Object.values(o)), given);
  let next = 0;
  const [updates, after, replaced] = outputs.map((o) =>
    new Map(Object.keys(o).map((name) => [name, numbers[next++]!]))
  ) as [Map<string, Float64Array>, Map<string, Float64Array>, Map<string, Float64Array>];
  return { updates, state: after, weights: [...replaced.values()][0] ?? null };
}

/** The weight of branch `b` for each member. */
function perMember(of: ShapeClass, weights: Float64Array, b: number): number[] {
  const { slot } = weightsLeaf(of, of.mixing[0]!);
  return of.members.map((_, row) => weights[row * slot + b]!);
}

/** λ of each branch and member after `steps` updates with the same gradients. */
function lambdas(of: ShapeClass, grads: ReadonlyMap<string, Float64Array>, steps = 1): number[][] {
  let weights: Float64Array | null = null;
  for (let i = 0; i < steps; i++) ({ weights } = updateOnce(mixBranches(), of, grads, new Map(), weights));
  return of.mixing[0]!.branches.map((_, b) => [...perMember(of, weights!, b)]);
}

const power = fc.double({ min: -12, max: 12, noNaN: true }).map((p) => 10 ** p);
const steps = fc.integer({ min: 1, max: 40 });
const few = { numRuns: 40 };

Deno.test("hybrid: λ starts at one half, stays within its bounds, and both branches' sum to 1", () => {
  const of = classOf(hybrid(options));
  const dims = { inDim: 16, outDim: 8 };
  const start = hybrid(options).init(key(1), siteOf(fill(1, [dims.outDim, dims.inDim])));
  assertEquals([...evaluate([start.weights])[0]!], [0.5, 0.5]);
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
    const leaves = trainedLeaves(of).filter((l) => branchOf(of.mixing[0]!, l.path) === branch);
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
  const other = (path: string): string => path.replace(/\d/, (b) => String(1 - Number(b)));
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
    for (const { key, path, slot } of trainedLeaves(shapeClass)) {
      const lambda = perMember(shapeClass, mixed.weights!, branch(shapeClass, path));
      const expected = plain.updates.get(key)!.map((u, i) => u * lambda[Math.floor(i / slot)]!);
      assert(expected.some((u) => Math.abs(u) > 1e-4), `the step of ${path} is zero.`);
      mixed.updates.get(key)!.forEach((u, i) => assertAlmostEquals(u, expected[i]!, 1e-15));
    }
  }
});

Deno.test("mix: in the layer scope all maps of a layer share the weight that their pooled norms give", () => {
  const layers = [0, 1, 2], maps = [["q_proj", 16, 8], ["o_proj", 16, 8], ["up_proj", 16, 24]] as const;
  const modules = layers.flatMap((i) =>
    maps.map(([name, inDim, outDim]) => ({ path: `model.layers.${i}.${name}`, inDim, outDim }))
  );
  const adapter = hybrid({ ...options, scope: "layer", ema: 0, clamp: [0, 1] });
  const classes = classesOf(place(modules, [on("all-linear", adapter)]));
  assertEquals(classes.map((c) => c.members.length), [6, 3]);
  const given = new Map<Tensor, Float64Array>();
  const squares = new Map<string, number[]>(), counts = [0, 0];
  const arenas = (trained: boolean): Record<string, Tensor> =>
    Object.fromEntries(classes.flatMap((c) =>
      (trained ? trainedLeaves(c) : c.leaves).map((leaf, n) => {
        const size = sizeOf(leaf.aval.shape), t = input(arenaAval(c, leaf), leaf.key);
        const numbers = new Float64Array(c.members.length * leaf.slot);
        c.members.forEach((member, row) => {
          const own = numbersOf(size, 31 * n + row + c.members.length);
          numbers.set(own, row * leaf.slot);
          const layer = member.split(".")[2]!, b = branchOf(c.mixing[0]!, leaf.path);
          if (!trained || b === null) return;
          const sums = squares.get(layer) ?? [0, 0];
          sums[b]! += own.reduce((total, g) => total + g * g, 0);
          squares.set(layer, sums);
          if (layer === "0") counts[b]! += size;
        });
        given.set(t, numbers);
        return [leaf.key, t];
      })
    ));
  const grads = arenas(true), params = arenas(false);
  const rates = { plain: fill(1), orthogonal: fill(1), correction1: fill(1), correction2: fill(1) };
  const { replaced } = mixBranches().update(grads, {}, { classes, params, grads, rates });
  for (const c of classes) {
    const leaf = weightsLeaf(c, c.mixing[0]!);
    const [numbers] = evaluate([replaced![leaf.key]!], given);
    c.members.forEach((member, row) => {
      const [low, orthogonal] = squares.get(member.split(".")[2]!)!.map((s, b) => Math.sqrt(s / counts[b]!));
      assertAlmostEquals(numbers![row * leaf.slot]!, low! / (low! + orthogonal!), 1e-12, member);
    });
  }
});

Deno.test("mix: where λ acts in the forward pass the rule sees norms over λ, so that λ is no fixed point by itself", () => {
  for (const space of ["delta", "generator"] as const) {
    const of = classOf(hybrid({ ...options, space, ema: 0, clamp: [0, 1] }));
    const { slot } = weightsLeaf(of, of.mixing[0]!);
    const weights = new Float64Array(of.members.length * slot);
    of.members.forEach((_, row) => weights.set([0.8, 0.2], row * slot));
    // Gradients of branches at strengths 0.8 and 0.2 whose own gradients have equal norms.
    const even = updateOnce(mixBranches(), of, unitGradients(of, [0.8, 0.2]), new Map(), weights);
    perMember(of, even.weights!, 0).forEach((l) => assertAlmostEquals(l, 0.5, 1e-12));
    // The optimiser's step is not scaled once more.
    const grads = unitGradients(of, [1, 1]);
    const { updates } = updateOnce(mixBranches(), of, grads, new Map(), weights);
    for (const { key: k } of trainedLeaves(of)) assertEquals([...updates.get(k)!], [...grads.get(k)!]);
  }
});

/** Gradients whose norm over the root of their number is `norms[branch]` in every branch and member. */
function unitGradients(of: ShapeClass, norms: readonly number[]): Map<string, Float64Array> {
  return new Map(
    trainedLeaves(of).map((leaf) => {
      const numbers = new Float64Array(of.members.length * leaf.slot);
      const norm = norms[branch(of, leaf.path)]!;
      of.members.forEach((_, row) =>
        numbers.fill(norm, row * leaf.slot, row * leaf.slot + sizeOf(leaf.aval.shape))
      );
      return [leaf.key, numbers];
    }),
  );
}

Deno.test("mix: rotations stay rotations at every λ in update and generator space, and do not in delta space", () => {
  const two = [butterfly({ block: 4, factors: 2 }), butterfly({ block: 8, factors: 1 })] as const;
  const w = input(aval([8, 16]), "w");
  const inputs = {
    a: input(aval([2, 4, 6]), "a"),
    b: input(aval([1, 2, 28]), "b"),
    l: input(aval([2]), "l"),
  };
  const numbers = new Map([w, inputs.a, inputs.b].map((t, i) => [t, numbersOf(sizeOf(t.shape), 5 + i)]));
  fc.assert(
    fc.property(
      fc.double({ min: 0.05, max: 0.95, noNaN: true }),
      fc.constantFrom("update", "generator", "delta"),
      (l, space) => {
        const given = new Map([...numbers, [inputs.l, Float64Array.of(l, 1 - l)]]);
        const mixed = mix(two, gradNormShare, { space: space as "update" | "generator" | "delta" });
        const merged = mixed.merge(
          { branches: [{ skew: inputs.a }, { skew: inputs.b }], weights: inputs.l },
          w,
        );
        const values = singularValues(evaluate([merged], given)[0]!, 16);
        const kept = singularValues(numbers.get(w)!, 16).every((s, i) =>
          Math.abs(values[i]! / s - 1) < 1e-10
        );
        assertEquals(kept, space !== "delta", `space ${space} at λ = ${l}`);
      },
    ),
    few,
  );
});
