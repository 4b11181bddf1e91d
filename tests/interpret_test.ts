/** The kernel interpreter against loops written anew for each sample. @module */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { call, constant, type Expr } from "../core/ir/expr.ts";
import { ixConst, ixVar, type Var } from "../core/ir/ix.ts";
import { interpret } from "../core/kernel/interpret.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import { kernelKey, showKernel } from "../core/kernel/show_kernel.ts";
import { sampleNamed, samples, slotsOf } from "./kernel_samples.ts";

type Slots = readonly Float64Array[];

/** A sample, and each element of one of its slots as a function of the slots before the run. */
interface Check {
  readonly name: string;
  readonly slot: number;
  readonly expected: (s: Slots) => readonly number[];
}

function table(sizes: readonly [number, number], f: (i: number, j: number) => number): number[] {
  return Array.from({ length: sizes[0] * sizes[1] }, (_, at) => f(Math.floor(at / sizes[1]), at % sizes[1]));
}

function sum(n: number, f: (k: number) => number): number {
  let total = 0;
  for (let k = 0; k < n; k++) total += f(k);
  return total;
}

const checks: readonly Check[] = [
  {
    name: "map_broadcast",
    slot: 3,
    expected: ([a, b, c]) => table([7, 33], (i, j) => a![33 * i + j]! * b![j]! + c![i]!),
  },
  { name: "map_transpose", slot: 1, expected: ([a]) => table([33, 20], (i, j) => a![33 * j + i]!) },
  {
    name: "map_pad",
    slot: 1,
    expected: ([a]) =>
      table([9, 13], (i, j) => 1 + (i >= 2 && i < 7 && j >= 3 && j < 11 ? a![8 * (i - 2) + j - 3]! : 0)),
  },
  {
    name: "map_roll",
    slot: 1,
    expected: ([a]) => table([5, 64], (i, j) => j < 32 ? -a![64 * i + j + 32]! : a![64 * i + j - 32]!),
  },
  { name: "map_gather_i32", slot: 2, expected: ([a, n]) => table([11, 12], (i, j) => a![n![i]! * 12 + j]!) },
  {
    name: "map_padded_gather",
    slot: 2,
    expected: ([a, n]) => table([1, 12], (_, i) => i >= 4 && i < 9 ? a![n![i - 4]!]! : 0),
  },
  {
    name: "map_in_place",
    slot: 0,
    expected: ([p, m, g, rate]) =>
      table([1, 101], (_, j) => p![j]! - (m![j]! * 0.9 + g![j]! * 0.1) * rate![0]!),
  },
  {
    name: "map_rounds",
    slot: 1,
    expected: ([key]) =>
      [...Array(50).keys()].map((j) => rounds(j, key!)[0]!).concat(
        [...Array(50).keys()].map((j) => rounds(j, key!)[1]!),
      ),
  },
  { name: "row_add_7x33", slot: 1, expected: ([a]) => table([7, 1], (i) => sum(33, (k) => a![33 * i + k]!)) },
  {
    name: "row_columns_40x30",
    slot: 1,
    expected: ([a]) => table([1, 30], (_, j) => sum(40, (k) => a![30 * k + j]!)),
  },
  { name: "row_max_1x5000", slot: 1, expected: ([a]) => [Math.max(...a!)] },
  ...(["row_softmax_5x33", "row_softmax_in_place"] as const).map((name, place): Check => {
    const [rows, n] = place === 0 ? [5, 33] : [4, 70];
    return {
      name,
      slot: 1 - place,
      expected: ([a]) =>
        table([rows!, n!], (i, j) => Math.exp(a![n! * i + j]!) / sum(n!, (k) => Math.exp(a![n! * i + k]!))),
    };
  }),
  {
    name: "row_rms_norm_6x96",
    slot: 3,
    expected: ([a]) => table([6, 1], (i) => 1 / Math.sqrt(sum(96, (k) => a![96 * i + k]! ** 2) / 96 + 1e-5)),
  },
  {
    name: "contract_33x17x65_transposed_plain",
    slot: 2,
    expected: ([a, b]) => table([33, 17], (i, j) => sum(65, (k) => a![33 * k + i]! * b![65 * j + k]!)),
  },
  {
    name: "contract_low_rank",
    slot: 6,
    expected: ([x, w, a, b, s, bias]) =>
      table([21, 34], (i, j) =>
        bias![j]! + sum(40, (k) => x![40 * i + k]! * w![40 * j + k]!) +
        s![0]! * sum(5, (q) => a![5 * i + q]! * b![5 * j + q]!)),
  },
  {
    name: "contract_window",
    slot: 2,
    expected: ([x, w]) =>
      table([14, 6], (t, j) =>
        sum(12, (k) => {
          const from = t + Math.floor(k / 4) - 1;
          return from < 0 || from > 13 ? 0 : x![4 * from + (k % 4)]! * w![12 * j + k]!;
        })),
  },
  {
    name: "stages_b8_m1_7x24",
    slot: 2,
    expected: ([x, c]) => table([7, 24], (i, f) => blockTimes(x!, c!, i, f, false)),
  },
  {
    name: "stages_b8_m1_7x24_transposed",
    slot: 2,
    expected: ([x, c]) => table([7, 24], (i, f) => blockTimes(x!, c!, i, f, true)),
  },
  {
    name: "stages_b4_m2_3x24",
    slot: 2,
    expected: ([x, c]) =>
      table([3, 24], (i, f) => {
        const first = (p: number) => sum(4, (k) => c![4 * p + k]! * x![24 * i + p - (p % 4) + k]!);
        // The second stage joins halves of neighbouring blocks: elements 8g + 4·leg + 2·lane + within.
        const g = Math.floor(f / 8), lane = Math.floor(f / 2) % 2, j = 2 * (Math.floor(f / 4) % 2) + f % 2;
        const from = (k: number) => 8 * g + 4 * Math.floor(k / 2) + 2 * lane + k % 2;
        return sum(4, (k) => c![96 + 4 * (4 * (2 * g + lane) + j) + k]! * first(from(k)));
      }),
  },
  {
    name: "stages_grad_b4_m1_6x12",
    slot: 3,
    // Block n, row j, column k of the cotangent: 4 · (4n + j) + k.
    expected: ([x, , ct]) =>
      table([12, 4], (nj, k) => sum(6, (i) => ct![12 * i + nj]! * x![12 * i + nj - (nj % 4) + k]!)),
  },
  {
    name: "scatter_6_20x4",
    slot: 2,
    expected: ([at, x]) => table([6, 4], (r, c) => sum(20, (i) => at![i] === r ? x![4 * i + c]! : 0)),
  },
];

/** One block-diagonal stage of blocks of 8. */
function blockTimes(x: Float64Array, c: Float64Array, i: number, f: number, transposed: boolean): number {
  const begin = f - (f % 8);
  return sum(8, (k) => c[transposed ? 8 * (begin + k) + (f % 8) : 8 * f + k]! * x[24 * i + begin + k]!);
}

function rounds(j: number, key: Float64Array): [number, number] {
  let x = (j + key[0]!) >>> 0, y = key[1]!;
  for (let n = 0; n < 20; n++) {
    const by = [13, 15, 26, 6][n % 4]!;
    x = (x + y) >>> 0;
    y = (((y << by) | (y >>> (32 - by))) ^ x) >>> 0;
    if (n % 4 === 3) y = (y + 0x9e3779b9 + n) >>> 0;
  }
  return [x, y];
}

for (const { name, slot, expected } of checks) {
  Deno.test(`interpret ${name}`, () => {
    const sample = sampleNamed(name);
    const slots = slotsOf(sample);
    const want = expected(slots.map((s) => s.slice()));
    interpret(sample.kernel, slots);
    assertEquals(slots[slot]!.length, want.length);
    want.forEach((value, i) => assertAlmostEquals(slots[slot]![i]!, value, 1e-12));
  });
}

Deno.test("interpret solves A·X = B", () => {
  for (const [name, batch, n, width] of [["solve_2x32x32", 2, 32, 32], ["solve_2x8x3", 2, 8, 3]] as const) {
    const sample = sampleNamed(name), slots = slotsOf(sample);
    interpret(sample.kernel, slots);
    const [a, b, x] = slots as [Float64Array, Float64Array, Float64Array];
    for (let s = 0; s < batch; s++) {
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < width; j++) {
          const product = sum(n, (k) => a[(s * n + i) * n + k]! * x[(s * n + k) * width + j]!);
          assertAlmostEquals(product, b[(s * n + i) * width + j]!, 1e-12);
        }
      }
    }
  }
});

Deno.test("transposed stages are the adjoint: ⟨y, S x⟩ = ⟨Sᵀ y, x⟩", () => {
  for (
    const name of ["stages_b4_m2_3x24", "stages_b8_m3_3x96", "stages_radix_3_4_2_4x48", "stages_b2_m3_9x24"]
  ) {
    const forward = sampleNamed(name),
      [x, c, sx] = slotsOf(forward) as [Float64Array, Float64Array, Float64Array];
    interpret(forward.kernel, [x, c, sx]);
    const y = x.map((v, i) => Math.sin(i) + v * v), sty = new Float64Array(y.length);
    interpret(sampleNamed(`${name}_transposed`).kernel, [y, c, sty]);
    assertAlmostEquals(sum(x.length, (i) => y[i]! * sx[i]!), sum(x.length, (i) => sty[i]! * x[i]!), 1e-8);
  }
});

Deno.test("stagesGrad is the derivative of stages", () => {
  const stages = sampleNamed("stages_b8_m3_3x96").kernel, grad = sampleNamed("stages_grad_b8_m3_5x96");
  const [x, c, ct, out] = slotsOf(grad) as [Float64Array, Float64Array, Float64Array, Float64Array];
  interpret(grad.kernel, [x, c, ct, out]);
  // The stages sample has 3 rows, this one 5: the derivative is checked on 3 of them, the others without cotangent.
  ct.fill(0, 3 * 96);
  interpret(grad.kernel, [x, c, ct, out]);
  const direction = c.map((_, i) => Math.cos(3 * i));
  const along = (step: number): number => {
    const y = new Float64Array(3 * 96);
    interpret(stages, [x.slice(0, 3 * 96), c.map((v, i) => v + step * direction[i]!), y]);
    return sum(y.length, (i) => y[i]! * ct[i]!);
  };
  const slope = (along(1e-4) - along(-1e-4)) / 2e-4;
  assertAlmostEquals(sum(c.length, (i) => out[i]! * direction[i]!) / slope, 1, 1e-6);
});

const i: Var = { name: "i", extent: 6 };

function map(
  value: Expr,
  at = ixVar(i),
  dtypes: readonly ["f32" | "i32", "f32" | "i32" | "u32" | "bool"] = ["f32", "f32"],
): Kernel {
  return {
    name: "tried",
    slots: [{ dtype: dtypes[0], access: "read" }, { dtype: dtypes[1], access: "write" }],
    body: {
      form: "row",
      outer: [],
      reduces: [],
      rowStores: [],
      inner: [i],
      stores: [{ slot: 1, ix: at, value }],
    },
  };
}

const loaded: Expr = { kind: "load", type: "f32", slot: 0, ix: ixVar(i), valid: [] };

Deno.test("interpret names kernel, slot and index of what is out of range", () => {
  assertThrows(
    () => interpret(map(loaded), [new Float64Array(5), new Float64Array(6)]),
    Error,
    "Kernel tried loads s0[5], but slot 0 has 5 elements",
  );
  assertThrows(
    () => interpret(map(loaded, ixConst(6)), [new Float64Array(6), new Float64Array(6)]),
    Error,
    "Kernel tried stores to s1[6], but slot 1 has 6 elements",
  );
  const gather = sampleNamed("map_gather_i32"), slots = slotsOf(gather);
  slots[1]![4] = 17;
  assertThrows(() => interpret(gather.kernel, slots), Error, "reads index 17 from memory; expected 0 to 16");
  const scatter = sampleNamed("scatter_6_20x4"), into = slotsOf(scatter);
  into[0]![3] = 6;
  assertThrows(() => interpret(scatter.kernel, into), Error, "stores to row 6 of slot 2, which has 6 rows");
});

Deno.test("integers wrap at 32 bits and reals are cut towards zero when stored as integers", () => {
  const whole: Expr = { ...loaded, type: "i32" };
  const product = call("mul", whole, call("mul", whole, constant(3, "i32")));
  const x = Float64Array.of(0, 1, -7, 70_000, 65_536, 2 ** 31 - 1), out = new Float64Array(6);
  interpret(map(product, ixVar(i), ["i32", "i32"]), [x, out]);
  assertEquals([...out], [...x].map((v) => Number(BigInt.asIntN(32, 3n * BigInt(v) * BigInt(v)))));
  interpret(map(loaded, ixVar(i), ["f32", "i32"]), [Float64Array.of(1.9, -1.9, 0.5, -0.5, 3, -4), out]);
  assertEquals([...out].map((v) => v + 0), [1, -1, 0, 0, 3, -4]);
  interpret(map(loaded, ixVar(i), ["f32", "bool"]), [Float64Array.of(1.9, 0, -0.5, 0, 3, -0), out]);
  assertEquals([...out], [1, 0, 1, 0, 1, 0]);
});

Deno.test("every sample writes finite numbers", () => {
  assertEquals(new Set(samples.map((s) => s.name)).size, samples.length);
  for (const sample of samples) {
    const slots = slotsOf(sample), before = slots.map((s) => s.slice());
    interpret(sample.kernel, slots);
    sample.kernel.slots.forEach(({ access }, s) => {
      const label = `${sample.name} slot ${s}`;
      assert(slots[s]!.every(Number.isFinite), `${label} holds a number that is not finite`);
      const isChanged = slots[s]!.some((v, i) => v !== before[s]![i]);
      assertEquals(isChanged, access !== "read", `${label} is ${access}`);
    });
  }
});

Deno.test("showKernel shows all of a kernel", () => {
  assertEquals(
    showKernel(sampleNamed("row_softmax_5x33").kernel),
    `kernel row_softmax_5x33
  s0 read f32, s1 write f32
  row o<5
    a0 = max over r<33: s0[33*o+r]
    a1 = add over r<33: exp(s0[33*o+r] - a0)
    for e<33
      s1[33*o+e] = exp(s0[33*o+e] - a0) / a1`,
  );
  assertEquals(
    kernelKey(sampleNamed("map_padded_gather").kernel),
    `  s0 read f32, s1 read i32, s2 write f32
  row once
    for i<12
      s2[i] = s0[{s1[i-4 if 0<=i-4<5] <= 8} if 0<=i-4<5]`,
  );
});

Deno.test("kernel keys tell samples apart, and equal kernels are equal in print whatever their objects", () => {
  const keys = new Map(samples.map((s) => [kernelKey(s.kernel), s.name]));
  assertEquals(keys.size, samples.length);
  for (const { kernel } of samples) {
    // The unshared copy of the rounds would be a tree of 2²⁰ leaves.
    if (kernel.name === "map_rounds") continue;
    const copy: Kernel = { ...kernel, name: "copy", body: unshared(kernel.body) };
    assertEquals(kernelKey(copy), kernelKey(kernel));
  }
  const a = call("sub", loaded, call("sub", loaded, constant(1))),
    b = call("sub", call("sub", loaded, loaded), constant(1));
  assert(kernelKey(map(a)) !== kernelKey(map(b)));
  assert(kernelKey(map(constant(1))) !== kernelKey(map(constant(1, "i32"))));
});

/** A deep copy in which nothing is shared. */
function unshared<T>(value: T): T {
  if (Array.isArray(value)) return value.map(unshared) as T;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, unshared(v)])) as T;
}
