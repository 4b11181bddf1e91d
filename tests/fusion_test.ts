/** Fusion: how many kernels a composition becomes, what they read and write, and that their text stays as it is. @module */
import { assert, assertEquals } from "@std/assert";
import { butterfly, lowRank } from "../adapters/mod.ts";
import { gradients } from "../core/diff/mod.ts";
import { aval, fill, type Shape, type Tensor } from "../core/ir/mod.ts";
import { type Compiled, compileTraced, type CompileOptions, traceTree } from "../core/compile.ts";
import { showKernel } from "../core/kernel/show_kernel.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import { add, linear, logSumExp, mul, reshape, rmsNorm, silu, slice, softmax, sub } from "../ops/mod.ts";
import { adamW, arenaAval, keepIfFinite, type StepRates, weightClasses } from "../train/mod.ts";

type Inputs = Readonly<Record<string, Shape>>;
type Graph = (x: Readonly<Record<string, Tensor>>) => Readonly<Record<string, Tensor>>;

/** Compile a graph of f32 inputs; each gives its output by name. */
function plan(f: Graph, inputs: Inputs, options: CompileOptions = {}): Compiled {
  const avals = Object.fromEntries(Object.entries(inputs).map(([name, shape]) => [name, aval(shape)]));
  return compileTraced(traceTree(f, avals), options);
}

/** Add the derivatives of output `y` by `wrt`, given its cotangent as input `ct`. */
function pullback(f: Graph, wrt: readonly string[]): Graph {
  return (x) => {
    const dxs = gradients([f(x)["y"]!], [x["ct"]!], wrt.map((name) => x[name]!));
    return Object.fromEntries(wrt.map((name, i) => [name, dxs[i]!]));
  };
}

/** Kernels in the order in which they run. */
function kernelsOf({ plan }: Compiled): Kernel[] {
  return plan.steps.map(({ kernel }) => plan.kernels[kernel]!);
}

function formsOf(compiled: Compiled): string[] {
  return kernelsOf(compiled).map((k) => k.body.form);
}

/** The kernels' text against the one on record; `GYRE_UPDATE_GOLDEN=1` rewrites it. */
async function golden(name: string, compiled: Compiled): Promise<void> {
  const path = new URL(`golden/fusion_${name}.txt`, import.meta.url);
  const text = `${kernelsOf(compiled).map(showKernel).join("\n\n")}\n`;
  if (Deno.env.get("GYRE_UPDATE_GOLDEN") === "1") await Deno.writeTextFile(path, text);
  assertEquals(text, await Deno.readTextFile(path), `${name}: rewrite it with GYRE_UPDATE_GOLDEN=1 if the change is wanted`);
}

/** Elements of the temporaries and outputs that a plan allocates, largest first. */
function allocated({ plan }: Compiled): number[] {
  return plan.buffers.filter((b) => b.role !== "input").map((b) => b.bytes / 4).sort((a, b) => b - a);
}

const sizes: Inputs = { x: [5, 12], w: [9, 12], a: [2, 12], b: [9, 2] };

function adapted(x: Readonly<Record<string, Tensor>>): Tensor {
  const { apply } = lowRank({ rank: 2, alpha: 4 });
  return apply({ a: x["a"]!, b: x["b"]! }, (v) => linear(v, x["w"]!))(x["x"]!);
}

Deno.test("a low-rank update is a thin product, and one accumulator over both inner axes", async () => {
  const compiled = plan((x) => ({ y: adapted(x) }), sizes);
  assertEquals(formsOf(compiled), ["contract", "contract"]);
  const bodies = kernelsOf(compiled).map((k) => k.body);
  assertEquals(bodies.map((b) => (b.form === "contract" ? b.terms.length : 0)), [1, 2]);
  await golden("low_rank", compiled);
});

Deno.test("a residual and an activation live in the low-rank update's epilogue", async () => {
  const compiled = plan((x) => ({ y: add(silu(adapted(x)), x["residual"]!) }), { ...sizes, residual: [5, 9] });
  assertEquals(formsOf(compiled), ["contract", "contract"]);
  await golden("low_rank_residual_silu", compiled);
});

Deno.test("two results of one product are written by its kernel", () => {
  const compiled = plan((x) => {
    const y = linear(x["x"]!, x["w"]!);
    return { y, z: silu(y), sum: add(y, x["residual"]!) };
  }, { x: [5, 12], w: [9, 12], residual: [5, 9] });
  assertEquals(formsOf(compiled), ["contract"]);
});

const rows: readonly (readonly [name: string, f: Graph, inputs: Inputs, ct: Shape, wrt: readonly string[]])[] = [
  ["softmax", (x) => ({ y: softmax(x["x"]!) }), { x: [6, 20] }, [6, 20], ["x"]],
  ["log_sum_exp", (x) => ({ y: logSumExp(x["x"]!) }), { x: [6, 20] }, [6], ["x"]],
  ["rms_norm", (x) => ({ y: rmsNorm(x["x"]!, x["weight"]!, 1e-6) }), { x: [6, 20], weight: [20] }, [6, 20], ["x"]],
];

for (const [name, f, inputs, ct, wrt] of rows) {
  Deno.test(`${name} is one row kernel, and so is its derivative`, async () => {
    const forward = plan(f, inputs), backward = plan(pullback(f, wrt), { ...inputs, ct });
    assertEquals(formsOf(forward), ["row"]);
    assertEquals(formsOf(backward), ["row"]);
    await golden(name, forward);
    await golden(`${name}_pullback`, backward);
  });
}

const dim = 256, block = 8;

for (const factors of [1, 2, 3]) {
  const entries: Shape = [factors, dim / block, (block * (block - 1)) / 2];
  const rotated: Graph = (x) => ({ y: butterfly({ block, factors }).apply({ skew: x["skew"]! }, (v) => v)(x["x"]!) });

  Deno.test(`a butterfly of ${factors} factors is one kernel after its solve`, async () => {
    const compiled = plan(rotated, { x: [4, dim], skew: entries });
    assertEquals(formsOf(compiled), ["solve", "stages"]);
    assert(allocated(compiled).every((n) => n < dim * dim), "no matrix of all features by all features");
    await golden(`butterfly_${factors}`, compiled);
  });

  Deno.test(`the derivative of a butterfly of ${factors} factors is two kernels besides those of its blocks`, async () => {
    const compiled = plan(pullback(rotated, ["x", "skew"]), { x: [4, dim], skew: entries, ct: [4, dim] });
    const forms = formsOf(compiled);
    assertEquals(forms.filter((f) => f.startsWith("stages")).toSorted(), ["stages", "stagesGrad"]);
    // The blocks: two solves, the product with the solution, and the free entries' share.
    assertEquals(forms.filter((f) => f === "solve").length, 2);
    assert(forms.length <= 6, forms.join());
    assert(allocated(compiled).every((n) => n < dim * dim), "no matrix of all features by all features");
    await golden(`butterfly_${factors}_pullback`, compiled);
  });
}

Deno.test("AdamW over a shape class is one kernel, in place, and allocates nothing", async () => {
  const classes = weightClasses(["first", "second", "third"].map((name) => ({ name, aval: aval([16, 24]) })));
  const [leaf] = classes[0]!.leaves, arena = arenaAval(classes[0]!, leaf!).shape;
  const optimiser = adamW({ clip: 0, decay: 0.1 });
  const state = Object.keys(optimiser.state(classes));
  const f: Graph = (x) => {
    const at = (i: number): Tensor => reshape(slice(x["rates"]!, { start: [i], stop: [i + 1] }), []);
    const rates: StepRates = { plain: at(0), orthogonal: at(1), correction1: at(2), correction2: at(3) };
    const key = leaf!.key, grads = { [key]: x["grads"]! }, params = { [key]: x["params"]! };
    const old = Object.fromEntries(state.map((name) => [name, x[name]!]));
    const next = optimiser.update(grads, old, { classes, params, grads, rates });
    const kept = Object.entries(next.state).map(([name, m]) => [name, keepIfFinite(x["norm"]!, m, old[name]!)]);
    const moved = add(x["params"]!, next.updates[key]!);
    return { ...Object.fromEntries(kept), params: keepIfFinite(x["norm"]!, moved, x["params"]!) };
  };
  const arenas = Object.fromEntries(["params", "grads", ...state].map((name) => [name, arena]));
  const inPlace = ["params", ...state].map((name) => ({ output: name, input: name }));
  const compiled = plan(f, { ...arenas, rates: [4], norm: [] }, { inPlace });
  assertEquals(formsOf(compiled), ["row"]);
  const { slots } = kernelsOf(compiled)[0]!;
  assertEquals(slots.filter((s) => s.access === "readwrite").length, 3);
  assertEquals(slots.filter((s) => s.access === "write").length, 0);
  assertEquals(allocated(compiled), []);
  await golden("adamw", compiled);
});

Deno.test("a chain of elementwise ops is one kernel, however long", () => {
  const chain = Array.from({ length: 20 });
  const compiled = plan((x) => ({ y: chain.reduce<Tensor>((y, _, i) => silu(mul(sub(y, i), x["x"]!)), x["x"]!) }), { x: [4, 6] });
  assertEquals(formsOf(compiled), ["row"]);
});

Deno.test("swiglu is written by the second product's kernel", async () => {
  const compiled = plan(
    (x) => ({ y: mul(silu(linear(x["x"]!, x["gate"]!)), linear(x["x"]!, x["up"]!)) }),
    { x: [5, 12], gate: [20, 12], up: [20, 12] },
  );
  assertEquals(formsOf(compiled), ["contract", "contract"]);
  await golden("swiglu", compiled);
});

Deno.test("a view is never a kernel", () => {
  const compiled = plan(
    (x) => ({ y: linear(reshape(slice(x["x"]!, { start: [1, 0, 0], stop: [3, 4, 6] }), [8, 6]), x["w"]!) }),
    { x: [3, 4, 6], w: [5, 6] },
  );
  assertEquals(formsOf(compiled), ["contract"]);
  assertEquals(allocated(compiled).length, 1);
});

Deno.test("constants take no memory", () => {
  const compiled = plan((x) => ({ y: add(mul(x["x"]!, fill(3, [4, 6])), 1) }), { x: [4, 6] });
  assertEquals(compiled.plan.buffers.length, 2);
});
