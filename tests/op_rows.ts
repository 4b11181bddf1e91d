/** Every op as a row of data: what to call on which inputs. The checks and the targets all run this table. @module */
import { gradients } from "../core/diff/mod.ts";
import { type Aval, aval, fill, type Shape, sizeOf, type Tensor } from "../core/ir/mod.ts";
import * as ops from "../ops/mod.ts";

/** An op, or a composition of ops, on inputs of fixed shapes. */
export interface OpRow {
  /** Unique. */
  readonly name: string;
  readonly f: (...xs: readonly Tensor[]) => Tensor;
  readonly inputs: readonly Aval[];
  /** Element `i` of input `k` from a random number in [−1, 1); the number itself, whole and small for integers, unless given. */
  readonly fill?: (u: number, i: number, k: number) => number;
  /** Up to which order derivatives are checked; 2 unless said. */
  readonly order?: 0 | 1 | 2;
}

/** Numbers in [−1, 1), always the same for a seed; multiples of 2⁻²³, so exact in f32. */
export function noise(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 23 - 1;
  };
}

/** The numbers of a row's inputs: always the same, exact in their types. */
export function valuesOf(row: OpRow): Float64Array[] {
  const random = noise(1);
  return row.inputs.map(({ shape, dtype }, k) =>
    Float64Array.from({ length: sizeOf(shape) }, (_, i) => {
      const u = random();
      if (row.fill) return dtype === "f32" ? Math.fround(row.fill(u, i, k)) : row.fill(u, i, k);
      if (dtype === "f32") return u;
      if (dtype === "f16" || dtype === "bf16") return Math.round(u * 64) / 64;
      return dtype === "bool" ? Number(u > 0) : Math.floor((u + 1) * 8);
    })
  );
}

type F = OpRow["f"];
type Options = Partial<Pick<OpRow, "fill" | "order">>;

function row(name: string, inputs: readonly (Shape | Aval)[], f: F, options: Options = {}): OpRow {
  return { name, f, inputs: inputs.map((a) => ("dtype" in a ? a : aval(a))), ...options };
}

const whole = { order: 0 } as const;
/** Away from 0. */
const positive: Options = { fill: (u) => 1.25 + u };
/** No two elements closer than an eighth, none close to 0. */
const apart: Options = { fill: (u, i) => (((i * 5) % 13) - 6) / 2 + 0.125 + u / 16 };

/** x₀, x₁, … of a row's function. */
function on1(f: (x: Tensor) => Tensor): F {
  return (x) => f(x!);
}

function on2(f: (x: Tensor, y: Tensor) => Tensor): F {
  return (x, y) => f(x!, y!);
}

const elementwise: readonly OpRow[] = [
  row("add", [[2, 3], [2, 3]], on2(ops.add)),
  row("add, broadcast", [[3, 1], [2, 1, 4]], on2(ops.add)),
  row("add, number", [[3]], on1((x) => ops.add(x, 2.5))),
  row("add, i32", [aval([3], "i32"), aval([3], "i32")], on2(ops.add), whole),
  row("sub", [[2, 3], [3]], on2(ops.sub)),
  row("mul", [[2, 3], [2, 1]], on2(ops.mul)),
  row("mul, scalar", [[2, 3], []], on2(ops.mul)),
  row("div", [[2, 3], [2, 3]], on2(ops.div), positive),
  row("div, number by tensor", [[3]], on1((x) => ops.div(1, x)), positive),
  row("neg", [[5]], on1(ops.neg)),
  row("maximum", [[6], [6]], on2((x, y) => ops.maximum(x, ops.mul(y, 0.5))), apart),
  row("minimum", [[6], [6]], on2((x, y) => ops.minimum(x, ops.mul(y, 0.5))), apart),
  row("abs", [[6]], on1(ops.abs), apart),
  row("sign", [[6]], on1(ops.sign), { ...apart, order: 1 }),
  row("square", [[6]], on1(ops.square)),
  row("pow 3", [[6]], on1((x) => ops.pow(x, 3))),
  row("pow −1.5", [[6]], on1((x) => ops.pow(x, -1.5)), positive),
  row("exp", [[6]], on1(ops.exp)),
  row("log", [[6]], on1(ops.log), positive),
  row("sqrt", [[6]], on1(ops.sqrt), positive),
  row("rsqrt", [[6]], on1(ops.rsqrt), positive),
  row("sin", [[6]], on1(ops.sin)),
  row("cos", [[6]], on1(ops.cos)),
  row("tanh", [[6]], on1(ops.tanh)),
  row("sigmoid", [[6]], on1(ops.sigmoid)),
  row("silu", [[6]], on1(ops.silu)),
  row("gelu", [[6]], on1(ops.gelu)),
  row("normalCdf", [[16]], on1(ops.normalCdf), { fill: (u, i) => i - 8 + u }),
  row("geluExact", [[16]], on1(ops.geluExact), { fill: (u, i) => i - 8 + u }),
  row("lt", [[2, 3], [3]], on2(ops.lt), whole),
  row("le", [[2, 3], [3]], on2(ops.le), whole),
  row("le, i32", [aval([9], "i32")], on1((x) => ops.le(x, 7)), whole),
  row("eq", [aval([40], "i32"), aval([40], "i32")], on2(ops.eq), whole),
  row("logicalAnd", [aval([8], "bool"), aval([8], "bool")], on2(ops.logicalAnd), whole),
  row("logicalOr", [aval([8], "bool"), aval([8], "bool")], on2(ops.logicalOr), whole),
  row("logicalNot", [aval([8], "bool")], on1(ops.logicalNot), whole),
  row("where", [aval([8], "bool"), [8], [2, 8]], (c, x, y) => ops.where(c!, x!, ops.mul(y!, x!))),
  row("where, number", [[8]], on1((x) => ops.where(ops.lt(x, 0), ops.square(x), 0)), apart),
  row("where, broadcast", [aval([2, 1], "bool"), [3], []], (c, x, y) => ops.where(c!, x!, ops.square(y!))),
  row("cast, f32 to i32", [[8]], on1((x) => ops.cast(ops.mul(x, 9), "i32")), whole),
  row("cast, i32 to f32", [aval([8], "i32")], on1((x) => ops.cast(x, "f32")), whole),
  row("cast, i32 to u32", [aval([8], "i32")], on1((x) => ops.cast(x, "u32")), whole),
  row("cast, i32 to bool", [aval([8], "i32")], on1((x) => ops.cast(x, "bool")), {
    ...whole,
    fill: (_u, i) => i % 3 - 1,
  }),
  row("cast, bool to f32", [aval([8], "bool")], on1((x) => ops.cast(x, "f32")), whole),
  row("cast, f16 to f32", [aval([8], "f16")], on1((x) => ops.cast(x, "f32")), whole),
  row("cast, bf16 to f32", [aval([8], "bf16")], on1((x) => ops.cast(x, "f32")), whole),
  row("widen, bf16", [aval([8], "bf16")], on1(ops.widen), whole),
  row(
    "half operands",
    [aval([2, 4], "f16"), aval([4], "bf16"), [4]],
    (x, y, z) => ops.add(ops.mul(x!, y!), ops.exp(z!)),
  ),
  row("iota", [], () => ops.iota([2, 3, 2], 1), whole),
  row("iota, f32", [], () => ops.iota([4], 0, "f32"), whole),
  row("uadd", [aval([9], "u32"), aval([9], "u32")], on2(ops.uadd), { ...whole, fill: (u) => word(u) }),
  row("xor", [aval([9], "u32"), aval([9], "u32")], on2(ops.xor), { ...whole, fill: (u) => word(u) }),
  row("shiftRight", [aval([9], "u32")], on1((x) => ops.shiftRight(x, 5)), { ...whole, fill: (u) => word(u) }),
  row(
    "threefryWord",
    [aval([9], "u32"), aval([9], "u32")],
    on2((x, y) => ops.threefryWord({ word: 1 })(x, y, y, x)),
    {
      ...whole,
      fill: (u) => word(u),
    },
  ),
];

function word(u: number): number {
  return Math.floor((u + 1) * 2 ** 31);
}

const views: readonly OpRow[] = [
  row("reshape", [[2, 6]], on1((x) => ops.square(ops.reshape(x, [3, 4])))),
  row("permute", [[2, 3, 4]], on1((x) => ops.square(ops.permute(x, [2, 0, 1])))),
  row("transpose", [[2, 3, 4]], on1((x) => ops.square(ops.transpose(x)))),
  row("slice", [[4, 5]], on1((x) => ops.square(ops.slice(x, { start: [1, 2], stop: [3, 5] })))),
  row("pad", [[2, 3]], on1((x) => ops.square(ops.pad(x, { before: [1, 0], after: [0, 2] })))),
  row(
    "pad, then add",
    [[2, 3], [3, 5]],
    on2((x, y) => ops.add(ops.exp(ops.pad(x, { before: [1, 0], after: [0, 2] })), y)),
  ),
  row("roll", [[2, 6]], on1((x) => ops.mul(x, ops.roll(x, { axis: 1, by: 2 })))),
  row("roll, half", [[2, 6]], on1((x) => ops.mul(x, ops.roll(x, { axis: 1, by: 3 })))),
  row("broadcastTo", [[3, 1]], on1((x) => ops.square(ops.broadcastTo(x, [2, 3, 4])))),
  row("broadcastIn", [[3]], on1((x) => ops.square(ops.broadcastIn(x, { shape: [2, 3, 4], axes: [0, 2] })))),
  row("concat", [[2, 3], [2, 1], [2, 2]], (...xs) => ops.square(ops.concat(xs, 1))),
  row("pack", [[2, 3], [64]], (...xs) => ops.pack(xs.map(ops.square), 64)),
  row("pack, twice one part", [[2, 3]], on1((x) => ops.pack([ops.exp(x), ops.exp(x), x], 64))),
  row(
    "views of views",
    [[4, 6]],
    on1((x) => {
      const folded = ops.permute(ops.reshape(x, [2, 2, 3, 2]), [1, 3, 0, 2]);
      return ops.square(ops.reshape(ops.roll(folded, { axis: 3, by: 1 }), [4, 6]));
    }),
  ),
];

const reductions: readonly OpRow[] = [
  row("sum", [[2, 3, 4]], on1((x) => ops.sum(ops.square(x), { axes: [0, 2] }))),
  row("sum, first axis", [[5, 3]], on1((x) => ops.sum(ops.square(x), { axes: [0] }))),
  row("sum, middle axis", [[2, 5, 3]], on1((x) => ops.sum(ops.square(x), { axes: [1] }))),
  row("sum, last axis", [[2, 5]], on1((x) => ops.sum(ops.square(x), { axes: [1] }))),
  row("sum, all", [[2, 3]], on1((x) => ops.sum(ops.exp(x), { axes: [0, 1] }))),
  row("sum, long", [[3, 5000]], on1((x) => ops.sum(ops.square(x), { axes: [0, 1] })), { order: 1 }),
  row("max", [[3, 4]], on1((x) => ops.max(ops.square(x), { axes: [1] })), {
    fill: (u, i) => ((i * 5) % 12) / 4 + 0.5 + u / 16,
  }),
  row("max, first axis", [[3, 4]], on1((x) => ops.max(x, { axes: [0] })), apart),
  row("max, all", [[3, 4]], on1((x) => ops.max(ops.square(x), { axes: [1, 0] })), {
    fill: (u, i) => ((i * 5) % 12) / 4 + 0.5 + u / 16,
  }),
  row("min", [[3, 4]], on1((x) => ops.min(x, { axes: [0] })), apart),
  row("mean", [[3, 4]], on1((x) => ops.mean(ops.square(x), { axes: [1] }))),
  row("argmax", [[3, 7]], on1(ops.argmax), whole),
  row("argmax, ties", [[2, 4]], on1(ops.argmax), { ...whole, fill: (_u, i) => i % 2 }),
  row("softmax", [[2, 5]], on1(ops.softmax)),
  row("logSumExp", [[2, 5]], on1((x) => ops.logSumExp(ops.mul(x, 3)))),
  row("logSoftmax", [[2, 5]], on1(ops.logSoftmax)),
  row("rmsNorm", [[2, 6], [6]], on2((x, w) => ops.rmsNorm(x, w, 1e-5))),
  row("layerNorm", [[2, 6], [6], [6]], (x, w, b) => ops.layerNorm(x!, w!, b!, 1e-5)),
  row("crossEntropy", [[5, 7], aval([5], "i32")], on2(ops.crossEntropy), {
    fill: (u, i, k) => (k === 0 ? u : i === 1 ? -100 : i),
  }),
  row("crossEntropy, nothing to learn", [[2, 7], aval([2], "i32")], on2(ops.crossEntropy), {
    order: 1,
    fill: (u, _i, k) => (k === 0 ? u : -100),
  }),
  row("countTrained", [aval([6], "i32")], on1(ops.countTrained), {
    order: 0,
    fill: (_u, i) => (i % 2 ? -100 : i),
  }),
  row("crossEntropies", [[3, 7], aval([3], "i32")], on2(ops.crossEntropies), {
    fill: (u, i, k) => (k === 0 ? 4 * u : 3 * i - 1),
  }),
  row("crossEntropySum", [[3, 7], aval([3], "i32")], on2((x, l) => ops.crossEntropySum(x, l).sum), {
    fill: (u, i, k) => (k === 0 ? 4 * u : 3 * i - 1),
  }),
];

const contractions: readonly OpRow[] = [
  row(
    "dotGeneral",
    [[4, 2, 3, 5], [5, 3, 6, 2]],
    on2((x, y) => ops.dotGeneral(x, y, { batch: [[1], [3]], inner: [[3, 2], [0, 1]] })),
  ),
  row(
    "dotGeneral, x·y",
    [[3, 4], [4, 5]],
    on2((x, y) => ops.dotGeneral(x, y, { batch: [[], []], inner: [[1], [0]] })),
  ),
  row(
    "dotGeneral, x·yᵀ",
    [[3, 4], [5, 4]],
    on2((x, y) => ops.dotGeneral(x, y, { batch: [[], []], inner: [[1], [1]] })),
  ),
  row(
    "dotGeneral, xᵀ·y",
    [[4, 3], [4, 5]],
    on2((x, y) => ops.dotGeneral(x, y, { batch: [[], []], inner: [[0], [0]] })),
  ),
  row(
    "dotGeneral, xᵀ·yᵀ",
    [[4, 3], [5, 4]],
    on2((x, y) => ops.dotGeneral(x, y, { batch: [[], []], inner: [[0], [1]] })),
  ),
  row(
    "dotGeneral, outer product",
    [[3], [4]],
    on2((x, y) => ops.dotGeneral(x, y, { batch: [[], []], inner: [[], []] })),
  ),
  row(
    "dotGeneral, inner product",
    [[3, 4], [3, 4]],
    on2((x, y) => ops.dotGeneral(x, y, { batch: [[], []], inner: [[0, 1], [0, 1]] })),
  ),
  row(
    "dotGeneral, rows of batches",
    [[3, 4], [3, 4]],
    on2((x, y) => ops.dotGeneral(x, y, { batch: [[0], [0]], inner: [[1], [1]] })),
  ),
  row("matmul", [[2, 3, 4], [4, 5]], on2(ops.matmul)),
  row("matmul, batched", [[2, 3, 4], [2, 4, 5]], on2(ops.matmul)),
  row("linear", [[2, 3, 4], [5, 4]], on2(ops.linear)),
  row("linear, half weights", [[3, 4], aval([5, 4], "bf16")], on2(ops.linear)),
  row("linear, larger than a tile", [[37, 70], [65, 70]], on2(ops.linear), { order: 1 }),
  row("linear of silu, scaled", [[3, 4], [5, 4]], on2((x, w) => ops.mul(ops.linear(ops.silu(x), w), 0.5))),
  row("silu of linear, scaled", [[3, 4], [8, 4]], on2((x, w) => ops.silu(ops.mul(ops.linear(x, w), 0.5)))),
  row(
    "low-rank update",
    [[3, 6], [5, 6], [2, 6], [5, 2]],
    (x, w, a, b) => ops.add(ops.linear(x!, w!), ops.mul(ops.linear(ops.linear(x!, a!), b!), 0.5)),
  ),
  row("gather", [[5, 3], aval([2, 4], "i32")], on2((t, i) => ops.square(ops.gather(t, i))), {
    fill: index(5),
  }),
  row(
    "gather, half table",
    [aval([5, 3], "f16"), aval([4], "i32"), [4, 3]],
    (t, i, x) => ops.mul(ops.gather(t!, i!), x!),
    {
      fill: (u, i, k) => (k === 1 ? i : Math.round(u * 64) / 64),
    },
  ),
  row("scatter", [[6, 2], aval([6], "i32")], on2((v, i) => ops.square(ops.scatter(i, v, { rows: 4 }))), {
    fill: index(4),
  }),
  row("pick", [[4, 5], aval([4], "i32")], on2((x, i) => ops.square(ops.pick(x, i))), { fill: index(5) }),
  row("rope", [[2, 3, 4], [3, 4], [3, 4]], (x, c, s) => ops.rope(x!, c!, s!)),
  row("attention", [[1, 4, 3, 2], [1, 2, 3, 2], [1, 2, 3, 2]], (q, k, v) => ops.attention(q!, k!, v!)),
  row(
    "attention, capped scores",
    [[1, 2, 3, 2], [1, 1, 3, 2], [1, 1, 3, 2]],
    (q, k, v) => ops.attention(q!, k!, v!, { cap: 0.7 }),
  ),
  row(
    "attention, a window and segments",
    [[2, 3, 5, 2], [2, 1, 5, 2], [2, 1, 5, 2], aval([2, 5], "i32")],
    (q, k, v, segments) => ops.attention(q!, k!, v!, { window: 3, segments: segments! }),
    { fill: (u, i, k) => (k === 3 ? Math.floor(i % 5 / 2) : u) },
  ),
  row(
    "attention both ways, more keys than queries",
    [[1, 2, 3, 2], [1, 2, 4, 2], [1, 2, 4, 2]],
    (q, k, v) => ops.attention(q!, k!, v!, { causal: false }),
  ),
  row("softCap", [[6]], (x) => ops.softCap(x!, 1.5)),
  row(
    "maskedAttention",
    [[2, 2, 1, 4], [2, 1, 5, 4], [2, 1, 5, 4]],
    (q, k, v) => ops.maskedAttention(q!, k!, v!, ops.le(ops.iota([5]), 2)),
  ),
];

/** Index `i` repeats below `rows` where the input is the second. */
function index(rows: number): (u: number, i: number, k: number) => number {
  return (u, i, k) => (k === 1 ? (i * 3 + 1) % rows : u);
}

const butterfly = [{ radix: 2, stride: 1, piece: 2 }, { radix: 2, stride: 2, piece: 2 }, {
  radix: 2,
  stride: 4,
  piece: 2,
}];
const mixedRadix = [{ radix: 3, stride: 1, piece: 2 }, { radix: 2, stride: 3, piece: 2 }];
const twoFactors = butterfly.slice(0, 2);
const primes = [{ radix: 5, stride: 1, piece: 1 }, { radix: 3, stride: 5, piece: 1 }, {
  radix: 2,
  stride: 15,
  piece: 1,
}];
const blocks = [{ radix: 1, stride: 1, piece: 4 }];

const distant = [{ radix: 2, stride: 512, piece: 2 }, { radix: 2, stride: 1, piece: 1 }];
/** Vectors away from 0. */
const reflecting: Options = { fill: (u, i) => u + (i % 2 ? 1.5 : -1.5) };

const structured: readonly OpRow[] = [
  row("stages, one factor", [[3, 8], [32]], on2((x, c) => ops.stages(x, c, { stages: blocks }))),
  row(
    "stages, one factor transposed",
    [[3, 8], [32]],
    on2((x, c) => ops.stages(x, c, { stages: blocks, transposed: true })),
  ),
  row("stages, two factors", [[3, 8], [64]], on2((x, c) => ops.stages(x, c, { stages: twoFactors }))),
  row(
    "stages, two factors transposed",
    [[3, 8], [64]],
    on2((x, c) => ops.stages(x, c, { stages: twoFactors, transposed: true })),
  ),
  row("stages, radices 5, 3, 2", [[2, 30], [300]], on2((x, c) => ops.stages(x, c, { stages: primes }))),
  row("stages, butterfly", [[2, 3, 16], [192]], on2((x, c) => ops.stages(x, c, { stages: butterfly }))),
  row(
    "stages, butterfly transposed",
    [[2, 16], [192]],
    on2((x, c) => ops.stages(x, c, { stages: butterfly, transposed: true })),
  ),
  row("stages, mixed radix", [[2, 12], [120]], on2((x, c) => ops.stages(x, c, { stages: mixedRadix }))),
  row(
    "stages, mixed radix transposed",
    [[2, 12], [120]],
    on2((x, c) => ops.stages(x, c, { stages: mixedRadix, transposed: true })),
  ),
  row(
    "stagesGrad",
    [[3, 12], [120], [3, 12]],
    (x, c, ct) => ops.stagesGrad(x!, c!, ct!, { stages: mixedRadix }),
  ),
  // The cotangent depends on x and on the coefficients too: their derivatives have two ways to go.
  row(
    "stagesGrad, one factor",
    [[3, 8], [32], [3, 8]],
    (x, c, ct) => ops.stagesGrad(x!, c!, ct!, { stages: blocks }),
  ),
  row(
    "stagesGrad, three factors",
    [[2, 16], [192], [2, 16]],
    (x, c, ct) => ops.stagesGrad(x!, c!, ct!, { stages: butterfly }),
  ),
  row(
    "gradient of the energy of stages",
    [[2, 8], [32]],
    on2((x, c) => {
      const y = ops.stages(x, c, { stages: blocks });
      return gradients([ops.sum(ops.mul(ops.square(y), y), { axes: [0, 1] })], [fill(1)], [c])[0]!;
    }),
  ),
  row(
    "rotated linear",
    [[3, 8], [32], [5, 8]],
    (x, c, w) => ops.linear(ops.stages(x!, c!, { stages: blocks, transposed: true }), w!),
  ),
  row(
    "solve",
    [[2, 4, 4], [2, 4, 3]],
    on2((a, b) => ops.solve(ops.add(a, ops.mul(ops.eye([2, 4, 4]), 5)), b)),
  ),
  row("eye", [], () => ops.eye([2, 3, 3]), whole),
  row("skewFromEntries, even", [[2, 6]], on1((u) => ops.square(ops.skewFromEntries(u, 4)))),
  row("skewFromEntries, odd", [[2, 10]], on1((u) => ops.square(ops.skewFromEntries(u, 5)))),
  row("skewFromEntries, six", [[2, 15]], on1((u) => ops.square(ops.skewFromEntries(u, 6)))),
  row(
    "stages, longer than a run",
    [[2, 2048], [2048 * 6]],
    on2((x, c) => ops.stages(x, c, { stages: distant })),
    { order: 1 },
  ),
  row(
    "stages, longer than a run, transposed",
    [[2, 2048], [2048 * 6]],
    on2((x, c) => ops.stages(x, c, { stages: distant, transposed: true })),
    { order: 1 },
  ),
  row("cayleyNeumann, 2 terms", [[2, 6]], on1((u) => ops.cayleyNeumann(ops.skewFromEntries(u, 4), 2))),
  row("cayleyNeumann, 5 terms", [[2, 6]], on1((u) => ops.cayleyNeumann(ops.skewFromEntries(u, 4), 5))),
  row("compactWy", [[6, 3]], on1((u) => ops.compactWy(u).v), reflecting),
  row("compactWy, Gram–Schmidt", [[6, 3]], on1((u) => ops.compactWy(u, { gramSchmidt: true }).v), reflecting),
  row("wyAt", [[2, 5, 2]], on1((u) => ops.wyAt(ops.compactWy(u), 1).v), reflecting),
  row("reflect", [[2, 3, 6], [6, 4]], on2((x, u) => ops.reflect(x, ops.compactWy(u))), reflecting),
  row(
    "reflect, transposed",
    [[3, 6], [6, 4]],
    on2((x, u) => ops.reflect(x, ops.compactWy(u), { transposed: true })),
    reflecting,
  ),
  row(
    "reflect, the same vector twice",
    [[3, 6], [6, 1]],
    on2((x, u) => ops.reflect(x, ops.compactWy(ops.concat([u, ops.mul(u, 2)], 1)))),
    reflecting,
  ),
  row("cayley", [[2, 6]], on1((u) => ops.cayley(ops.skewFromEntries(u, 4)))),
];

/** With the blocks of the same phases. */
function turnedFourier(z: Tensor, phases: Tensor, adjoint = false): Tensor {
  const table = ops.concat(
    [ops.cos(phases), ops.sin(phases)].map((x) => ops.reshape(x, [3, 1, x.shape[1]!])),
    1,
  );
  return ops.turnedFourier(z, phases, ops.turnedBlocks(table), { adjoint });
}

const complex: readonly OpRow[] = [
  row("phasors", [[5]], on1(ops.phasors)),
  row("turnPhases", [[2, 6], [2, 3]], on2(ops.turnPhases)),
  row(
    "turnPhases, adjoint",
    [[2, 6], [3]],
    on2((x, t) => ops.turnPhases(x, ops.phasors(t), { adjoint: true })),
  ),
  row("complexReflectors", [[2, 2, 6]], on1((v) => ops.square(ops.complexReflectors(v)))),
  row("interleave", [[2, 6]], on1((x) => ops.square(ops.interleave(x)))),
  row("deinterleave", [[2, 6]], on1((x) => ops.square(ops.deinterleave(x)))),
  row("shuffle", [[2, 12]], on1((x) => ops.square(ops.shuffle(x)))),
  row("shuffle, inverse", [[2, 12]], on1((x) => ops.square(ops.shuffle(x, { inverse: true })))),
  row("fourierPlan", [[2, 12], [12 * 10]], on2((x, c) => ops.stages(x, c, ops.fourierPlan(6)))),
  row("fourierCoefficients", [], () => ops.fourierCoefficients(30), whole),
  row("fourier", [[2, 24]], on1((x) => ops.square(ops.fourier(x)))),
  row("fourier, inverse", [[2, 28]], on1((x) => ops.square(ops.fourier(x, { inverse: true })))),
  row("stored", [[3, 5]], on1((x) => ops.square(ops.stored(x)))),
  row("turnedBlocks", [[3, 2, 6]], on1(ops.turnedBlocks)),
  row("turnedBlocks of two maps, without stages", [[2, 3, 2, 11]], on1(ops.turnedBlocks)),
  row("turnedFourier", [[2, 24], [3, 12]], on2((z, phases) => turnedFourier(z, phases))),
  row(
    "turnedFourier, adjoint, of one stage",
    [[2, 10], [3, 5]],
    on2((z, phases) => turnedFourier(z, phases, true)),
  ),
  row(
    "urnnTransition",
    [[2, 12], [3, 6], [2, 12]],
    (h, phases, reflections) => ops.urnnTransition(h!, { phases: phases!, reflections: reflections! }),
    reflecting,
  ),
  row("modRelu", [[3, 8], [4]], on2(ops.modRelu), {
    fill: (u, i, k) => (k === 0 ? u + 1 : i % 2 ? u / 4 : -4),
  }),
  row(
    "urnnCell",
    [[2, 8], [2, 3], [3, 4], [2, 8], [8, 3], [4]],
    (h, x, phases, reflections, input, bias) =>
      ops.urnnCell(h!, x!, { phases: phases!, reflections: reflections!, input: input!, bias: bias! }),
    { fill: (u, _i, k) => (k === 3 ? u + 1.5 : k === 5 ? 0.5 + u / 4 : u), order: 1 },
  ),
];

const key = aval([2], "u32");
const keyed: Options = { order: 0, fill: (_u, i) => [123456789, 4000000000][i]! };

const random: readonly OpRow[] = [
  row("key", [], () => ops.key(0x123456789abcd).bits, whole),
  row("randomBits", [key], on1((bits) => ops.randomBits({ bits }, [3, 5])), keyed),
  row("uniform", [key], on1((bits) => ops.uniform({ bits }, [3, 5], -2, 3)), keyed),
  row("normal", [key], on1((bits) => ops.normal({ bits }, [3, 5])), keyed),
  row("dropped", [aval([3, 5])], on1((x) => ops.dropped(x, 0.3, ops.key(7)))),
  row("split", [key], on1((bits) => ops.split({ bits }, 3)[2]!.bits), keyed),
  row("foldIn", [key], on1((bits) => ops.foldIn({ bits }, 42).bits), keyed),
];

/** All rows. */
export const opRows: readonly OpRow[] = [
  ...elementwise,
  ...views,
  ...reductions,
  ...contractions,
  ...structured,
  ...complex,
  ...random,
];
