/** Elementwise kernels: index maps, conditions, scalar functions. @module */
import { call, constant, type Expr, type FnName, indexValue, type ScalarType } from "../../core/ir/expr.ts";
import { ixAdd, ixConst, ixDiv, ixMod, ixScale, ixUnravel, ixValue, ixVar } from "../../core/ir/ix.ts";
import { at, load, loop, row, type Sample, sample, slots, store } from "./build.ts";

const f = (value: number): Expr => constant(value);
const u = (value: number): Expr => constant(value, "u32");

function broadcast(): Sample {
  const i = loop("i", 7), j = loop("j", 33);
  const value = call(
    "add",
    call("mul", load(0, at([i, 33], [j, 1])), load(1, at([j, 1]))),
    load(2, at([i, 1])),
  );
  const body = row({ outer: [i], inner: [j], stores: [store(3, at([i, 33], [j, 1]), value)] });
  return sample("map_broadcast", slots("f32", "f32", "f32", "write f32"), [231, 33, 7, 231], body);
}

function transpose(): Sample {
  const i = loop("i", 33), j = loop("j", 20);
  const body = row({
    outer: [i],
    inner: [j],
    stores: [store(1, at([i, 20], [j, 1]), load(0, at([i, 1], [j, 33])))],
  });
  return sample("map_transpose", slots("f32", "write f32"), [660, 660], body);
}

/** Every third element, from the end to the beginning, written with a gap. */
function strided(): Sample {
  const i = loop("i", 3), j = loop("j", 16);
  const from = ixAdd(ixConst(143), ixScale(at([i, 48], [j, 3]), -1));
  const body = row({ outer: [i], inner: [j], stores: [store(1, at([i, 32], [j, 2]), load(0, from))] });
  return sample("map_strided", slots("f32", "write f32"), [144, 95], body);
}

function pad(): Sample {
  const i = loop("i", 9), j = loop("j", 13);
  const r = ixAdd(ixVar(i), ixConst(-2)), c = ixAdd(ixVar(j), ixConst(-3));
  const valid = [{ ix: r, lo: 0, hi: 5 }, { ix: c, lo: 0, hi: 8 }];
  const value = call("add", load(0, ixAdd(ixScale(r, 8), c), valid), f(1));
  const body = row({ outer: [i], inner: [j], stores: [store(1, at([i, 13], [j, 1]), value)] });
  return sample("map_pad", slots("f32", "write f32"), [40, 117], body);
}

/** The memory order of [6, 10] read through a transposed [4, 15]. */
function reshape(): Sample {
  const i = loop("i", 6), j = loop("j", 10);
  const [p, q] = ixUnravel(at([i, 10], [j, 1]), [4, 15]);
  const from = ixAdd(p!, ixScale(q!, 4));
  const body = row({ outer: [i], inner: [j], stores: [store(1, at([i, 10], [j, 1]), load(0, from))] });
  return sample("map_reshape", slots("f32", "write f32"), [60, 60], body);
}

function divMod(): Sample {
  const i = loop("i", 70);
  const from = ixAdd(ixScale(ixMod(ixDiv(ixVar(i), 3), 5), 2), ixMod(ixAdd(ixVar(i), ixConst(1)), 2));
  return sample(
    "map_div_mod",
    slots("f32", "write f32"),
    [10, 70],
    row({ inner: [i], stores: [store(1, ixVar(i), load(0, from))] }),
  );
}

function roll(): Sample {
  const i = loop("i", 5), j = loop("j", 64);
  const from = ixAdd(at([i, 64]), ixMod(ixAdd(ixVar(j), ixConst(32)), 64));
  const sign = call("select", call("lt", indexValue(ixVar(j)), constant(32, "i32")), f(-1), f(1));
  const value = call("mul", load(0, from), sign);
  const body = row({ outer: [i], inner: [j], stores: [store(1, at([i, 64], [j, 1]), value)] });
  return sample("map_roll", slots("f32", "write f32"), [320, 320], body);
}

function gather(dtype: "i32" | "u32"): Sample {
  const i = loop("i", 11), j = loop("j", 12);
  const table = ixValue(load(1, ixVar(i), [], dtype), 17, `s1[${ixVar(i).key}]`);
  const value = load(0, ixAdd(ixScale(table, 12), ixVar(j)));
  const body = row({ outer: [i], inner: [j], stores: [store(2, at([i, 12], [j, 1]), value)] });
  const fill = (slot: number, n: number) => (slot === 1 ? (n * 7) % 17 : undefined);
  return sample(`map_gather_${dtype}`, slots("f32", dtype, "write f32"), [204, 11, 132], body, fill);
}

/** One element of each row, chosen by a label that may point outside: then the load is 0. */
function pick(): Sample {
  const i = loop("i", 10), j = loop("j", 6);
  const label = load(1, ixVar(i), [], "i32");
  const hit = call("eq", indexValue(ixVar(j)), label);
  const value = call("select", hit, load(0, at([i, 6], [j, 1])), f(0));
  const body = row({ outer: [i], inner: [j], stores: [store(2, at([i, 6], [j, 1]), value)] });
  const fill = (slot: number, n: number) => (slot === 1 ? (n % 7) - 1 : undefined);
  return sample("map_pick", slots("f32", "i32", "write f32"), [60, 10, 60], body, fill);
}

/** A gather at a padded place: neither the index nor the element may be read there. */
function paddedGather(): Sample {
  const i = loop("i", 12);
  const shifted = ixAdd(ixVar(i), ixConst(-4));
  const valid = [{ ix: shifted, lo: 0, hi: 5 }];
  const from = ixValue(load(1, shifted, valid, "i32"), 9, `s1[${shifted.key}]`);
  const body = row({ inner: [i], stores: [store(2, ixVar(i), load(0, from, valid))] });
  return sample(
    "map_padded_gather",
    slots("f32", "i32", "write f32"),
    [9, 5, 12],
    body,
    (s, n) => s === 1 ? 8 - n : undefined,
  );
}

const UNARY: readonly FnName[] = ["neg", "abs", "floor", "exp", "sin", "cos", "tanh"];
const BINARY: readonly FnName[] = ["add", "sub", "mul", "max", "min"];

/** Each function of reals into a row of its own, so that a wrong one shows by itself. */
function realFns(): Sample {
  const j = loop("j", 37);
  const x = call("mul", load(0, ixVar(j)), f(3)), y = load(1, ixVar(j));
  const positive = call("add", call("abs", x), f(0.25));
  const values = [
    ...UNARY.map((fn) => call(fn, x)),
    ...BINARY.map((fn) => call(fn, x, y)),
    call("div", x, call("add", call("abs", y), f(0.5))),
    call("log", positive),
    call("sqrt", positive),
  ];
  const stores = values.map((value, n) => store(2, ixAdd(ixVar(j), ixConst(37 * n)), value));
  return sample(
    "map_real_fns",
    slots("f32", "f32", "write f32"),
    [37, 37, 37 * values.length],
    row({ inner: [j], stores }),
  );
}

/** Extremes: infinities, large arguments of tanh and exp, -0 and .5 under floor. */
function extremes(): Sample {
  const j = loop("j", 12);
  const x = load(0, ixVar(j));
  const values = [
    call("exp", x),
    call("tanh", x),
    call("floor", x),
    call("max", x, f(-Infinity)),
    call("abs", x),
  ];
  const numbers = [0, -0, 0.5, -0.5, 2.5, -2.5, 80, -80, 30, -100, 1e-20, -3];
  const stores = values.map((value, n) => store(1, ixAdd(ixVar(j), ixConst(12 * n)), value));
  return sample(
    "map_extremes",
    slots("f32", "write f32"),
    [12, 60],
    row({ inner: [j], stores }),
    (s, n) => s === 0 ? numbers[n] : undefined,
  );
}

function comparisons(): Sample {
  const j = loop("j", 30);
  const x = load(0, ixVar(j), [], "i32"), y = load(1, ixVar(j), [], "i32"), b = load(2, ixVar(j), [], "bool");
  const lt = call("lt", x, y), le = call("le", x, y), eq = call("eq", x, y);
  const tests = [lt, le, eq, call("and", le, b), call("or", eq, b), call("not", b)];
  const stores = [
    ...tests.map((value, n) => store(3, ixAdd(ixVar(j), ixConst(30 * n)), value)),
    store(4, ixVar(j), call("select", call("or", lt, b), call("mul", x, y), call("sub", call("neg", x), y))),
    store(5, ixVar(j), call("toF32", call("select", b, call("max", x, y), call("min", x, y)))),
    store(6, ixVar(j), call("toF32", b)),
  ];
  const bindings = slots("i32", "i32", "bool", "write bool", "write i32", "write f32", "write f32");
  return sample("map_comparisons", bindings, [30, 30, 30, 180, 30, 30, 30], row({ inner: [j], stores }));
}

/** Comparisons of reals, and of u32 above 2³¹, which are not negative. */
function orders(): Sample {
  const j = loop("j", 24);
  const x = load(0, ixVar(j)), y = load(1, ixVar(j)), p = load(2, ixVar(j), [], "u32");
  const stores = [
    store(3, ixVar(j), call("lt", x, y)),
    store(4, ixVar(j), call("select", call("le", y, x), x, y)),
    store(5, ixVar(j), call("lt", p, u(2 ** 31))),
    store(6, ixVar(j), call("select", call("le", u(2 ** 31), p), call("max", p, u(7)), call("min", p, u(7)))),
  ];
  const bindings = slots("f32", "f32", "u32", "write bool", "write f32", "write bool", "write u32");
  return sample("map_orders", bindings, [24, 24, 24, 24, 24, 24, 24], row({ inner: [j], stores }));
}

function conversions(): Sample {
  const j = loop("j", 19);
  const x = call("mul", load(0, ixVar(j)), f(100)), n = load(1, ixVar(j), [], "u32");
  const stores = [
    store(2, ixVar(j), call("toI32", x)),
    store(3, ixVar(j), call("toU32", call("abs", x))),
    // 24 bits, as random numbers take them: exact in f32.
    store(4, ixVar(j), call("mul", call("toF32", call("shr", n, u(8))), f(2 ** -24))),
    store(5, ixVar(j), call("toF32", call("toI32", x))),
  ];
  const bindings = slots("f32", "u32", "write i32", "write u32", "write f32", "write f32");
  return sample("map_conversions", bindings, [19, 19, 19, 19, 19, 19], row({ inner: [j], stores }));
}

function bitOps(): Sample {
  const j = loop("j", 21);
  const x = load(0, ixVar(j), [], "u32"), y = load(1, ixVar(j), [], "u32");
  const values = [
    call("uadd", x, y),
    call("xor", x, y),
    call("or32", x, y),
    call("shl", x, u(13)),
    call("shr", x, u(19)),
  ];
  const stores = values.map((value, n) => store(2, ixAdd(ixVar(j), ixConst(21 * n)), value));
  return sample("map_bit_ops", slots("u32", "u32", "write u32"), [21, 21, 105], row({ inner: [j], stores }));
}

/** Twenty rounds of add, rotate and xor: every value is used twice, so a tree of it would have 2²⁰ leaves. */
function rounds(): Sample {
  const j = loop("j", 50);
  const rotate = (x: Expr, by: number) => call("or32", call("shl", x, u(by)), call("shr", x, u(32 - by)));
  let x: Expr = call("uadd", call("toU32", indexValue(ixVar(j))), load(0, ixConst(0), [], "u32"));
  let y: Expr = load(0, ixConst(1), [], "u32");
  for (let n = 0; n < 20; n++) {
    x = call("uadd", x, y);
    y = call("xor", rotate(y, [13, 15, 26, 6][n % 4]!), x);
    if (n % 4 === 3) y = call("uadd", y, u(0x9e3779b9 + n));
  }
  const stores = [store(1, ixVar(j), x), store(1, ixAdd(ixVar(j), ixConst(50)), y)];
  return sample("map_rounds", slots("u32", "write u32"), [2, 100], row({ inner: [j], stores }));
}

function iota(): Sample {
  const i = loop("i", 6), j = loop("j", 10), place = at([i, 10], [j, 1]);
  const causal = call("le", indexValue(ixVar(j)), indexValue(ixAdd(ixVar(i), ixConst(2))));
  const stores = [
    store(0, place, indexValue(place)),
    store(1, place, call("toF32", indexValue(ixDiv(place, 7)))),
    store(2, place, call("select", causal, f(0), f(-1e9))),
  ];
  return sample(
    "map_iota",
    slots("write i32", "write f32", "write f32"),
    [60, 60, 60],
    row({ outer: [i], inner: [j], stores }),
  );
}

/** `extents` all in `outer`, in `inner`, or split: the printers flatten them differently. */
function scaled(name: string, outer: readonly number[], inner: readonly number[]): Sample {
  const o = outer.map((n, i) => loop(`o${i}`, n)), e = inner.map((n, i) => loop(`e${i}`, n));
  const vars = [...o, ...e];
  let size = 1;
  const strides = vars.map((v) => v.extent).reverse().map((n) => (size *= n) / n).reverse();
  const place = at(...vars.map((v, i) => [v, strides[i]!] as const));
  const value = call("add", call("mul", load(0, place), f(0.5)), f(-2));
  return sample(
    `map_${name}`,
    slots("f32", "write f32"),
    [size, size],
    row({ outer: o, inner: e, stores: [store(1, place, value)] }),
  );
}

function noVars(): Sample {
  const value = call("mul", load(0, ixConst(0)), load(1, ixConst(2)));
  return sample(
    "map_no_vars",
    slots("f32", "f32", "write f32"),
    [1, 3, 1],
    row({ rowStores: [store(2, ixConst(0), value)] }),
  );
}

function storage(dtype: "f16" | "bf16", type: ScalarType = "f32"): Sample {
  const j = loop("j", 45);
  const value = call(
    "add",
    load(0, ixVar(j), [], type),
    load(1, ixAdd(ixScale(ixVar(j), -1), ixConst(44)), [], type),
  );
  const body = row({ inner: [j], stores: [store(2, ixVar(j), value)] });
  return sample(`map_${dtype}`, slots(dtype, dtype, "write f32"), [45, 45, 45], body);
}

/** Stores a 16-bit type; `extent` odd leaves half a word at the end. The sums are exact in it. */
function storeShort(dtype: "f16" | "bf16", extent: number): Sample {
  const j = loop("j", extent);
  const value = call("mul", load(0, ixVar(j)), f(-2));
  const body = row({ inner: [j], stores: [store(1, ixVar(j), value)] });
  return sample(`map_store_${dtype}_${extent}`, slots(dtype, `write ${dtype}`), [extent, extent], body);
}

/** A step of an optimiser: parameter and moment updated in place. */
function inPlace(): Sample {
  const j = loop("j", 101), x = ixVar(j);
  const moment = call("add", call("mul", load(1, x), f(0.9)), call("mul", load(2, x), f(0.1)));
  const stores = [
    store(0, x, call("sub", load(0, x), call("mul", moment, load(3, ixConst(0))))),
    store(1, x, moment),
  ];
  return sample(
    "map_in_place",
    slots("readwrite f32", "readwrite f32", "f32", "f32"),
    [101, 101, 101, 1],
    row({ inner: [j], stores }),
  );
}

/** Elementwise samples. */
export const mapSamples: readonly Sample[] = [
  broadcast(),
  transpose(),
  strided(),
  pad(),
  reshape(),
  divMod(),
  roll(),
  gather("i32"),
  gather("u32"),
  pick(),
  paddedGather(),
  realFns(),
  extremes(),
  comparisons(),
  orders(),
  conversions(),
  bitOps(),
  rounds(),
  iota(),
  scaled("one", [1], [1]),
  scaled("long", [], [100_003]),
  scaled("many_outer", [3, 5, 7], []),
  scaled("many_axes", [3, 5], [7, 2]),
  scaled("tall", [70_001], [1]),
  noVars(),
  storage("f16"),
  storage("bf16"),
  storeShort("f16", 16),
  storeShort("f16", 33),
  storeShort("bf16", 16),
  storeShort("bf16", 33),
  inPlace(),
];
