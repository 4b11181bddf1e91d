/**
 * Functions that WebAssembly lacks, on four f32 lanes: elementary functions by range reduction and polynomials
 * (relative error a few 1e-7), and the conversions of f16. @module
 */
/** Address of the constants, in the first page of the memory. */
const CONSTANTS_AT = 4096;
/** Bits of the constants in use; each fills four lanes in memory, from where it is read faster than put together. */
const constants: number[] = [];

const all = (n: number): string => {
  const bits = n >>> 0, known = constants.indexOf(bits);
  const index = known >= 0 ? known : constants.push(bits) - 1;
  return `(v128.load offset=${CONSTANTS_AT + 16 * index} (i32.const 0))`;
};
const f32x4 = (x: number): string => all(new Uint32Array(Float32Array.of(x).buffer)[0]!);
const X = "(local.get $x)";
const op = (name: string, ...args: readonly string[]): string => `(${name} ${args.join(" ")})`;
const add = (a: string, b: string): string => op("f32x4.add", a, b);
const mul = (a: string, b: string): string => op("f32x4.mul", a, b);
const fma = (a: string, b: string, c: string): string => op("f32x4.relaxed_madd", a, b, c);
const local = (name: string): string => `(local.get $${name})`;
const set = (name: string, code: string): string => `(local.set $${name} ${code})`;

/** Horner's rule, highest coefficient first. */
function polynomial(x: string, coefficients: readonly number[]): string {
  return coefficients.slice(1).reduce((sum, c) => fma(sum, x, f32x4(c)), f32x4(coefficients[0]!));
}

function lanes(name: string, locals: string, ...lines: readonly string[]): string {
  return `(func $${name} (param $x v128) (result v128) ${locals}\n${lines.join("\n")})`;
}

const TANH_SERIES = [
  -929569 / 638512875,
  21844 / 6081075,
  -1382 / 155925,
  62 / 2835,
  -17 / 315,
  2 / 15,
  -1 / 3,
];
/** π/2 with its last 27 bits zero, so that its product with a small integer is exact in f64. */
const HALF_PI_HIGH = 1.5707963109016418;
const HALF_PI_LOW = 1.58932547735282e-8;
const LN2_HIGH = 0.693145751953125;
const LN2_LOW = 1.42860682030941723212e-6;

/** 2^n for integral `n` (as f32) in [-252, 254], as a product of two powers that are each normal or 0. */
function scaleByPower(value: string, n: string): string {
  const half = op("i32x4.shr_s", n, "(i32.const 1)");
  const power = (k: string): string => op("i32x4.shl", op("i32x4.add", k, all(127)), "(i32.const 23)");
  return mul(mul(value, power(half)), power(op("i32x4.sub", n, half)));
}

// pmax and pmin with x first keep a NaN, and are one instruction each.
// e^x = 2^n · e^r with r = x - n·ln 2, |r| ≤ ln 2 / 2; e^r by its Taylor series to r⁷.
const exp = lanes(
  "exp",
  "(local $n v128) (local $r v128) (local $y v128)",
  set("y", op("f32x4.pmin", op("f32x4.pmax", X, f32x4(-104)), f32x4(89))),
  set("n", op("f32x4.nearest", mul(local("y"), f32x4(Math.LOG2E)))),
  set("r", fma(local("n"), f32x4(-LN2_LOW), fma(local("n"), f32x4(-LN2_HIGH), local("y")))),
  set("n", op("i32x4.relaxed_trunc_f32x4_s", local("n"))),
  scaleByPower(polynomial(local("r"), [1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1, 1]), local("n")),
);

// x = 2^e · m with √½ ≤ m < √2; log m = 2·atanh(s) with s = (m-1)/(m+1), an odd series in s, |s| < 0.172.
const log = lanes(
  "log",
  "(local $b v128) (local $e v128) (local $s v128) (local $z v128) (local $small v128) (local $y v128)",
  set("small", op("f32x4.lt", X, f32x4(2 ** -126))),
  set("b", op("v128.bitselect", mul(X, f32x4(2 ** 23)), X, local("small"))),
  set("e", op("i32x4.shr_s", op("i32x4.sub", local("b"), all(0x3f3504f3)), "(i32.const 23)")),
  set("b", op("i32x4.sub", local("b"), op("i32x4.shl", local("e"), "(i32.const 23)"))),
  set("e", op("f32x4.convert_i32x4_s", op("i32x4.sub", local("e"), op("v128.and", local("small"), all(23))))),
  set("b", op("f32x4.sub", local("b"), f32x4(1))),
  set("s", op("f32x4.div", local("b"), add(local("b"), f32x4(2)))),
  set("z", mul(local("s"), local("s"))),
  // log m = f - s·(f - R) with f = m-1 and R = 2·(z/3 + z²/5 + …): no cancellation near 1.
  set("z", mul(local("z"), polynomial(local("z"), [2 / 11, 2 / 9, 2 / 7, 2 / 5, 2 / 3]))),
  set("y", op("f32x4.sub", local("b"), mul(local("s"), op("f32x4.sub", local("b"), local("z"))))),
  set("y", add(mul(local("e"), f32x4(LN2_HIGH)), fma(local("e"), f32x4(LN2_LOW), local("y")))),
  set("y", op("v128.bitselect", f32x4(-Infinity), local("y"), op("f32x4.eq", X, f32x4(0)))),
  set("y", op("v128.bitselect", f32x4(Infinity), local("y"), op("f32x4.eq", X, f32x4(Infinity)))),
  op("v128.bitselect", local("y"), f32x4(NaN), op("f32x4.ge", X, f32x4(0))),
);

// |x| < 0.55: the series of tanh through x¹⁵; else 1 - 2/(e^{2|x|} + 1) with the sign of x.
const tanh = lanes(
  "tanh",
  "(local $a v128) (local $z v128)",
  set("a", op("f32x4.abs", X)),
  set("z", mul(X, X)),
  op(
    "v128.bitselect",
    fma(mul(X, local("z")), polynomial(local("z"), TANH_SERIES), X),
    op(
      "v128.or",
      op(
        "f32x4.sub",
        f32x4(1),
        op("f32x4.div", f32x4(2), add(`(call $exp ${add(local("a"), local("a"))})`, f32x4(1))),
      ),
      op("v128.and", X, all(0x80000000)),
    ),
    op("f32x4.lt", local("a"), f32x4(0.55)),
  ),
);

/** The multiple of π/2 nearest to the f64 lanes `x`, taken away in two parts; `n` keeps the multiple. */
function reduceHalf(x: string, r: string, n: string): string[] {
  const both = (c: number): string => `(v128.const f64x2 ${c} ${c})`;
  return [
    set(r, op("f64x2.promote_low_f32x4", x)),
    set(n, op("f64x2.nearest", op("f64x2.mul", local(r), both(2 / Math.PI)))),
    set(r, op("f64x2.sub", local(r), op("f64x2.mul", local(n), both(HALF_PI_HIGH)))),
    set(r, op("f64x2.sub", local(r), op("f64x2.mul", local(n), both(HALF_PI_LOW)))),
  ];
}

// sin(r + n·π/2) is ±sin r or ±cos r by the last two bits of n; cos x = sin(x + π/2).
function sine(name: string, quarterTurns: number): string {
  const narrow = (convert: string, low: string, high: string): string =>
    op(
      "i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23",
      op(convert, local(low)),
      op(convert, local(high)),
    );
  return lanes(
    name,
    "(local $r v128) (local $s v128) (local $n v128) (local $m v128) (local $z v128)",
    ...reduceHalf(X, "r", "n"),
    ...reduceHalf(op("i8x16.shuffle 8 9 10 11 12 13 14 15 8 9 10 11 12 13 14 15", X, X), "s", "m"),
    set("r", narrow("f32x4.demote_f64x2_zero", "r", "s")),
    set("n", op("i32x4.add", narrow("i32x4.trunc_sat_f64x2_s_zero", "n", "m"), all(quarterTurns))),
    set("z", mul(local("r"), local("r"))),
    op(
      "v128.xor",
      op(
        "v128.bitselect",
        fma(local("z"), polynomial(local("z"), [-1 / 3628800, 1 / 40320, -1 / 720, 1 / 24, -0.5]), f32x4(1)),
        fma(
          mul(local("r"), local("z")),
          polynomial(local("z"), [1 / 362880, -1 / 5040, 1 / 120, -1 / 6]),
          local("r"),
        ),
        op("i32x4.eq", op("v128.and", local("n"), all(1)), all(1)),
      ),
      op("i32x4.shl", op("v128.and", local("n"), all(2)), "(i32.const 30)"),
    ),
  );
}

// Bits of f16 in the low half of each lane → f32: the product with 2¹¹² places the exponent and is exact for subnormals.
const fromHalf = lanes(
  "fromHalf",
  "(local $m v128)",
  set("m", op("i32x4.shl", op("v128.and", X, all(0x7fff)), "(i32.const 13)")),
  op(
    "v128.or",
    op("i32x4.shl", op("v128.and", X, all(0x8000)), "(i32.const 16)"),
    op(
      "v128.bitselect",
      op("v128.or", local("m"), all(0x7f800000)),
      mul(local("m"), f32x4(2 ** 112)),
      op("i32x4.ge_u", local("m"), all(0x7c00 << 13)),
    ),
  ),
);

// Rounds to nearest, ties to even. Below 2⁻¹⁴ the sum with ½ leaves the subnormal's bits in place, already rounded.
const toHalf = lanes(
  "toHalf",
  "(local $a v128) (local $h v128)",
  set("a", op("v128.and", X, all(0x7fffffff))),
  set(
    "h",
    op(
      "i32x4.shr_u",
      op(
        "i32x4.add",
        op("i32x4.sub", local("a"), all((112 << 23) - 0xfff)),
        op("v128.and", op("i32x4.shr_u", local("a"), "(i32.const 13)"), all(1)),
      ),
      "(i32.const 13)",
    ),
  ),
  set(
    "h",
    op(
      "v128.bitselect",
      op("i32x4.sub", add(local("a"), f32x4(0.5)), all(0x3f000000)),
      local("h"),
      op("i32x4.lt_u", local("a"), all(113 << 23)),
    ),
  ),
  set("h", op("v128.bitselect", all(0x7c00), local("h"), op("i32x4.ge_u", local("a"), all(0x477ff000)))),
  set("h", op("v128.bitselect", all(0x7e00), local("h"), op("i32x4.gt_u", local("a"), all(0x7f800000)))),
  op("v128.or", local("h"), op("i32x4.shr_u", op("v128.and", X, all(0x80000000)), "(i32.const 16)")),
);

// The upper half of f32, rounded to nearest, ties to even; NaN stays NaN.
const toBrain = lanes(
  "toBrain",
  "",
  op(
    "i32x4.shr_u",
    op(
      "v128.bitselect",
      op(
        "i32x4.add",
        X,
        op("i32x4.add", all(0x7fff), op("v128.and", op("i32x4.shr_u", X, "(i32.const 16)"), all(1))),
      ),
      all(0x7fc00000),
      op("f32x4.eq", X, X),
    ),
    "(i32.const 16)",
  ),
);

const functions: Readonly<Record<string, string>> = {
  exp,
  log,
  tanh,
  sin: sine("sin", 0),
  cos: sine("cos", 1),
  fromHalf,
  toHalf,
  toBrain,
};

/** Text of the data segment that holds the constants of all functions. */
export function mathConstants(): string {
  const bytes = new Uint8Array(
    Uint32Array.from(constants.flatMap((bits) => [bits, bits, bits, bits])).buffer,
  );
  const text = [...bytes].map((b) => `\\${b.toString(16).padStart(2, "0")}`).join("");
  return `(data (i32.const ${CONSTANTS_AT}) "${text}")`;
}

/** Text of the functions named, and of those that they call; each is `(v128) → v128`. */
export function mathFunctions(names: Iterable<string>): string {
  const wanted = new Set(names);
  if (wanted.has("tanh")) wanted.add("exp");
  return [...wanted].filter((name) => name in functions).map((name) => functions[name]!).join("\n");
}
