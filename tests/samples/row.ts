/** Row kernels: reductions, alone and with stores that use them. @module */
import { call, constant, type Expr } from "../../core/ir/expr.ts";
import { ixAdd, ixConst, ixDiv, ixMod, ixVar } from "../../core/ir/ix.ts";
import type { Combine } from "../../core/ir/lowering.ts";
import { acc, at, load, loop, row, type Sample, sample, slots, store } from "./build.ts";

function reduce(combine: Combine, rows: number, length: number): Sample {
  const o = loop("o", rows), r = loop("r", length);
  const body = row({
    outer: [o],
    reduces: [{ id: 0, inner: [r], combine, value: load(0, at([o, length], [r, 1])) }],
    rowStores: [store(1, ixVar(o), acc())],
  });
  return sample(`row_${combine}_${rows}x${length}`, slots("f32", "write f32"), [rows * length, rows], body);
}

function columns(rows: number, width: number): Sample {
  const o = loop("o", width), r = loop("r", rows);
  const body = row({
    outer: [o],
    reduces: [{ id: 0, inner: [r], combine: "add", value: load(0, at([r, width], [o, 1])) }],
    rowStores: [store(1, ixVar(o), acc())],
  });
  return sample(`row_columns_${rows}x${width}`, slots("f32", "write f32"), [rows * width, width], body);
}

/** Everything to one number, the square root of the sum of squares, over one flattened variable. */
function norm(): Sample {
  const r = loop("r", 33 * 41);
  const x = load(0, ixAdd(ixMod(ixVar(r), 41), ixDiv(ixVar(r), 41)));
  const y = load(1, ixVar(r));
  const body = row({
    reduces: [{
      id: 0,
      inner: [r],
      combine: "add",
      value: call("mul", call("add", x, y), call("add", x, y)),
    }],
    rowStores: [store(2, ixConst(0), call("sqrt", acc()))],
  });
  return sample("row_norm", slots("f32", "f32", "write f32"), [73, 33 * 41, 1], body);
}

/** Two inner variables and two outer ones. */
function multi(): Sample {
  const a = loop("a", 3), b = loop("b", 5), p = loop("p", 4), q = loop("q", 7);
  const body = row({
    outer: [a, b],
    reduces: [{
      id: 0,
      inner: [p, q],
      combine: "add",
      value: load(0, at([p, 105], [a, 35], [q, 5], [b, 1])),
    }],
    rowStores: [store(1, at([b, 3], [a, 1]), acc())],
  });
  return sample("row_multi_axis", slots("f32", "write f32"), [420, 15], body);
}

function softmax(rows: number, length: number, target: "write" | "readwrite"): Sample {
  const o = loop("o", rows), r = loop("r", length), e = loop("e", length);
  const x = (v: typeof r): Expr => load(0, at([o, length], [v, 1]));
  const exps = (v: typeof r): Expr => call("exp", call("sub", x(v), acc(0)));
  const out = target === "write" ? 1 : 0;
  const body = row({
    outer: [o],
    reduces: [
      { id: 0, inner: [r], combine: "max", value: x(r) },
      { id: 1, inner: [r], combine: "add", value: exps(r) },
    ],
    inner: [e],
    stores: [store(out, at([o, length], [e, 1]), call("div", exps(e), acc(1)))],
  });
  const size = rows * length;
  return target === "write"
    ? sample(`row_softmax_${rows}x${length}`, slots("f32", "write f32"), [size, size], body)
    : sample("row_softmax_in_place", slots("readwrite f32"), [size], body);
}

/** y = x · w / √(mean x² + ε), which also keeps the inverse root of each row. */
function rmsNorm(rows: number, d: number): Sample {
  const o = loop("o", rows), r = loop("r", d), e = loop("e", d);
  const x = (v: typeof r): Expr => load(0, at([o, d], [v, 1]));
  const inverse = call(
    "div",
    constant(1),
    call("sqrt", call("add", call("mul", acc(), constant(1 / d)), constant(1e-5))),
  );
  const body = row({
    outer: [o],
    reduces: [{ id: 0, inner: [r], combine: "add", value: call("mul", x(r), x(r)) }],
    rowStores: [store(3, ixVar(o), inverse)],
    inner: [e],
    stores: [store(2, at([o, d], [e, 1]), call("mul", call("mul", x(e), inverse), load(1, ixVar(e))))],
  });
  return sample(`row_rms_norm_${rows}x${d}`, slots("f32", "f32", "write f32", "write f32"), [
    rows * d,
    d,
    rows * d,
    rows,
  ], body);
}

/** Sum and largest of the same rows, and each element's distance from both, in four slots. */
function outputs(): Sample {
  const o = loop("o", 6), r = loop("r", 50), e = loop("e", 50);
  const body = row({
    outer: [o],
    reduces: [
      { id: 0, inner: [r], combine: "add", value: load(0, at([o, 50], [r, 1])) },
      { id: 1, inner: [r], combine: "max", value: load(0, at([o, 50], [r, 1])) },
    ],
    rowStores: [store(1, ixVar(o), acc(0)), store(2, ixVar(o), call("neg", acc(1)))],
    inner: [e],
    stores: [
      store(3, at([o, 50], [e, 1]), call("sub", load(0, at([o, 50], [e, 1])), acc(1))),
      store(4, at([e, 6], [o, 1]), call("sub", acc(0), load(0, at([o, 50], [e, 1])))),
    ],
  });
  const bindings = slots("f32", "write f32", "write f32", "write f32", "write f32");
  return sample("row_outputs", bindings, [300, 6, 6, 300, 300], body);
}

/** Reductions of different lengths in one row; the second reads padded elements. */
function lengths(): Sample {
  const o = loop("o", 9), r = loop("r", 12), q = loop("q", 5), p = ixAdd(ixVar(q), ixConst(-2));
  const padded = load(1, ixAdd(at([o, 3]), p), [{ ix: p, lo: 0, hi: 2 }]);
  const body = row({
    outer: [o],
    reduces: [
      { id: 0, inner: [r], combine: "add", value: load(0, at([o, 12], [r, 1])) },
      { id: 1, inner: [q], combine: "max", value: call("mul", padded, acc(0)) },
    ],
    rowStores: [store(2, ixVar(o), call("add", acc(0), acc(1)))],
  });
  return sample("row_lengths", slots("f32", "f32", "write f32"), [108, 27, 9], body);
}

/** Row kernels. */
export const rowSamples: readonly Sample[] = [
  reduce("add", 7, 33),
  reduce("max", 7, 33),
  reduce("add", 3, 1),
  reduce("add", 1, 64),
  reduce("add", 2, 5000),
  reduce("max", 1, 5000),
  reduce("add", 300, 8),
  columns(40, 30),
  columns(1000, 3),
  columns(5, 128),
  norm(),
  multi(),
  softmax(5, 33, "write"),
  softmax(3, 128, "write"),
  softmax(2, 1025, "write"),
  softmax(4, 70, "readwrite"),
  rmsNorm(6, 96),
  rmsNorm(3, 7),
  outputs(),
  lengths(),
];
