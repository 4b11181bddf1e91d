/** Rows of elementwise ops, of views and of random numbers. @module */
import { aval } from "../../core/ir/mod.ts";
import * as ops from "../../ops/mod.ts";
import { apart, on1, on2, type OpRow, type Options, positive, row, whole } from "./row.ts";

/** Rows of ops that compute each element by itself. */
export const elementwise: readonly OpRow[] = [
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

/** Rows of ops that only move elements. */
export const views: readonly OpRow[] = [
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

const key = aval([2], "u32");
const keyed: Options = { order: 0, fill: (_u, i) => [123456789, 4000000000][i]! };

/** Rows of ops that draw numbers. */
export const random: readonly OpRow[] = [
  row("key", [], () => ops.key(0x123456789abcd).bits, whole),
  row("randomBits", [key], on1((bits) => ops.randomBits({ bits }, [3, 5])), keyed),
  row("uniform", [key], on1((bits) => ops.uniform({ bits }, [3, 5], -2, 3)), keyed),
  row("normal", [key], on1((bits) => ops.normal({ bits }, [3, 5])), keyed),
  row("dropped", [aval([3, 5])], on1((x) => ops.dropped(x, 0.3, ops.key(7)))),
  row("split", [key], on1((bits) => ops.split({ bits }, 3)[2]!.bits), keyed),
  row("foldIn", [key], on1((bits) => ops.foldIn({ bits }, 42).bits), keyed),
];
