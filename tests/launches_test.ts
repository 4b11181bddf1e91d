/** Launches of several kernels: which steps are run side by side, and that the numbers stay. @module */
import { assert, assertEquals } from "@std/assert";
import { compileTraced } from "../core/compile.ts";
import { gradients } from "../core/diff/mod.ts";
import { evaluateProgram } from "../core/eval/mod.ts";
import { launchesOf, openGpu } from "../core/gpu/mod.ts";
import { cutRare } from "../core/gpu/rare_launches.ts";
import { aval, fill, input, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { defaultLimits, type Printed, wgsl, wgslOf } from "../core/kernel/wgsl.ts";
import { wgslTogether } from "../core/kernel/wgsl_together.ts";
import { touchesOf } from "../core/plan/overlap.ts";
import { add, linear, mul, pack, softmax, sum } from "../ops/mod.ts";

/** Three maps of one input with low-rank branches, and the gradients of these, two of them in one arena. */
function maps(): { readonly inputs: Tensor[]; readonly outputs: Tensor[] } {
  const x = input(aval([24, 40]), "x");
  const ws = ["q", "k", "v"].map((n) => input(aval([32, 40]), n));
  const as = ["aq", "ak", "av"].map((n) => input(aval([4, 40]), n));
  const bs = ["bq", "bk", "bv"].map((n) => input(aval([32, 4]), n));
  const ys = ws.map((w, i) => add(linear(x, w), linear(linear(x, as[i]!), bs[i]!)));
  const loss = sum(mul(softmax(ys[0]!), mul(ys[1]!, ys[2]!)), { axes: [0, 1] });
  const grads = gradients([loss], [fill(1)], [...as, ...bs]);
  const arena = pack(grads.slice(0, 3), 256);
  return { inputs: [x, ...ws, ...as, ...bs], outputs: [loss, arena, ...grads.slice(3)] };
}

function compiled() {
  const { inputs, outputs } = maps();
  const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
  return compileTraced({ inputs: ends(inputs), outputs: ends(outputs) }, { maxSlots: 16, overlap: true });
}

const limits = { ...defaultLimits, maxWorkgroupBytes: 32768 };

Deno.test("launches: every step is in one, after all that it needs, and those of one launch do not need each other", () => {
  const { plan } = compiled(), touches = touchesOf(plan);
  const launches = launchesOf(plan, { wgsl: limits, maxSlots: 16 });
  assertEquals(launches.flatMap((l) => l.steps).toSorted((a, b) => a - b), plan.steps.map((_, i) => i));
  assert(launches.length < plan.steps.length);
  assert(launches.some((l) => l.steps.length === 3));
  const done = new Set<number>();
  for (const { steps } of launches) {
    for (const i of steps) for (const n of touches[i]!.needs) assert(done.has(n), `step ${i} needs ${n}`);
    steps.forEach((i) => done.add(i));
  }
});

Deno.test("launches: as many buffers as a launch may bind, and no large steps", () => {
  const { plan } = compiled();
  for (const { kernels } of launchesOf(plan, { wgsl: limits, maxSlots: 6 })) {
    assert(kernels.length === 1 || kernels.reduce((n, k) => n + k.slots.length, 0) <= 6);
  }
  const alone = launchesOf(plan, { wgsl: { ...limits, busyWorkgroups: 0.1 }, maxSlots: 16 });
  assert(alone.every((l) => l.steps.length === 1));
});

Deno.test("launches: texts of several steps are no longer together than they may be", () => {
  const { plan } = compiled();
  const joined = (maxText: number): string[] =>
    launchesOf(plan, { wgsl: limits, maxSlots: 16, maxText })
      .filter((l) => l.steps.length > 1).map((l) => wgslTogether(l.kernels, limits).code);
  const longest = Math.max(...joined(Infinity).map((t) => t.length));
  const maxText = 0.75 * longest, cut = joined(maxText);
  assert(cut.length > 0);
  // Indented, and with its bindings, a text is longer than its parts are together.
  for (const text of cut) assert(text.length < 1.5 * maxText && text.length < longest, `${text.length}`);
  assertEquals(joined(0), []);
});

Deno.test("launches: equal sets of kernels are one text", () => {
  const { plan } = compiled();
  const alone = (p: Printed): string => wgslOf(p).code.replace(/^.*\n/, "");
  const found = new Map<string, string>();
  for (const { parts } of launchesOf(plan, { wgsl: limits, maxSlots: 16 })) {
    const texts = parts.map(alone), set = texts.toSorted().join(), whole = texts.join();
    assertEquals(found.get(set) ?? whole, whole);
    found.set(set, whole);
  }
});

Deno.test("launches: those with a rare text are cut into such as there are anyway", () => {
  const often = Array.from({ length: 5 }, () => [[1, 2], [3]]).flat(), rare = [1, 2, 3, 4];
  const cuts = cutRare([...often, rare, [5, 6]], 4);
  assertEquals(cuts.slice(0, 10), often.map((parts) => [[...parts.keys()]]));
  // What no other launch has stays together, and what has nothing of the others as it is.
  assertEquals(cuts.slice(10), [[[0, 1], [2], [3]], [[0, 1]]]);
  // The same text twice in a launch, and the order of the others.
  assertEquals(cutRare([...often, [3, 1, 3, 2]], 4).at(-1), [[1, 3], [0], [2]]);
  // In a small plan nothing is rare.
  assertEquals(cutRare([[1, 2], [1], [2]]), [[[0, 1]], [[0]], [[0]]]);
});

Deno.test("launches: kernels with other numbers of invocations cannot be one", () => {
  const { plan } = compiled();
  const [first] = plan.kernels, other = plan.kernels.find((k) => lanesOf(k) !== lanesOf(first!))!;
  let text = "";
  try {
    wgslTogether([first!, other], limits);
  } catch (error) {
    text = String(error);
  }
  assert(text.includes("cannot be one"), text);
});

function lanesOf(kernel: Parameters<typeof wgsl>[0]): string {
  return /@workgroup_size\((\d+)\)/.exec(wgsl(kernel, limits).code)![1]!;
}

Deno.test({
  name: "launches: the numbers are those of float64, on the GPU",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const gpu = await openGpu({ software: true, provider: "deno", halfProducts: false });
    if (gpu === null) return console.log("skipped: there is no GPU and no software driver here");
    const { plan, program } = compiled();
    const values = plan.inputs.map(({ aval: { shape } }, i) =>
      Float32Array.from({ length: sizeOf(shape) }, (_, j) => Math.fround(Math.sin(j * (i + 1)) / 2))
    );
    const executable = await gpu.compile(plan);
    assert(executable.launches.some((l) => l.steps.length > 1));
    const inputs = values.map((v, i) => gpu.upload(v, plan.inputs[i]!.aval));
    const want = evaluateProgram(program, values.map((v) => Float64Array.from(v)));
    // Twice: nothing may be left over from the first run.
    executable.run(inputs);
    const got = await Promise.all(executable.run(inputs).map((y) => gpu.download(y)));
    want.forEach((w, i) => {
      const largest = w.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      w.forEach((v, j) =>
        assert(Math.abs(v - got[i]![j]!) <= 1e-5 * largest, `output ${i}, ${j}: ${got[i]![j]}, not ${v}`)
      );
    });
    await gpu.close();
  },
});
