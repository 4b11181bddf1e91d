/** Stages, their derivative, small systems and scatters. @module */
import type { DType } from "../../core/ir/aval.ts";
import { call, constant } from "../../core/ir/expr.ts";
import { type Ix, ixAdd, ixConst, ixDiv, ixMod, ixScale, ixVar, type Var } from "../../core/ir/ix.ts";
import { type Stage, stageOffsets } from "../../core/ir/lowering.ts";
import { acc, at, load, loop, type Sample, sample, slots, store } from "./build.ts";

/** `m` butterfly factors of blocks of `block`: neighbours first, then pairs of half blocks at growing distance. */
function butterfly(block: number, m: number): Stage[] {
  return Array.from(
    { length: m },
    (_, i): Stage =>
      i === 0 ? { radix: block, stride: 1, piece: 1 } : { radix: 2, stride: 2 ** i, piece: block / 2 },
  );
}

/** The stages of a mixed-radix Fourier transform: pieces are the (re, im) pairs. */
function mixedRadix(radices: readonly number[]): Stage[] {
  let stride = 1;
  return radices.map((radix) => ({ radix, stride: (stride *= radix) / radix, piece: 2 }));
}

function total(stages: readonly Stage[], d: number): number {
  return stageOffsets(stages, d).at(-1)!;
}

function staged(
  name: string,
  stages: readonly Stage[],
  rows: number,
  d: number,
  transposed: boolean,
  dtype: DType = "f32",
): Sample {
  const o = loop("o", rows), f = loop("f", d), here = at([o, d], [f, 1]);
  const sizes = [rows * d, total(stages, d), rows * d];
  return sample(
    `stages_${name}_${rows}x${d}${transposed ? "_transposed" : ""}`,
    slots(dtype, "f32", "write f32"),
    sizes,
    {
      form: "stages",
      outer: [o],
      feature: f,
      stages,
      transposed,
      coefficients: 1,
      x: load(0, here),
      stores: [store(2, here, acc())],
    },
  );
}

/** Reads its features through a permutation, scales them, and adds a residual before a store and beside another. */
function stagedView(transposed: boolean): Sample {
  const p = loop("p", 3), q = loop("q", 2), f = loop("f", 32), stages = butterfly(4, 2);
  const turned = (v: Var): Ix => ixAdd(ixScale(ixMod(ixVar(v), 2), 16), ixDiv(ixVar(v), 2));
  const here = at([p, 64], [q, 32], [f, 1]);
  const bindings = slots("f32", "f32", "f32", "write f32", "write f32");
  return sample(`stages_view${transposed ? "_transposed" : ""}`, bindings, [
    192,
    total(stages, 32),
    32,
    192,
    192,
  ], {
    form: "stages",
    outer: [p, q],
    feature: f,
    stages,
    transposed,
    coefficients: 1,
    x: call("mul", load(0, ixAdd(at([q, 96], [p, 32]), turned(f))), load(2, ixVar(f))),
    stores: [
      store(3, here, call("add", acc(), load(0, here))),
      store(4, at([p, 64], [f, 2], [q, 1]), call("mul", acc(), constant(2))),
    ],
  });
}

function gradient(name: string, stages: readonly Stage[], rows: number, d: number): Sample {
  const o = loop("o", rows), f = loop("f", d), here = at([o, d], [f, 1]), count = total(stages, d);
  return sample(`stages_grad_${name}_${rows}x${d}`, slots("f32", "f32", "f32", "write f32"), [
    rows * d,
    count,
    rows * d,
    count,
  ], {
    form: "stagesGrad",
    outer: [o],
    feature: f,
    stages,
    coefficients: 1,
    x: load(0, here),
    ct: load(2, here),
    out: 3,
  });
}

/** Rows over two variables, cotangent transposed in memory and scaled. */
function gradientView(): Sample {
  const p = loop("p", 5),
    q = loop("q", 3),
    f = loop("f", 16),
    stages = butterfly(4, 2),
    count = total(stages, 16);
  return sample("stages_grad_view", slots("f32", "f32", "f32", "write f32"), [240, count, 240, count], {
    form: "stagesGrad",
    outer: [p, q],
    feature: f,
    stages,
    coefficients: 1,
    x: load(0, at([q, 80], [p, 16], [f, 1])),
    ct: call("mul", load(2, at([f, 15], [p, 3], [q, 1])), constant(0.5)),
    out: 3,
  });
}

/** Systems I + S with S skew, as in the Cayley map: positive definite symmetric part, no pivots needed. */
function solve(batch: number, n: number, width: number): Sample {
  const b = loop("b", batch), r = loop("r", n), k = loop("k", n), c = loop("c", width);
  return sample(
    `solve_${batch}x${n}x${width}`,
    slots("f32", "f32", "write f32"),
    [batch * n * n, batch * n * width, batch * n * width],
    {
      form: "solve",
      batch: [b],
      row: r,
      inner: k,
      col: c,
      a: load(0, at([b, n * n], [r, n], [k, 1])),
      b: load(1, at([b, n * width], [r, width], [c, 1])),
      stores: [store(2, at([b, n * width], [r, width], [c, 1]), acc())],
    },
    (slot, i) => slot === 0 ? cayley(n, i) : undefined,
  );
}

/** Element `i` of a batch of matrices I + S. */
function cayley(n: number, i: number): number {
  const system = Math.floor(i / (n * n)), r = Math.floor(i / n) % n, c = i % n;
  if (r === c) return 1;
  const lower = Math.sin(1 + system + 3 * Math.max(r, c) + 7 * Math.min(r, c)) / 2;
  return r < c ? -lower : lower;
}

/** A read transposed, B computed, the result scaled and transposed, over two batch variables. */
function solveView(): Sample {
  const p = loop("p", 2), q = loop("q", 3), r = loop("r", 4), k = loop("k", 4), c = loop("c", 4);
  const b = call(
    "sub",
    load(1, at([p, 48], [q, 16], [r, 4], [c, 1])),
    load(0, at([p, 48], [q, 16], [r, 4], [c, 1])),
  );
  return sample("solve_view", slots("f32", "f32", "write f32"), [96, 96, 96], {
    form: "solve",
    batch: [p, q],
    row: r,
    inner: k,
    col: c,
    a: load(0, at([p, 48], [q, 16], [r, 1], [k, 4])),
    b,
    stores: [store(2, at([q, 32], [p, 16], [r, 1], [c, 4]), call("mul", acc(), constant(-2)))],
  }, (slot, i) => slot === 0 ? cayley(4, i) : undefined);
}

function scatter(rows: number, items: number, width: number): Sample {
  const i = loop("i", items), c = loop("c", width);
  return sample(`scatter_${rows}_${items}x${width}`, slots("i32", "f32", "write f32"), [
    items,
    items * width,
    rows * width,
  ], {
    form: "scatter",
    rows,
    item: [i],
    column: [c],
    index: load(0, ixVar(i), [], "i32"),
    value: load(1, at([i, width], [c, 1])),
    out: 2,
  }, (slot, n) => (slot === 0 ? (n * n) % rows : undefined));
}

/** Two item variables, two column variables, a computed value, u32 indices. */
function scatterView(): Sample {
  const a = loop("a", 3), b = loop("b", 4), c = loop("c", 2), e = loop("e", 5);
  const value = call("mul", load(1, at([b, 30], [a, 10], [e, 2], [c, 1])), constant(0.25));
  return sample("scatter_view", slots("u32", "f32", "write f32"), [12, 120, 60], {
    form: "scatter",
    rows: 6,
    item: [a, b],
    column: [c, e],
    index: load(0, at([a, 4], [b, 1]), [], "u32"),
    value,
    out: 2,
  }, (slot, n) => (slot === 0 ? [5, 0, 5, 3][n % 4] : undefined));
}

/** One column: a histogram with the number of items as its total. */
function histogram(): Sample {
  const i = loop("i", 90);
  return sample("scatter_histogram", slots("u32", "write f32"), [90, 8], {
    form: "scatter",
    rows: 8,
    item: [i],
    column: [],
    index: load(0, ixAdd(ixScale(ixVar(i), -1), ixConst(89)), [], "u32"),
    value: constant(1),
    out: 1,
  }, (slot, n) => (slot === 0 ? Math.floor(n / 7) % 8 : undefined));
}

/** Stages, their derivative, systems and scatters. */
export const structuredSamples: readonly Sample[] = [
  ...[false, true].flatMap((transposed) => [
    staged("b2_m1", butterfly(2, 1), 5, 8, transposed),
    staged("b4_m2", butterfly(4, 2), 3, 24, transposed),
    staged("b8_m1", butterfly(8, 1), 7, 24, transposed),
    staged("b8_m3", butterfly(8, 3), 3, 96, transposed),
    staged("b2_m3", butterfly(2, 3), 9, 24, transposed),
    staged("radix_3_4_2", mixedRadix([3, 4, 2]), 4, 48, transposed),
    staged("radix_7_5", mixedRadix([7, 5]), 2, 70, transposed),
    stagedView(transposed),
  ]),
  staged("b4_m2", butterfly(4, 2), 70, 8, false),
  staged("b32_m2", butterfly(32, 2), 2, 128, false),
  // Several workgroups of rows, and of groups of features.
  staged("b8_m2", butterfly(8, 2), 300, 96, false),
  staged("b8_m2", butterfly(8, 2), 130, 32, true),
  staged("b4_m1", butterfly(4, 1), 1, 12, false),
  staged("b16_m2", butterfly(16, 2), 21, 64, false),
  staged("b16_m2", butterfly(16, 2), 37, 32, true),
  gradient("b8_m2", butterfly(8, 2), 300, 48),
  staged("b8_m2_bf16", butterfly(8, 2), 4, 48, false, "bf16"),
  staged("b8_m2_f16", butterfly(8, 2), 4, 48, true, "f16"),
  gradient("b4_m1", butterfly(4, 1), 6, 12),
  gradient("b8_m2", butterfly(8, 2), 130, 64),
  gradient("b16_m2", butterfly(16, 2), 77, 64),
  gradient("b8_m1", butterfly(8, 1), 1, 8),
  gradient("b4_m2", butterfly(4, 2), 33, 24),
  gradient("b8_m3", butterfly(8, 3), 5, 96),
  gradient("b2_m3", butterfly(2, 3), 130, 24),
  gradient("radix_3_2", mixedRadix([3, 2]), 7, 24),
  gradientView(),
  solve(3, 2, 2),
  solve(5, 4, 4),
  solve(3, 8, 8),
  solve(2, 32, 32),
  solve(70, 4, 4),
  solve(2, 8, 3),
  solve(1, 1, 1),
  solveView(),
  scatter(6, 20, 4),
  scatter(50, 33, 7),
  scatter(5, 64, 1),
  scatterView(),
  histogram(),
];
