/** Texts of fused kernels: a change of fusion shows here. Rewrite them with GYRE_UPDATE_GOLDEN=1. @module */
import { assertEquals } from "@std/assert";
import { butterfly, lowRank } from "../adapters/mod.ts";
import { type Aval, aval, compileTraced, gradients, type Tensor, traceTree } from "../core/mod.ts";
import { showKernel } from "../core/kernel/show_kernel.ts";
import { add, linear, logSumExp, mul, rmsNorm, silu, softmax } from "../ops/mod.ts";

type Inputs = Readonly<Record<string, Tensor>>;
type Sizes = Readonly<Record<string, Aval>>;

const rows = aval([6, 20]);
const maps = { x: aval([5, 12]), w: aval([9, 12]), a: aval([2, 12]), b: aval([9, 2]) };

function adapted(x: Inputs): Tensor {
  const { apply } = lowRank({ rank: 2, alpha: 4 });
  return apply({ a: x["a"]!, b: x["b"]! }, (v) => linear(v, x["w"]!))(x["x"]!);
}

/** Cotangents of some inputs of `f`, by name, from `ct`. */
function pullback(f: (x: Inputs) => Tensor, ...wrt: readonly string[]): (x: Inputs) => Inputs {
  return (x) => {
    const dxs = gradients([f(x)], [x["ct"]!], wrt.map((name) => x[name]!));
    return Object.fromEntries(wrt.map((name, i) => [name, dxs[i]!]));
  };
}

const row = {
  softmax: (x: Inputs) => softmax(x["x"]!),
  log_sum_exp: (x: Inputs) => logSumExp(x["x"]!),
  rms_norm: (x: Inputs) => rmsNorm(x["x"]!, x["weight"]!, 1e-6),
};

const rotated = (x: Inputs): Tensor =>
  butterfly({ block: 4, factors: 2 }).apply({ skew: x["skew"]! }, (v) => v)(x["x"]!);
const rotation = { x: aval([3, 16]), skew: aval([2, 4, 6]) };

const compositions: readonly (readonly [name: string, f: (x: Inputs) => Inputs, sizes: Sizes])[] = [
  ["low_rank", (x) => ({ y: adapted(x) }), maps],
  ["low_rank_residual", (x) => ({ y: add(silu(adapted(x)), x["r"]!) }), { ...maps, r: aval([5, 9]) }],
  ["low_rank_pullback", pullback(adapted, "x", "a", "b"), { ...maps, ct: aval([5, 9]) }],
  ["softmax", (x) => ({ y: row.softmax(x) }), { x: rows }],
  ["softmax_pullback", pullback(row.softmax, "x"), { x: rows, ct: rows }],
  ["log_sum_exp", (x) => ({ y: row.log_sum_exp(x) }), { x: rows }],
  ["log_sum_exp_pullback", pullback(row.log_sum_exp, "x"), { x: rows, ct: aval([6]) }],
  ["rms_norm", (x) => ({ y: row.rms_norm(x) }), { x: rows, weight: aval([20]) }],
  ["rms_norm_pullback", pullback(row.rms_norm, "x"), { x: rows, weight: aval([20]), ct: rows }],
  ["butterfly", (x) => ({ y: rotated(x) }), rotation],
  ["butterfly_pullback", pullback(rotated, "x", "skew"), { ...rotation, ct: aval([3, 16]) }],
  ["gated", (x) => ({ y: mul(silu(linear(x["x"]!, x["gate"]!)), linear(x["x"]!, x["w"]!)) }), {
    ...maps,
    gate: aval([9, 12]),
  }],
];

for (const [name, f, sizes] of compositions) {
  Deno.test(`golden kernels of ${name}`, async () => {
    const { plan } = compileTraced(traceTree<Sizes>((x) => f(x), sizes));
    const text = `${plan.steps.map(({ kernel }) => showKernel(plan.kernels[kernel]!)).join("\n\n")}\n`;
    const path = new URL(`golden/fusion_${name}.txt`, import.meta.url);
    if (Deno.env.get("GYRE_UPDATE_GOLDEN") === "1") await Deno.writeTextFile(path, text);
    assertEquals(text, await Deno.readTextFile(path));
  });
}
