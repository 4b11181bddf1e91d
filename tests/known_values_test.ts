/** Ops against values known from elsewhere: published vectors, transforms in closed form, laws of orthogonal maps. @module */
import { assertEquals, assertLessOrEqual } from "@std/assert";
import { evaluate } from "../core/eval/mod.ts";
import {
  aval,
  fill,
  input,
  type Shape,
  sizeOf,
  type Stage,
  stagePosition,
  type Tensor,
} from "../core/ir/mod.ts";
import * as ops from "../ops/mod.ts";
import { requireClose } from "./check_primitive.ts";
import { noise } from "./op_rows.ts";

/** Values of `f` at these numbers. */
function values(
  f: (...xs: readonly Tensor[]) => Tensor,
  ...given: readonly (readonly [Shape, Float64Array])[]
): Float64Array {
  const inputs = given.map(([shape], i) => input(aval(shape), `x${i}`));
  return evaluate([f(...inputs)], new Map(inputs.map((x, i) => [x, given[i]![1]])))[0]!;
}

function random(size: number, seed: number): Float64Array {
  return Float64Array.from({ length: size }, noise(seed));
}

const threefryVectors = [
  { key: [0, 0], counter: [0, 0], words: [0x6b200159, 0x99ba4efe] },
  { key: [0xffffffff, 0xffffffff], counter: [0xffffffff, 0xffffffff], words: [0x1cb996fc, 0xbb002be7] },
  { key: [0x13198a2e, 0x03707344], counter: [0x243f6a88, 0x85a308d3], words: [0xc4923a9c, 0x483df7a0] },
] as const;

Deno.test("threefry gives the published words", () => {
  for (const { key, counter, words } of threefryVectors) {
    const at = [...key, ...counter].map((n) => fill(n, [1], "u32")) as [Tensor, Tensor, Tensor, Tensor];
    const found = evaluate([ops.threefryWord({ word: 0 })(...at), ops.threefryWord({ word: 1 })(...at)]);
    assertEquals(found.map((w) => w[0]), [...words]);
  }
});

Deno.test("random numbers: range, mean and variance; keys give different ones", () => {
  const n = 4096, [first, second] = ops.split(ops.key(7));
  const [u, z, other] = evaluate([
    ops.uniform(first!, [n], -2, 4),
    ops.normal(first!, [n]),
    ops.normal(second!, [n]),
  ]);
  const mean = (x: Float64Array): number => x.reduce((a, b) => a + b, 0) / x.length;
  const spread = (x: Float64Array): number => mean(x.map((v) => (v - mean(x)) ** 2));
  assertEquals(u!.every((v) => v >= -2 && v < 4), true);
  // Four standard errors of each statistic.
  assertLessOrEqual(Math.abs(mean(u!) - 1), 4 * Math.sqrt(3 / n));
  assertLessOrEqual(Math.abs(spread(u!) - 3), 4 * Math.sqrt(7.2 / n));
  assertLessOrEqual(Math.abs(mean(z!)), 4 / Math.sqrt(n));
  assertLessOrEqual(Math.abs(spread(z!) - 1), 4 * Math.sqrt(2 / n));
  assertLessOrEqual(Math.abs(mean(z!.map((v, i) => v * other![i]!))), 4 / Math.sqrt(n));
  assertEquals(new Set(u).size, n);
});

/** Coefficients of stages on an axis of `d`: entry [row, column] of block `n` of stage `i`. */
function coefficients(
  stages: readonly Stage[],
  d: number,
  entry: (i: number, n: number, row: number, column: number) => number,
): Float64Array {
  return Float64Array.from(stages.flatMap((stage, i) => {
    const block = stage.radix * stage.piece;
    return Array.from(
      { length: d * block },
      (_, at) => entry(i, Math.floor(at / block ** 2), Math.floor(at / block) % block, at % block),
    );
  }));
}

function byStages(stages: readonly Stage[], d: number, c: Float64Array, rows: Float64Array): Float64Array {
  return values((x, y) => ops.stages(x!, y!, { stages }), [[rows.length / d, d], rows], [[c.length], c]);
}

Deno.test("Hadamard transform by stages of radix 2", () => {
  const d = 16, stages = [1, 2, 4, 8].map((stride) => ({ radix: 2, stride, piece: 1 }));
  const x = random(2 * d, 3);
  const found = byStages(
    stages,
    d,
    coefficients(stages, d, (_i, _n, row, column) => row & column ? -1 : 1),
    x,
  );
  const bits = (n: number): number => n.toString(2).replaceAll("0", "").length;
  const expected = x.map((_, at) => {
    const row = Math.floor(at / d) * d, k = at % d;
    return Array.from({ length: d }, (_, j) => (bits(j & k) % 2 ? -1 : 1) * x[row + j]!).reduce((a, b) =>
      a + b
    );
  });
  requireClose("Hadamard", found, expected, 1e-12);
});

Deno.test("Fourier transform by stages of radix 3, 2 and 5 on (re, im) pairs", () => {
  const radices = [3, 2, 5], n = 30, d = 2 * n;
  const stages = radices.map((radix, i) => ({
    radix,
    stride: radices.slice(0, i).reduce((a, b) => a * b, 1),
    piece: 2,
  }));
  // Decimation in time: before stage i the axis holds transforms of length `stride`, one after the other; lane j of each
  // joins with the twiddle e^(−2πi·j·leg / (radix·stride)).
  const c = coefficients(stages, d, (i, block, row, column) => {
    const { radix, stride } = stages[i]!;
    const lane = block % stride, leg = Math.floor(column / 2), out = Math.floor(row / 2);
    const angle = -2 * Math.PI * leg * (lane + stride * out) / (radix * stride);
    const [re, im] = [Math.cos(angle), Math.sin(angle)];
    return row % 2 === column % 2 ? re : row % 2 === 0 ? -im : im;
  });
  const x = random(d, 5);
  // Input in digit-reversed order: at each stage, legs are the residues modulo its radix.
  const order = (list: readonly number[], from: readonly number[]): readonly number[] => {
    const radix = list.at(-1);
    if (radix === undefined) return from;
    return Array.from(
      { length: radix },
      (_, leg) => order(list.slice(0, -1), from.filter((_, k) => k % radix === leg)),
    ).flat();
  };
  const places = order(radices, Array.from({ length: n }, (_, k) => k));
  const found = byStages(stages, d, c, Float64Array.from(places.flatMap((k) => [x[2 * k]!, x[2 * k + 1]!])));
  const expected = new Float64Array(d);
  for (let k = 0; k < n; k++) {
    for (let j = 0; j < n; j++) {
      const angle = -2 * Math.PI * ((j * k) % n) / n;
      expected[2 * k]! += Math.cos(angle) * x[2 * j]! - Math.sin(angle) * x[2 * j + 1]!;
      expected[2 * k + 1]! += Math.sin(angle) * x[2 * j]! + Math.cos(angle) * x[2 * j + 1]!;
    }
  }
  requireClose("Fourier", found, expected, 1e-12);
});

/**
 * Any permutation of 2^k elements is a network of exchanges at distances 1, 2, …, 2^(k−1), …, 2, 1 (Beneš, 1964):
 * whether pair `n` of each stage changes places.
 */
function exchanges(target: readonly number[]): boolean[][] {
  const n = target.length;
  if (n === 2) return [[target[0] === 1]];
  // Of each pair of neighbours, at the way in and at the way out, one goes through the upper half and one through the lower.
  const source = new Array<number>(n);
  target.forEach((to, from) => source[to] = from);
  const upper = new Array<boolean | undefined>(n);
  for (let start = 0; start < n; start++) {
    for (let from = start; upper[from] === undefined;) {
      upper[from] = true;
      upper[from ^ 1] = false;
      // The neighbour goes below; whoever leaves beside it goes above.
      from = source[target[from ^ 1]! ^ 1]!;
    }
  }
  const enter = Array.from({ length: n / 2 }, (_, p) => !upper[2 * p]);
  const leave = Array.from({ length: n / 2 }, (_, p) => !upper[source[2 * p]!]);
  const half = (up: boolean): boolean[][] => {
    const inner = new Array<number>(n / 2);
    for (let from = 0; from < n; from++) if (upper[from] === up) inner[from >> 1] = target[from]! >> 1;
    return exchanges(inner);
  };
  const [above, below] = [half(true), half(false)];
  // Positions of the halves interleave: pair p of a half's stage is pair 2p or 2p + 1 by (group, lane) of the whole's.
  return [enter, ...above.map((stage, s) => stage.flatMap((swap, p) => [swap, below[s]![p]!])), leave];
}

Deno.test("an arbitrary permutation by stages of exchanges", () => {
  const d = 16, next = noise(11);
  const target = Array.from({ length: d }, (_, i) => ({ i, key: next() })).sort((a, b) => a.key - b.key).map((
    { i },
  ) => i);
  const swaps = exchanges(target), depth = (swaps.length - 1) / 2;
  const stages = swaps.map((_, s) => ({ radix: 2, stride: 2 ** (depth - Math.abs(depth - s)), piece: 1 }));
  const c = coefficients(stages, d, (i, n, row, column) => Number(swaps[i]![n]! === (row !== column)));
  const x = random(3 * d, 2);
  const expected = new Float64Array(x.length);
  x.forEach((v, at) => expected[at - at % d + target[at % d]!] = v);
  assertEquals(byStages(stages, d, c, x), expected);
});

function determinant(m: Float64Array, n: number): number {
  const a = m.slice();
  let product = 1;
  for (let p = 0; p < n; p++) {
    let best = p;
    for (let i = p; i < n; i++) if (Math.abs(a[i * n + p]!) > Math.abs(a[best * n + p]!)) best = i;
    if (best !== p) {
      product = -product;
      for (let j = 0; j < n; j++) [a[p * n + j], a[best * n + j]] = [a[best * n + j]!, a[p * n + j]!];
    }
    product *= a[p * n + p]!;
    for (let i = p + 1; i < n; i++) {
      const f = a[i * n + p]! / a[p * n + p]!;
      for (let j = p; j < n; j++) a[i * n + j]! -= f * a[p * n + j]!;
    }
  }
  return product;
}

for (const n of [1, 2, 5, 8, 32]) {
  Deno.test(`cayley of ${n}×${n} is orthogonal with determinant 1, and the identity at 0`, () => {
    const free = (n * (n - 1)) / 2, blocks = 3;
    if (free > 0) {
      const entries = random(blocks * free, n).map((v) => 3 * v);
      const q = values((u) => ops.cayley(ops.skewFromEntries(u!, n)), [[blocks, free], entries]);
      const gram = values((x) => ops.matmul(ops.transpose(x!), x!), [[blocks, n, n], q]);
      gram.forEach((v, at) =>
        assertLessOrEqual(Math.abs(v - Number(Math.floor(at / n) % n === at % n)), 1e-12)
      );
      for (let b = 0; b < blocks; b++) {
        assertLessOrEqual(Math.abs(determinant(q.slice(b * n * n, (b + 1) * n * n), n) - 1), 1e-10);
      }
    }
    const [one, eye] = evaluate([ops.cayley(fill(0, [n, n])), ops.eye([n, n])]);
    assertEquals(one, eye);
  });
}

Deno.test("cayley is (I − S)(I + S)⁻¹: a turn by −2·atan(s) in the plane", () => {
  const s = 0.7, angle = -2 * Math.atan(s);
  const q = values((u) => ops.cayley(ops.skewFromEntries(u!, 2)), [[1], Float64Array.of(-s)]);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  requireClose("cayley", q, Float64Array.of(cos, -sin, sin, cos), 1e-14);
});

Deno.test("skewFromEntries holds every entry once with either sign", () => {
  for (const n of [2, 3, 4, 5, 8]) {
    const free = (n * (n - 1)) / 2;
    const s = values((u) => ops.skewFromEntries(u!, n), [
      [free],
      Float64Array.from({ length: free }, (_, i) => i + 1),
    ]);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) assertEquals(s[i * n + j]! + s[j * n + i]!, 0);
    assertEquals(
      [...s].filter((v) => v > 0).sort((a, b) => a - b),
      Array.from({ length: free }, (_, i) => i + 1),
    );
  }
});

for (const [block, factors] of [[4, 1], [4, 2], [4, 3], [2, 4], [6, 2]] as const) {
  Deno.test(`butterfly of ${factors} factors of ${block}×${block} is its dense product, by reshaping`, () => {
    const group = block * 2 ** (factors - 1), d = 2 * group, tokens = 3;
    const stages = factors === 1
      ? [{ radix: 1, stride: 1, piece: block }]
      : Array.from({ length: factors }, (_, i) => ({ radix: 2, stride: 2 ** i, piece: block / 2 }));
    const x = random(tokens * d, 1), c = random(factors * d * block, 2);
    const found = byStages(stages, d, c, x);
    // Factor i: [tokens, d/(b·2^i), 2, 2^i, b/2], both halves of a pair brought together, times the pair's block.
    const reshaped = values(
      (rows, blocks) =>
        stages.reduce((y, { stride }, i) => {
          const m = ops.reshape(ops.slice(blocks!, { start: [i * d * block], stop: [(i + 1) * d * block] }), [
            d / block,
            block,
            block,
          ]);
          const [halves, width] = factors === 1 ? [1, block] : [2, block / 2];
          const split = [tokens, d / (block * stride), halves, stride, width];
          const apart = ops.permute(ops.reshape(y, split), [0, 1, 3, 2, 4]);
          const z = ops.dotGeneral(m, ops.reshape(apart, [tokens, d / block, block]), {
            batch: [[0], [1]],
            inner: [[2], [2]],
          });
          const back = ops.reshape(ops.permute(z, [2, 0, 1]), [
            tokens,
            d / (block * stride),
            stride,
            halves,
            width,
          ]);
          return ops.reshape(ops.permute(back, [0, 1, 3, 2, 4]), [tokens, d]);
        }, rows!),
      [[tokens, d], x],
      [[c.length], c],
    );
    requireClose("by reshaping", found, reshaped, 1e-12);
    // The dense matrices, entry by entry, multiplied.
    const dense = stages.map((stage, i) => {
      const m = new Float64Array(d * d);
      for (let n = 0; n < d / block; n++) {
        for (let j = 0; j < block; j++) {
          for (let k = 0; k < block; k++) {
            m[stagePosition(stage, n, j) * d + stagePosition(stage, n, k)] =
              c[((i * d) / block + n) * block * block + j * block + k]!;
          }
        }
      }
      return m;
    });
    const product = values(
      (rows, ...ms) => ops.linear(rows!, ms.reduce((a, b) => ops.matmul(b, a))),
      [[tokens, d], x],
      ...dense.map((m) => [[d, d], m] as const),
    );
    requireClose("dense", found, product, 1e-12);
  });
}

Deno.test("attention sees keys up to its own position, and heads share keys by groups", () => {
  const [b, heads, kv, t, d] = [2, 4, 2, 5, 3];
  const shapes = [[b, heads, t, d], [b, kv, t, d], [b, kv, t, d]];
  const [q, k, v] = shapes.map((shape, i) => random(sizeOf(shape), i)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const found = values((x, y, z) => ops.attention(x!, y!, z!), [shapes[0]!, q], [shapes[1]!, k], [
    shapes[2]!,
    v,
  ]);
  const expected = new Float64Array(q.length);
  for (let row = 0; row < b * heads; row++) {
    const from = Math.floor(row / heads) * kv + Math.floor((row % heads) / (heads / kv));
    for (let i = 0; i < t; i++) {
      const scores = Array.from({ length: i + 1 }, (_, j) => {
        let total = 0;
        for (let f = 0; f < d; f++) total += q[(row * t + i) * d + f]! * k[(from * t + j) * d + f]!;
        return Math.exp(total / Math.sqrt(d));
      });
      const whole = scores.reduce((x, y) => x + y);
      scores.forEach((s, j) => {
        for (let f = 0; f < d; f++) {
          expected[(row * t + i) * d + f]! += s / whole * v[(from * t + j) * d + f]!;
        }
      });
    }
  }
  requireClose("attention", found, expected, 1e-12);
});

Deno.test("softmax, logSumExp and cross-entropy stay finite for large numbers", () => {
  const x = Float64Array.of(1000, 999, -1000);
  const e = Math.exp(-1);
  requireClose(
    "softmax",
    values((y) => ops.softmax(y!), [[1, 3], x]),
    Float64Array.of(1 / (1 + e), e / (1 + e), 0),
    1e-12,
  );
  requireClose(
    "logSumExp",
    values((y) => ops.logSumExp(y!), [[1, 3], x]),
    Float64Array.of(1000 + Math.log1p(e)),
    1e-12,
  );
  const labels = fill(1, [1], "i32");
  requireClose(
    "crossEntropy",
    values((y) => ops.crossEntropy(y!, labels), [[1, 3], x]),
    Float64Array.of(1 + Math.log1p(e)),
    1e-12,
  );
});
