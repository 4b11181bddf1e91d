/** Contractions: layouts, sizes, prologues and epilogues. @module */
import type { DType } from "../../core/ir/aval.ts";
import { call, constant, type Expr, indexValue } from "../../core/ir/expr.ts";
import { ixAdd, ixConst, ixDiv, ixMod, ixScale, ixValue, ixVar } from "../../core/ir/ix.ts";
import { acc, at, load, loop, type Sample, sample, slots, store } from "./build.ts";

/** Rows by inner axis as they lie in memory, or transposed. */
type Layout = "plain" | "transposed";

function matmul(m: number, n: number, k: number, left: Layout = "plain", right: Layout = "plain"): Sample {
  const i = loop("i", m), j = loop("j", n), r = loop("r", k);
  const a = left === "plain" ? at([i, k], [r, 1]) : at([i, 1], [r, m]);
  const b = right === "plain" ? at([j, k], [r, 1]) : at([j, 1], [r, n]);
  return sample(
    `contract_${m}x${n}x${k}_${left}_${right}`,
    slots("f32", "f32", "write f32"),
    [m * k, n * k, m * n],
    {
      form: "contract",
      batch: [],
      row: [i],
      col: [j],
      terms: [{ inner: [r], left: load(0, a), right: load(1, b) }],
      stores: [store(2, at([i, n], [j, 1]), acc())],
    },
  );
}

function batched(): Sample {
  const b = loop("b", 3), i = loop("i", 10), j = loop("j", 6), r = loop("r", 20);
  return sample("contract_batched", slots("f32", "f32", "write f32"), [600, 360, 180], {
    form: "contract",
    batch: [b],
    row: [i],
    col: [j],
    terms: [{
      inner: [r],
      left: load(0, at([b, 200], [i, 20], [r, 1])),
      right: load(1, at([b, 120], [r, 6], [j, 1])),
    }],
    stores: [store(2, at([b, 60], [i, 6], [j, 1]), acc())],
  });
}

/** Attention scores: heads grouped over shared keys, scaled and masked. */
function scores(name: string, n: number): Sample {
  const b = loop("b", 2), h = loop("h", 4), i = loop("i", n), j = loop("j", n), r = loop("r", 8);
  const key = ixAdd(at([b, 16 * n], [j, 16], [r, 1]), ixScale(ixDiv(ixVar(h), 2), 8));
  const causal = call("le", indexValue(ixVar(j)), indexValue(ixVar(i)));
  return sample(name, slots("f32", "f32", "write f32"), [64 * n, 32 * n, 8 * n * n], {
    form: "contract",
    batch: [b, h],
    row: [i],
    col: [j],
    terms: [{ inner: [r], left: load(0, at([b, 32 * n], [i, 32], [h, 8], [r, 1])), right: load(1, key) }],
    stores: [
      store(
        2,
        at([b, 4 * n * n], [h, n * n], [i, n], [j, 1]),
        call("select", causal, call("mul", acc(), constant(0.35)), constant(-1e9)),
      ),
    ],
  });
}

/** x·Wᵀ + s·(x·Aᵀ)·Bᵀ in one accumulator, the bias after it. */
function lowRank(): Sample {
  const i = loop("i", 21), j = loop("j", 34), k = loop("k", 40), q = loop("q", 5);
  return sample("contract_low_rank", slots("f32", "f32", "f32", "f32", "f32", "f32", "write f32"), [
    840,
    1360,
    105,
    170,
    1,
    34,
    714,
  ], {
    form: "contract",
    batch: [],
    row: [i],
    col: [j],
    terms: [
      { inner: [k], left: load(0, at([i, 40], [k, 1])), right: load(1, at([j, 40], [k, 1])) },
      {
        inner: [q],
        left: call("mul", load(4, ixConst(0)), load(2, at([i, 5], [q, 1]))),
        right: load(3, at([j, 5], [q, 1])),
      },
    ],
    stores: [store(6, at([i, 34], [j, 1]), call("add", acc(), load(5, ixVar(j))))],
  });
}

/** Rows, columns and inner axis of two variables each, the result with heads before positions. */
function reshaped(): Sample {
  const b = loop("b", 2),
    t = loop("t", 5),
    h = loop("h", 3),
    e = loop("e", 4),
    p = loop("p", 6),
    q = loop("q", 7);
  return sample("contract_reshaped", slots("f32", "f32", "write f32"), [420, 504, 120], {
    form: "contract",
    batch: [],
    row: [b, t],
    col: [h, e],
    terms: [{
      inner: [p, q],
      left: load(0, at([p, 70], [b, 35], [t, 7], [q, 1])),
      right: load(1, at([h, 168], [e, 42], [q, 6], [p, 1])),
    }],
    stores: [store(2, at([b, 60], [h, 20], [t, 4], [e, 1]), acc())],
  });
}

/** Scaled by inner feature on the way in; residual and silu on the way out. */
function dressed(): Sample {
  const i = loop("i", 18), j = loop("j", 36), r = loop("r", 24), here = at([i, 36], [j, 1]);
  const silu = call("div", acc(), call("add", constant(1), call("exp", call("neg", acc()))));
  return sample(
    "contract_dressed",
    slots("f32", "f32", "f32", "f32", "write f32"),
    [432, 24, 864, 648, 648],
    {
      form: "contract",
      batch: [],
      row: [i],
      col: [j],
      terms: [{
        inner: [r],
        left: call("mul", load(0, at([i, 24], [r, 1])), load(1, ixVar(r))),
        right: load(2, at([j, 24], [r, 1])),
      }],
      stores: [store(4, here, call("add", load(3, here), silu))],
    },
  );
}

function twoStores(): Sample {
  const i = loop("i", 13), j = loop("j", 15), r = loop("r", 9);
  return sample("contract_two_stores", slots("f32", "f32", "write f32", "write f32"), [117, 135, 195, 195], {
    form: "contract",
    batch: [],
    row: [i],
    col: [j],
    terms: [{ inner: [r], left: load(0, at([i, 9], [r, 1])), right: load(1, at([j, 9], [r, 1])) }],
    stores: [store(2, at([i, 15], [j, 1]), acc()), store(3, at([j, 13], [i, 1]), call("mul", acc(), acc()))],
  });
}

/** The right side in a 16-bit type, as frozen weights are. */
function short(dtype: DType, m: number, n: number, k: number): Sample {
  const i = loop("i", m), j = loop("j", n), r = loop("r", k);
  return sample(`contract_${dtype}_${m}x${n}x${k}`, slots("f32", dtype, "write f32"), [m * k, n * k, m * n], {
    form: "contract",
    batch: [],
    row: [i],
    col: [j],
    terms: [{ inner: [r], left: load(0, at([i, k], [r, 1])), right: load(1, at([j, k], [r, 1])) }],
    stores: [store(2, at([i, n], [j, 1]), acc())],
  });
}

/** Both sides 16 bits wide, and so is the result's type: sums of few products of eighths stay exact in f16. */
function shortResult(): Sample {
  const i = loop("i", 8), j = loop("j", 12), r = loop("r", 2);
  return sample("contract_f16_result", slots("f16", "f16", "write f16"), [16, 24, 96], {
    form: "contract",
    batch: [],
    row: [i],
    col: [j],
    terms: [{ inner: [r], left: load(0, at([i, 2], [r, 1])), right: load(1, at([j, 2], [r, 1])) }],
    stores: [store(2, at([i, 12], [j, 1]), acc())],
  }, (slot, n) => slot === 2 ? undefined : ((n * 5) % 17 - 8) / 8);
}

/** A convolution: the left side is read through a moving, padded window. */
function window(): Sample {
  const t = loop("t", 14), j = loop("j", 6), w = loop("w", 3), c = loop("c", 4);
  const from = ixAdd(ixVar(t), ixVar(w), ixConst(-1));
  return sample("contract_window", slots("f32", "f32", "write f32"), [56, 72, 84], {
    form: "contract",
    batch: [],
    row: [t],
    col: [j],
    terms: [{
      inner: [w, c],
      left: load(0, ixAdd(ixScale(from, 4), ixVar(c)), [{ ix: from, lo: 0, hi: 14 }]),
      right: load(1, at([j, 12], [w, 4], [c, 1])),
    }],
    stores: [store(2, at([t, 6], [j, 1]), acc())],
  });
}

/** Rotated features on the left, rows of the right chosen by an index in memory. */
function gathered(): Sample {
  const i = loop("i", 7), j = loop("j", 10), r = loop("r", 16);
  const chosen = ixValue(load(2, ixVar(j), [], "u32"), 30, "s2[j]");
  return sample("contract_gathered", slots("f32", "f32", "u32", "write f32"), [112, 480, 10, 70], {
    form: "contract",
    batch: [],
    row: [i],
    col: [j],
    terms: [{
      inner: [r],
      left: load(0, ixAdd(at([i, 16]), ixMod(ixAdd(ixVar(r), ixConst(8)), 16))),
      right: load(1, ixAdd(ixScale(chosen, 16), ixVar(r))),
    }],
    stores: [store(3, at([i, 10], [j, 1]), acc())],
  }, (slot, n) => (slot === 2 ? (n * 11) % 30 : undefined));
}

/** Operands that the loops do not all reach: a computed left side, no row and no column. */
function dot(): Sample {
  const r = loop("r", 130);
  const square: Expr = call("mul", load(0, ixVar(r)), load(0, ixVar(r)));
  return sample("contract_dot", slots("f32", "f32", "write f32"), [130, 130, 1], {
    form: "contract",
    batch: [],
    row: [],
    col: [],
    terms: [{ inner: [r], left: square, right: load(1, ixVar(r)) }],
    stores: [store(2, ixConst(0), acc())],
  });
}

/** Contractions. */
export const contractSamples: readonly Sample[] = [
  matmul(33, 17, 65),
  matmul(33, 17, 65, "plain", "transposed"),
  matmul(33, 17, 65, "transposed", "plain"),
  matmul(33, 17, 65, "transposed", "transposed"),
  matmul(64, 64, 64),
  matmul(64, 64, 64, "transposed", "transposed"),
  matmul(130, 70, 8),
  matmul(70, 8, 130, "plain", "transposed"),
  matmul(1, 100, 64),
  matmul(1, 100, 64, "plain", "transposed"),
  matmul(100, 1, 64, "transposed"),
  matmul(2, 3, 1),
  matmul(3, 3, 2000),
  matmul(150, 140, 70),
  matmul(150, 140, 72, "plain", "transposed"),
  matmul(148, 140, 50, "transposed", "plain"),
  matmul(148, 150, 40, "transposed", "transposed"),
  matmul(40, 16, 530),
  batched(),
  scores("contract_scores", 9),
  scores("contract_scores_wide", 18),
  lowRank(),
  reshaped(),
  dressed(),
  twoStores(),
  short("f16", 20, 24, 32),
  short("f16", 9, 7, 13),
  short("bf16", 20, 24, 32),
  short("bf16", 9, 7, 13),
  short("bf16", 1, 33, 64),
  shortResult(),
  window(),
  gathered(),
  dot(),
];
