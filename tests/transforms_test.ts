/** Structured transforms against their definitions: Fourier, Hadamard, exchanges, reflections, the uRNN. @module */
import { assert, assertEquals, assertLessOrEqual, assertThrows } from "@std/assert";
import fc from "fast-check";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import {
  aval,
  blockOf,
  compileTraced,
  type Device,
  evaluate,
  gradients,
  input,
  type Shape,
  ShapeError,
  sizeOf,
  type Stage,
  stageOffsets,
  stagePosition,
  type Tensor,
} from "../core/mod.ts";
import * as ops from "../ops/mod.ts";
import { requireClose } from "./check_primitive.ts";
import { difference, numbersOf, timesTransposed } from "./matrix.ts";
import { runOnce } from "./run_once.ts";

/** An input with numbers. */
function given(
  shape: Shape,
  seed: number,
  of: (v: number, i: number) => number = (v) => v,
): [Tensor, Float64Array] {
  return [input(aval(shape), `x${seed}`), numbersOf(sizeOf(shape), seed).map(of)];
}

function identity(n: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, at) => Number(at % (n + 1) === 0));
}

/** Unitary transforms of blocks of `size` numbers of each row of x [rows, 2n], by the definition; frequencies in their order. */
function slowFourier(x: Float64Array, n: number, size: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += 2 * n) {
    for (let at = 0; at < n; at++) {
      const start = at - at % size, frequency = at % size;
      for (let j = 0; j < size; j++) {
        const angle = -2 * Math.PI * ((frequency * j) % size) / size;
        const [c, s] = [Math.cos(angle) / Math.sqrt(size), Math.sin(angle) / Math.sqrt(size)];
        const re = x[row + start + j]!, im = x[row + n + start + j]!;
        y[row + at]! += c * re - s * im;
        y[row + n + at]! += s * re + c * im;
      }
    }
  }
  return y;
}

/** Rows [.., 2n] with element `order[k]` of each block at place k. */
function placed(x: Float64Array, n: number, order: readonly number[]): Float64Array {
  return x.map((_, at) => {
    const start = at - at % order.length;
    return x[start + order[at % n % order.length]!]!;
  });
}

for (const n of [1, 2, 3, 4, 5, 6, 7, 8, 12, 22, 30, 35, 64, 77, 120, 210, 840, 1024]) {
  Deno.test(`fourier of ${n} numbers is the unitary transform, in the order that the plan says`, () => {
    const [x, numbers] = given([2, 2 * n], 3);
    const [y, back] = evaluate(
      [ops.fourier(x), ops.fourier(ops.fourier(x), { inverse: true })],
      new Map([[x, numbers]]),
    );
    const { size, order } = ops.fourierPlan(n);
    assertEquals([...order].sort((a, b) => a - b), Array.from({ length: size }, (_, k) => k));
    requireClose("fourier", y!, placed(slowFourier(numbers, n, size), n, order), 1e-12);
    requireClose("inverse", back!, numbers, 1e-13);
  });
}

Deno.test("fourierPlan covers the largest divisor without primes above 7, and says what it leaves", () => {
  for (
    const [n, size] of [[1, 1], [11, 1], [22, 2], [2016, 2016], [2 * 3 * 5 * 7 * 13, 210], [
      4096,
      4096,
    ]] as const
  ) {
    const plan = ops.fourierPlan(n);
    assertEquals(plan.size, size);
    assertEquals(plan.note === null, size === n);
    if (plan.note) assert(plan.note.includes(`${n / size} blocks of ${size}`), plan.note);
  }
});

const cpu = await openCpu({ threads: 2 });
const gpu = await openGpu({ software: true });
const devices: readonly (readonly [string, Device | null])[] = [["CPU", cpu], ["GPU", gpu]];

/** Run on each device of this machine. */
function onDevices(name: string, body: (device: Device) => Promise<void>): void {
  for (const [kind, device] of devices) {
    Deno.test({
      name: `${name}, on the ${kind}`,
      ignore: device === null,
      sanitizeResources: false,
      sanitizeOps: false,
      fn: () => body(device!),
    });
  }
}

Deno.test("turnedFourier is D₃·F⁻¹·D₂·F·D₁, part by part; its adjoint takes it back; the cotangents are those of the parts", () => {
  // Several stages, one, none, blocks, and more features than one run mixes.
  for (const n of [12, 4, 11, 22, 1024]) {
    const [x, numbers] = given([2, 2 * n], 1), [phases, angles] = given([3, n], 2, (v) => 3 * v);
    const [ct, along] = given([2, 2 * n], 3);
    const table = ops.phasors(phases),
      turn = (i: number) => (z: Tensor): Tensor =>
        ops.turnPhases(z, ops.reshape(ops.slice(table, { start: [0, i, 0], stop: [2, i + 1, n] }), [2, n]));
    const slow = [
      turn(0),
      (z: Tensor) => ops.fourier(z),
      turn(1),
      (z: Tensor) => ops.fourier(z, { inverse: true }),
      turn(2),
    ].reduce((z, step) => step(z), x);
    const blocks = ops.turnedBlocks(ops.permute(table, [1, 0, 2]));
    const fast = ops.turnedFourier(ops.interleave(x), phases, blocks);
    const back = ops.turnedFourier(fast, phases, blocks, { adjoint: true });
    const cotangents = (y: Tensor): Tensor[] => gradients([y], [ct], [x, phases]);
    const y = ops.deinterleave(fast);
    const [found, ...dFound] = evaluate(
      [y, ...cotangents(y), ops.deinterleave(back)],
      new Map([[x, numbers], [phases, angles], [ct, along]]),
    );
    const [expected, ...dExpected] = evaluate(
      [slow, ...cotangents(slow), x],
      new Map([[x, numbers], [phases, angles], [ct, along]]),
    );
    requireClose(`U·x, n = ${n}`, found!, expected!, 1e-12);
    dFound.forEach((d, i) =>
      requireClose(`${["dx", "dPhases", "U*·U·x"][i]}, n = ${n}`, d, dExpected[i]!, 1e-12)
    );
  }
});

onDevices("fourier of up to 4096 numbers keeps norms in f32", async (device) => {
  for (const n of [210, 1024, 4096]) {
    const [x, numbers] = given([2, 2 * n], 5), of = new Map([[x, numbers]]);
    const [y] = await runOnce(device, [ops.fourier(x)], of);
    requireClose("fourier", y!, evaluate([ops.fourier(x)], of)[0]!, 2e-6);
    assertLessOrEqual(Math.abs(Math.hypot(...y!) / Math.hypot(...numbers) - 1), 1e-6);
  }
});

/** Stages one by one, by their definition. */
function slowStages(
  list: readonly Stage[],
  c: Float64Array,
  x: Float64Array,
  d: number,
  transposed: boolean,
): Float64Array {
  const offsets = stageOffsets(list, d);
  const numbers = list.map((_, i) => i);
  return (transposed ? numbers.reverse() : numbers).reduce((rows, i) => {
    const stage = list[i]!, b = blockOf(stage), y = new Float64Array(rows.length);
    for (let row = 0; row < rows.length; row += d) {
      for (let at = 0; at < d * b; at++) {
        const n = Math.floor(at / b ** 2), j = Math.floor(at / b) % b, k = at % b;
        const [to, from] = transposed ? [k, j] : [j, k];
        y[row + stagePosition(stage, n, to)]! += c[offsets[i]! + at]! *
          rows[row + stagePosition(stage, n, from)]!;
      }
    }
    return y;
  }, x);
}

Deno.test("stages of any lengths and strides are their product, however they are cut into runs", () => {
  const stage = fc.record({
    radix: fc.constantFrom(2, 4),
    stride: fc.integer({ min: 0, max: 10 }).map((p) => 2 ** p),
    piece: fc.constantFrom(1, 2),
  });
  fc.assert(
    fc.property(
      fc.array(stage, { minLength: 1, maxLength: 6 }),
      fc.boolean(),
      fc.nat(1e6),
      (list, transposed, seed) => {
        const d = 2 ** 13, rows = 2;
        const [x, numbers] = given([rows, d], seed + 1),
          [c, blocks] = given([stageOffsets(list, d).at(-1)!], seed + 2);
        const found = evaluate(
          [ops.stages(x, c, { stages: list, transposed })],
          new Map([[x, numbers], [c, blocks]]),
        )[0]!;
        requireClose("stages", found, slowStages(list, blocks, numbers, d, transposed), 1e-12);
      },
    ),
    { numRuns: 25 },
  );
});

for (const [d, layers] of [[2048, 11], [8192, 13]] as const) {
  onDevices(`${layers} stages that mix whole rows of ${d}, with their cotangents`, async (device) => {
    const list = Array.from({ length: layers }, (_, i) => ({ radix: 2, stride: 2 ** i, piece: 1 }));
    const inputs = [given([5, d], 1), given([layers * d * 2], 2), given([5, d], 3)];
    const [x, c, ct] = inputs.map(([t]) => t) as [Tensor, Tensor, Tensor];
    for (const transposed of [false, true]) {
      const y = ops.stages(x, c, { stages: list, transposed });
      const outputs = [y, ...gradients([y], [ct], [x, c])];
      const expected = evaluate(outputs, new Map(inputs));
      const found = await runOnce(device, outputs, new Map(inputs));
      found.forEach((numbers, i) => requireClose(`output ${i}`, numbers, expected[i]!, 2e-6));
    }
  });
}

Deno.test("Hadamard transform of 2048 numbers by 11 stages", () => {
  const d = 2048, list = Array.from({ length: 11 }, (_, i) => ({ radix: 2, stride: 2 ** i, piece: 1 }));
  const c = Float64Array.from({ length: 11 * d * 2 }, (_, at) => at % 4 === 3 ? -1 : 1);
  const [x, numbers] = given([1, d], 8), blocks = input(aval([c.length]), "c");
  const [y] = evaluate([ops.stages(x, blocks, { stages: list })], new Map([[x, numbers], [blocks, c]]));
  const isOdd = (n: number): boolean => n.toString(2).replaceAll("0", "").length % 2 === 1;
  const expected = numbers.map((_, k) => numbers.reduce((sum, v, j) => sum + (isOdd(j & k) ? -v : v), 0));
  requireClose("Hadamard", y!, expected, 1e-12);
});

/** W·(I − 2·u₁u₁ᵀ)⋯(I − 2·u_r·u_rᵀ) for the columns of u [d, r], one reflection after the other. */
function slowReflections(w: Float64Array, u: Float64Array, d: number, r: number): Float64Array {
  return Array.from({ length: r }, (_, i) => i).reduce((rows, i) => {
    const v = Float64Array.from({ length: d }, (_, k) => u[k * r + i]!),
      size = v.reduce((n, e) => n + e * e, 0);
    const along = timesTransposed(rows, v, d);
    return rows.map((e, at) => e - 2 * along[Math.floor(at / d)]! * v[at % d]! / size);
  }, w);
}

/** Columns made orthonormal one after the other. */
function slowGramSchmidt(u: Float64Array, d: number, r: number): Float64Array {
  const y = u.slice();
  for (let i = 0; i < r; i++) {
    const dot = (p: number, q: number): number =>
      Array.from({ length: d }, (_, k) => y[k * r + p]! * y[k * r + q]!).reduce((a, b) => a + b);
    for (let j = 0; j < i; j++) {
      const along = dot(i, j);
      for (let k = 0; k < d; k++) y[k * r + i]! -= along * y[k * r + j]!;
    }
    const size = Math.sqrt(dot(i, i));
    for (let k = 0; k < d; k++) y[k * r + i]! /= size;
  }
  return y;
}

Deno.test("reflect is the product of reflections in their order, and transposed its inverse", () => {
  const sizes = fc.record({ d: fc.integer({ min: 1, max: 20 }), r: fc.integer({ min: 1, max: 8 }) });
  fc.assert(
    fc.property(sizes, fc.nat(1e6), ({ d, r }, seed) => {
      const [w, rows] = given([3, d], seed + 1), [u, columns] = given([d, r], seed + 2, (v) => v + 0.2);
      const wy = ops.compactWy(u), y = ops.reflect(w, wy);
      const [found, back] = evaluate(
        [y, ops.reflect(y, wy, { transposed: true })],
        new Map([[w, rows], [u, columns]]),
      );
      requireClose("reflect", found!, slowReflections(rows, columns, d, r), 1e-11);
      requireClose("back", back!, rows, 1e-11);
    }),
  );
});

Deno.test("reflect by Gram and Schmidt is the product of reflections along orthonormal columns", () => {
  const d = 9, r = 4, [w, rows] = given([3, d], 1), [u, columns] = given([d, r], 2);
  const [found] = evaluate(
    [ops.reflect(w, ops.compactWy(u, { gramSchmidt: true }))],
    new Map([[w, rows], [u, columns]]),
  );
  requireClose("reflect", found!, slowReflections(rows, slowGramSchmidt(columns, d, r), d, r), 1e-12);
});

/** Parameters of a uRNN of n numbers, with the numbers that they hold. */
function urnn(n: number, seed: number) {
  const phases = given([3, n], seed, (v) => 3 * v), reflections = given([2, 2 * n], seed + 1);
  return { params: { phases: phases[0], reflections: reflections[0] }, values: [phases, reflections] };
}

Deno.test("urnnTransition is D₃·R₂·F⁻¹·D₂·Π·R₁·F·D₁, factor by factor", () => {
  const n = 12, { params, values } = urnn(n, 4), [h, numbers] = given([2, 2 * n], 7);
  const [found] = evaluate([ops.urnnTransition(h, params)], new Map([[h, numbers], ...values]));
  const [phases, vectors] = values.map(([, v]) => v) as [Float64Array, Float64Array];
  const { order } = ops.fourierPlan(n), places = order.map((_, k) => order.indexOf(k));
  const each = (
    x: Float64Array,
    f: (re: Float64Array, im: Float64Array) => [number[], number[]],
  ): Float64Array =>
    Float64Array.from(
      [0, 2 * n].flatMap((row) => f(x.subarray(row, row + n), x.subarray(row + n, row + 2 * n)).flat()),
    );
  const turn = (i: number) => (x: Float64Array): Float64Array =>
    each(x, (re, im) => {
      const c = [...re].map((_, k) => Math.cos(phases[i * n + k]!)),
        s = [...re].map((_, k) => Math.sin(phases[i * n + k]!));
      return [c.map((v, k) => v * re[k]! - s[k]! * im[k]!), c.map((v, k) => v * im[k]! + s[k]! * re[k]!)];
    });
  const reflect = (i: number) => (x: Float64Array): Float64Array =>
    each(x, (re, im) => {
      const p = vectors.subarray(2 * n * i, 2 * n * i + n),
        q = vectors.subarray(2 * n * i + n, 2 * n * (i + 1));
      // v*·x, a complex number.
      const size = [...p, ...q].reduce((a, b) => a + b * b, 0);
      const a = [...re].reduce((t, v, k) => t + p[k]! * v + q[k]! * im[k]!, 0) * 2 / size;
      const b = [...re].reduce((t, v, k) => t + p[k]! * im[k]! - q[k]! * v, 0) * 2 / size;
      return [
        [...re].map((v, k) => v - (a * p[k]! - b * q[k]!)),
        [...im].map((v, k) => v - (a * q[k]! + b * p[k]!)),
      ];
    });
  const fourier = (x: Float64Array): Float64Array => placed(slowFourier(x, n, n), n, order);
  // The inverse transform is the transform of the conjugate, conjugated.
  const conjugate = (x: Float64Array): Float64Array => each(x, (re, im) => [[...re], [...im].map((v) => -v)]);
  const inverse = (x: Float64Array): Float64Array =>
    conjugate(slowFourier(conjugate(placed(x, n, places)), n, n));
  // Two hands of six, one after the other, then every element one place on.
  const dealt = [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11];
  const shuffle = (x: Float64Array): Float64Array =>
    each(
      x,
      (re, im) =>
        [re, im].map((part) => dealt.map((_, k) => part[dealt[(k + n - 1) % n]!]!)) as [number[], number[]],
    );
  const expected = [turn(0), fourier, reflect(0), shuffle, turn(1), inverse, reflect(1), turn(2)]
    .reduce((x, step) => step(x), numbers);
  requireClose("W·h", found!, expected, 1e-12);
});

Deno.test("urnnTransition: W·W* = I and the adjoint is the inverse, for any n", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(1e6), (n, seed) => {
      const { params, values } = urnn(n, seed + 1), rows = ops.eye([2 * n, 2 * n]);
      const w = ops.urnnTransition(rows, params);
      const [whole, back] = evaluate([w, ops.urnnTransition(w, params, { adjoint: true })], new Map(values));
      requireClose("W·W*", timesTransposed(whole!, whole!, 2 * n), identity(2 * n), 1e-12);
      requireClose("W*·W", back!, identity(2 * n), 1e-12);
    }),
    { numRuns: 30 },
  );
});

for (const n of [64, 96, 105, 128, 1024]) {
  Deno.test(`urnnTransition: norms stay over 1,000 steps in f32, n = ${n}`, async () => {
    const { params, values } = urnn(n, 11), [h, numbers] = given([4, 2 * n], 13);
    const ends = [h, ...values.map(([t]) => t)].map((leaf, i) => ({ path: `${i}`, leaf }));
    const { plan } = compileTraced({
      inputs: ends,
      outputs: [{ path: "next", leaf: ops.urnnTransition(h, params) }],
    });
    const executable = await cpu.compile(plan);
    const arrays = [numbers, ...values.map(([, v]) => v)].map((v, i) =>
      cpu.upload(new Float32Array(v), ends[i]!.leaf.aval)
    );
    let state = new Float32Array(numbers);
    for (let step = 0; step < 1000; step++) {
      cpu.write(arrays[0]!, state);
      state = Float32Array.from(await cpu.download(executable.run(arrays)[0]!));
    }
    executable.dispose();
    arrays.forEach((array) => cpu.free(array));
    assert(difference(Float64Array.from(state), numbers) > 0.1, "1,000 steps did not move anything.");
    for (let row = 0; row < 4; row++) {
      const part = <T extends Float32Array | Float64Array>(x: T): number =>
        Math.hypot(...x.subarray(2 * n * row, 2 * n * (row + 1)));
      const off = Math.abs(part(state) / part(numbers) - 1);
      assert(off <= 1e-4, `the norm of row ${row} moved by ${off}; at most 1e-4 is allowed.`);
    }
  });
}

Deno.test("urnnCell: a negative bias silences small elements, phases stay", () => {
  const z = input(aval([1, 6]), "z"), b = input(aval([3]), "b");
  const [y] = evaluate(
    [ops.modRelu(z, b)],
    new Map([[z, Float64Array.of(3, 0.1, 0, -4, 0.1, 0)], [b, Float64Array.of(-1, -1, 2)]]),
  );
  // |3 − 4i| = 5 becomes 4; √0.02 is cut; 0 has no phase to keep.
  requireClose("modReLU", y!, Float64Array.of(2.4, 0, 0, -3.2, 0, 0), 1e-12);
});

Deno.test("transforms refuse sizes that do not fit", () => {
  const x = input(aval([2, 5]), "x"), theta = input(aval([2, 4]), "t");
  assertThrows(() => ops.fourier(x), ShapeError, "as complex vectors");
  assertThrows(() => ops.turnPhases(input(aval([2, 6]), "y"), theta), ShapeError, "give f32[2,3]");
  assertThrows(() => ops.compactWy(input(aval([5]), "u")), ShapeError, "columns of a matrix");
});
