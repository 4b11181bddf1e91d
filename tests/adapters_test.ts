/** Adapters: the laws of each, of their algebra, and of rotations. @module */
import { assert } from "@std/assert";
import fc from "fast-check";
import {
  type Adapter,
  boundMonoid,
  butterfly,
  compose,
  fit,
  identity,
  type LinearDims,
  type LinearMap,
  lowRank,
  parallel,
  scale,
  siteOf,
} from "../adapters/mod.ts";
import { openCpu } from "../core/cpu/mod.ts";
import { aval, evaluate, fill, gradients, input, sizeOf, type Tensor } from "../core/mod.ts";
import {
  add,
  cayley,
  div,
  key,
  linear,
  matmul,
  mean,
  mul,
  normal,
  skewFromEntries,
  sqrt,
  square,
  sub,
  sum,
} from "../ops/mod.ts";
import { minimise } from "../train/minimise.ts";
import { adapterRows } from "./adapter_rows.ts";
import { checkAdapter, compareNorms, sampleOf } from "./check_adapter.ts";
import { determinant, difference, numbersOf, timesTransposed } from "./matrix.ts";
import { runOnce } from "./run_once.ts";

const device = await openCpu({ threads: 1 });

for (const row of adapterRows) Deno.test(`adapter: ${row.name}`, () => checkAdapter(row, device));

const dims: LinearDims = { inDim: 24, outDim: 10 };

/** An adapter whose parameters are a flat list, so that adapters of any kind have one type. */
type Flat = Adapter<readonly Tensor[]>;

function flat<P>(adapter: Adapter<P>): Flat {
  const { name, init, apply, merge } = fit(adapter, dims);
  return { name, init, apply, merge };
}

const simple: fc.Arbitrary<Flat> = fc.oneof(
  fc.constant(flat(identity)),
  fc.integer({ min: 1, max: 4 }).map((rank) => flat(lowRank({ rank, alpha: 2 }))),
  fc.constantFrom([2, 1], [3, 1], [4, 1], [12, 1], [2, 2], [2, 3], [4, 2], [6, 2], [6, 3], [12, 2])
    .map(([block, factors]) => flat(butterfly({ block: block!, factors: factors! }))),
);

/** Adapters made of others, two levels deep. */
const composed: fc.Arbitrary<Flat> = fc.letrec<{ any: Flat }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 2, withCrossShrink: true },
    simple,
    fc.tuple(tie("any"), tie("any")).map(([a, b]) => flat(compose(a, b))),
    fc.tuple(tie("any"), tie("any")).map(([a, b]) => flat(parallel(a, b))),
    fc.tuple(fc.double({ min: -2, max: 2, noNaN: true }), tie("any")).map(([s, a]) => flat(scale(s, a))),
  ),
})).any;

const seeds = fc.integer({ min: 1, max: 1e6 });
const few = { numRuns: 30 };

/** Random parameters of an adapter, as inputs with values. */
function paramsOf(
  adapter: Flat,
  seed: number,
): { readonly params: Tensor[]; readonly values: [Tensor, Float64Array][] } {
  const params = fit(adapter, dims).leaves.map((leaf) => input(leaf.aval, leaf.path));
  return {
    params,
    values: params.map((p, i) => [p, numbersOf(sizeOf(p.shape), seed + i).map((v) => 0.5 * v)]),
  };
}

const x = input(aval([3, dims.inDim]), "x"), w = input(aval([dims.outDim, dims.inDim]), "w");
const base: LinearMap = (u) => linear(u, w);
const data: [Tensor, Float64Array][] = [[x, numbersOf(sizeOf(x.shape), 3)], [
  w,
  numbersOf(sizeOf(w.shape), 4),
]];

function requireEqual(
  what: string,
  left: Tensor,
  right: Tensor,
  values: readonly [Tensor, Float64Array][],
): void {
  const [a, b] = evaluate([left, right], new Map([...data, ...values]));
  const off = difference(a!, b!);
  assert(off <= 1e-12, `${what}: the two sides differ by ${off}.`);
}

Deno.test("adapters: the merge law holds for compositions of compositions", () => {
  fc.assert(
    fc.property(composed, seeds, (adapter, seed) => {
      const { params, values } = paramsOf(adapter, seed);
      requireEqual(adapter.name, adapter.apply(params, base)(x), linear(x, adapter.merge(params, w)), values);
      const start = adapter.init(key(seed), siteOf(w));
      requireEqual(`${adapter.name} at the start`, adapter.apply(start, base)(x), base(x), []);
    }),
    few,
  );
});

Deno.test("adapters: compose is associative and identity is neutral", () => {
  fc.assert(
    fc.property(composed, composed, composed, seeds, (a, b, c, seed) => {
      const p = paramsOf(a, seed), q = paramsOf(b, seed + 100), r = paramsOf(c, seed + 200);
      const left = compose(compose(a, b), c), right = compose(a, compose(b, c));
      const values = [...p.values, ...q.values, ...r.values];
      const inLeft = [[p.params, q.params], r.params] as const,
        inRight = [p.params, [q.params, r.params]] as const;
      requireEqual("apply", left.apply(inLeft, base)(x), right.apply(inRight, base)(x), values);
      requireEqual("merge", left.merge(inLeft, w), right.merge(inRight, w), values);
      for (
        const both of [
          compose(a, identity).apply([p.params, []], base),
          compose(identity, a).apply([[], p.params], base),
        ]
      ) {
        requireEqual("identity", both(x), a.apply(p.params, base)(x), p.values);
      }
    }),
    few,
  );
});

Deno.test("adapters: bound adapters are a monoid", () => {
  fc.assert(
    fc.property(composed, composed, composed, seeds, (a, b, c, seed) => {
      const [p, q, r] = [paramsOf(a, seed), paramsOf(b, seed + 100), paramsOf(c, seed + 200)];
      const f = (g: LinearMap): LinearMap => a.apply(p.params, g);
      const g = (h: LinearMap): LinearMap => b.apply(q.params, h);
      const h = (k: LinearMap): LinearMap => c.apply(r.params, k);
      const { concat, empty } = boundMonoid;
      const values = [...p.values, ...q.values, ...r.values];
      requireEqual("associative", concat(concat(f, g), h)(base)(x), concat(f, concat(g, h))(base)(x), values);
      requireEqual("left neutral", concat(empty, f)(base)(x), f(base)(x), values);
      requireEqual("right neutral", concat(f, empty)(base)(x), f(base)(x), values);
      requireEqual(
        "compose",
        concat(f, g)(base)(x),
        compose(a, b).apply([p.params, q.params], base)(x),
        values,
      );
    }),
    few,
  );
});

Deno.test("adapters: parallel and scale follow their definitions", () => {
  fc.assert(
    fc.property(composed, composed, fc.double({ min: -2, max: 2, noNaN: true }), seeds, (a, b, s, seed) => {
      const p = paramsOf(a, seed), q = paramsOf(b, seed + 100);
      const values = [...p.values, ...q.values];
      const both = parallel(a, b).apply([p.params, q.params], base)(x);
      requireEqual("commutative", both, parallel(b, a).apply([q.params, p.params], base)(x), values);
      requireEqual(
        "with identity",
        parallel(a, identity).merge([p.params, []], w),
        a.merge(p.params, w),
        values,
      );
      requireEqual("0·a", scale(0, a).merge(p.params, w), w, values);
      requireEqual("1·a", scale(1, a).merge(p.params, w), a.merge(p.params, w), values);
      const change = (t: number): Tensor => sub(scale(t, a).merge(p.params, w), w);
      requireEqual("s·a", change(s), mul(change(1), s), values);
    }),
    few,
  );
});

Deno.test("cayley: orthogonal blocks of determinant +1 without eigenvalue −1, in float64 and f32", async () => {
  const sizes = fc.integer({ min: 2, max: 12 }), spreads = fc.constantFrom(0.01, 0.3, 1, 4);
  await fc.assert(
    fc.asyncProperty(sizes, spreads, seeds, async (b, spread, seed) => {
      const u = input(aval([1, b * (b - 1) / 2]), "u");
      const given = new Map([[u, numbersOf(sizeOf(u.shape), seed).map((v) => spread * v)]]);
      const q = cayley(skewFromEntries(u, b));
      const checked = [
        { numbers: evaluate([q], given)[0]!, most: 1e-12, where: "float64" },
        { numbers: (await runOnce(device, [q], given))[0]!, most: 1e-6 * b, where: "f32" },
      ];
      for (const { numbers, most, where } of checked) {
        const unit = Float64Array.from({ length: b * b }, (_, i) => (i % (b + 1) === 0 ? 1 : 0));
        const off = difference(timesTransposed(numbers, numbers, b), unit);
        assert(off <= most, `|Q·Qᵀ − I| is ${off} in ${where} for b = ${b}, at most ${most} is allowed.`);
        const det = determinant(numbers, b);
        assert(Math.abs(det - 1) <= b * most, `det Q is ${det} in ${where}.`);
      }
      // det(I + Q) = 2ᵇ / det(I + S) is positive: no eigenvalue is −1.
      const exact = checked[0]!.numbers.map((v, i) => (i % (b + 1) === 0 ? 1 + v : v));
      assert(determinant(exact, b) > 0, `I + Q is singular for b = ${b}.`);
    }),
    few,
  );
});

Deno.test("butterfly: norms stay after 200 steps of AdamW, in f32", async () => {
  for (const [block, factors, d] of [[4, 1, 16], [3, 1, 12], [2, 4, 32], [6, 2, 24], [8, 3, 64]] as const) {
    const adapter = butterfly({ block, factors });
    const from = normal(key(1), [8, d]), to = normal(key(2), [8, d]);
    const rotate = (params: ReturnType<typeof adapter.init>): Tensor => adapter.apply(params, (u) => u)(from);
    const start = adapter.init(key(3), siteOf(fill(0, [d, d])));
    const error = (y: Tensor): Tensor => mean(square(sub(y, to)), { axes: [0, 1] });
    const { losses, params, values } = await minimise(device, (p) => error(rotate(p)), start, {
      steps: 200,
      rate: 0.05,
    });
    assert(losses.at(-1)! < 0.9 * losses[0]!, `the loss went from ${losses[0]} to ${losses.at(-1)} only.`);
    const [rotated, plain] = await runOnce(device, [rotate(params), from], values);
    assert(difference(rotated!, plain!) > 0.1, "200 steps did not rotate anything.");
    compareNorms(rotated!, plain!, d, 1e-5);
  }
});

Deno.test("butterfly: norms stay for any block, factors and size", async () => {
  const shapes = fc.record({
    half: fc.integer({ min: 1, max: 4 }),
    factors: fc.integer({ min: 1, max: 4 }),
    groups: fc.integer({ min: 1, max: 3 }),
  });
  await fc.assert(
    fc.asyncProperty(shapes, seeds, async ({ half, factors, groups }, seed) => {
      const inDim = 2 * half * 2 ** (factors - 1) * groups;
      const fitted = fit(butterfly({ block: 2 * half, factors }), { inDim, outDim: 3 });
      const { x, params, given } = sampleOf(fitted, { inDim, outDim: 3 }, seed, 2);
      const y = fitted.apply(params, (u) => u)(x);
      compareNorms(evaluate([y], given)[0]!, given.get(x)!, inDim, 1e-12);
      compareNorms((await runOnce(device, [y], given))[0]!, given.get(x)!, inDim, 1e-5);
    }),
    few,
  );
});

Deno.test("butterfly: dropout replaces about its share of the blocks by I, another choice each step", () => {
  const share = 0.3, inDim = 4096, block = 4;
  const adapter = butterfly({ block, factors: 1, dropout: share });
  const skew = input(aval([1, inDim / block, block * (block - 1) / 2]), "skew"),
    x = input(aval([1, inDim]), "x");
  const given = new Map([[skew, numbersOf(sizeOf(skew.shape), 1)], [x, numbersOf(inDim, 2)]]);
  const same = (u: Tensor): Tensor => u;
  const [plain, first, again, second] = evaluate([
    adapter.apply({ skew }, same)(x),
    adapter.apply({ skew }, same, key(1))(x),
    adapter.apply({ skew }, same, key(1))(x),
    adapter.apply({ skew }, same, key(2))(x),
  ], given);
  const left = (y: Float64Array): boolean[] =>
    Array.from({ length: inDim / block }, (_, b) => {
      const part = (v: Float64Array): Float64Array => v.subarray(b * block, (b + 1) * block);
      const isLeft = difference(part(y), part(given.get(x)!)) < 1e-12;
      // What is not left out is rotated as without dropout.
      assert(isLeft || difference(part(y), part(plain!)) < 1e-12, `block ${b} is neither I nor Q.`);
      return isLeft;
    });
  const count = left(first!).filter(Boolean).length, of = inDim / block;
  // Five standard deviations of a binomial count.
  assert(Math.abs(count - share * of) < 5 * Math.sqrt(share * (1 - share) * of), `${count} of ${of} blocks.`);
  assert(difference(first!, again!) === 0, "the same key drops other blocks.");
  assert(left(first!).some((l, b) => l !== left(second!)[b]), "another key drops the same blocks.");
  assert(left(plain!).every((l) => !l), "blocks are left out without a key.");
});

Deno.test("lowRank: dropout leaves out about its share of the input of A, another choice each step", () => {
  const share = 0.3, inDim = 4096;
  const adapter = lowRank({ rank: 1, alpha: 1, dropout: share });
  const a = input(aval([1, inDim]), "a"), x = input(aval([1, inDim]), "x");
  const given = new Map([[a, new Float64Array(inDim).fill(1)], [x, numbersOf(inDim, 2)]]);
  // What reaches A is what the derivative of its only result for A says.
  const reached = (k?: ReturnType<typeof key>): Tensor => {
    const y = adapter.apply({ a, b: fill(1, [1, 1]) }, (u) => sum(mul(u, 0), { axes: [1] }), k)(x);
    return gradients([sum(y, { axes: [0, 1] })], [fill(1)], [a])[0]!;
  };
  const [plain, first, again, second] = evaluate(
    [reached(), reached(key(1)), reached(key(1)), reached(key(2))],
    given,
  );
  const input0 = given.get(x)!;
  assert(difference(plain!, input0) < 1e-12, "something is left out without a key.");
  let count = 0, others = 0;
  first!.forEach((v, i) => {
    const isKept = Math.abs(v - input0[i]! / (1 - share)) < 1e-12;
    assert(isKept || v === 0, `number ${i} is neither left out nor scaled.`);
    if (!isKept) count++;
    if ((v === 0) !== (second![i] === 0)) others++;
  });
  // Five standard deviations of a binomial count.
  assert(
    Math.abs(count - share * inDim) < 5 * Math.sqrt(share * (1 - share) * inDim),
    `${count} of ${inDim}.`,
  );
  assert(difference(first!, again!) === 0, "the same key leaves out others.");
  assert(others > 0, "another key leaves out the same.");
});

Deno.test("lowRank: DoRA's gradients are those of W' with its norms held", () => {
  const adapter = lowRank({ rank: 2, alpha: 4, decomposed: true });
  const fitted = fit(adapter, dims);
  const { x, w, base, params, trained, given } = sampleOf(fitted, dims, 11);
  const [a, b, magnitude] = trained as [Tensor, Tensor, Tensor];
  const moved = add(w, mul(matmul(b, a), 2));
  const [norm] = evaluate([sqrt(sum(square(moved), { axes: [1] }))], given);
  const held = input(aval([dims.outDim]), "norm");
  const explicit = mul(linear(x, moved), div(magnitude, held));
  const all = new Map([...given, [held, norm!]]);
  const grads = (y: Tensor): Float64Array[] =>
    evaluate(gradients([sum(square(y), { axes: [0, 1] })], [fill(1)], [x, ...trained]), all);
  const expected = grads(explicit);
  grads(fitted.apply(params, base)(x)).forEach((g, i) => {
    assert(difference(g, expected[i]!) < 1e-10, `gradient ${i} is off by ${difference(g, expected[i]!)}.`);
  });
});
