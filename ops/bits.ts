/** u32 arithmetic modulo 2³² and bit operations. No derivative. @module */
import { aval, call, constant, type Expr, primitive, type Tensor } from "../core/ir/mod.ts";
import { binary, bits, type Operand } from "./elementwise.ts";

/** (x + y) mod 2³². */
export const uadd: (x: Operand, y: Operand) => Tensor = binary("uadd", {
  takes: bits,
  fn: "uadd",
  reference: (x, y) => (x + y) >>> 0,
  vjp: () => [null, null],
});

/** Bitwise exclusive or. */
export const xor: (x: Operand, y: Operand) => Tensor = binary("xor", {
  takes: bits,
  fn: "xor",
  reference: (x, y) => (x ^ y) >>> 0,
  vjp: () => [null, null],
});

/** x shifted right by y bits, zeros in front. */
export const shiftRight: (x: Operand, y: Operand) => Tensor = binary("shiftRight", {
  takes: bits,
  fn: "shr",
  reference: (x, y) => x >>> y,
  vjp: () => [null, null],
});

const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]] as const;
const PARITY = 0x1bd11bda;

interface Arithmetic<T> {
  readonly add: (a: T, b: T) => T;
  readonly xor: (a: T, b: T) => T;
  readonly rotate: (a: T, by: number) => T;
  readonly literal: (n: number) => T;
}

/** Threefry-2x32 with 20 rounds, over any arithmetic. Salmon et al., SC 2011, §4. */
function threefry<T>(
  { add, xor, rotate, literal }: Arithmetic<T>,
  key: readonly [T, T],
  counter: readonly [T, T],
): readonly [T, T] {
  const keys = [key[0], key[1], xor(xor(key[0], key[1]), literal(PARITY))] as const;
  let [a, b] = [add(counter[0], keys[0]), add(counter[1], keys[1])];
  for (let group = 0; group < 5; group++) {
    for (const by of ROTATIONS[group % 2]!) {
      a = add(a, b);
      b = xor(rotate(b, by), a);
    }
    a = add(a, keys[(group + 1) % 3]!);
    b = add(add(b, keys[(group + 2) % 3]!), literal(group + 1));
  }
  return [a, b];
}

const onNumbers: Arithmetic<number> = {
  add: (a, b) => (a + b) >>> 0,
  xor: (a, b) => (a ^ b) >>> 0,
  rotate: (a, by) => ((a << by) | (a >>> (32 - by))) >>> 0,
  literal: (n) => n,
};

const onExprs: Arithmetic<Expr> = {
  add: (a, b) => call("uadd", a, b),
  xor: (a, b) => call("xor", a, b),
  rotate: (a, by) =>
    call("or32", call("shl", a, constant(by, "u32")), call("shr", a, constant(32 - by, "u32"))),
  literal: (n) => constant(n, "u32"),
};

/** One word of a Threefry-2x32 block: key words and counter words u32[...] of one shape → u32[...]; `word` is 0 or 1. */
export const threefryWord = primitive<[k0: Tensor, k1: Tensor, c0: Tensor, c1: Tensor], { word: 0 | 1 }>(
  "threefry",
  ({ word }) => ({
    shape: ([k0]) => aval(k0.shape, "u32"),
    reference: ([k0, k1, c0, c1]) =>
      k0.map((_, i) => threefry(onNumbers, [k0[i]!, k1[i]!], [c0[i]!, c1[i]!])[word]),
    vjp: () => [null, null, null, null],
    lower: {
      kind: "elementwise",
      expr: ([k0, k1, c0, c1]) => threefry(onExprs, [k0!, k1!], [c0!, c1!])[word],
    },
  }),
);
