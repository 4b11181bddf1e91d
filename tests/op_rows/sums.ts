/** Rows of reductions, of contractions and of what is composed of them. @module */
import { aval } from "../../core/ir/mod.ts";
import * as ops from "../../ops/mod.ts";
import { apart, on1, on2, type OpRow, row, whole } from "./row.ts";

/** Rows of ops that sum up along axes. */
export const reductions: readonly OpRow[] = [
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

/** Rows of products, and ops that look elements up. */
export const contractions: readonly OpRow[] = [
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
