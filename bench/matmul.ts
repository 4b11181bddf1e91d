/** Matrix products written by hand as kernels. @module */
import { aval } from "../core/ir/aval.ts";
import type { Expr } from "../core/ir/expr.ts";
import { type Ix, ixLinear, ixVar, type Var } from "../core/ir/ix.ts";
import type { Kernel } from "../core/kernel/kernel.ts";
import type { Plan } from "../core/plan/plan.ts";

/** Plan of `c[m,n] = a[m,k] · b`, with b [k,n], or [n,k] where `transposed`; c is f32. */
export function matmulPlan(
  m: number,
  n: number,
  k: number,
  transposed = false,
  leftType: "f32" | "f16" = "f32",
  rightType: "f32" | "f16" = "f32",
): Plan {
  const row: Var = { name: "row", extent: m },
    col: Var = { name: "col", extent: n },
    inner: Var = { name: "inner", extent: k };
  const at = (i: Var, j: Var): Ix => ixLinear([ixVar(i), ixVar(j)], [j.extent, 1]);
  const load = (slot: number, ix: Ix): Expr => ({ kind: "load", type: "f32", slot, ix, valid: [] });
  const right = transposed ? at(col, inner) : at(inner, col);
  const kernel: Kernel = {
    name: "matmul",
    slots: [{ dtype: leftType, access: "read" }, { dtype: rightType, access: "read" }, {
      dtype: "f32",
      access: "write",
    }],
    body: {
      form: "contract",
      batch: [],
      row: [row],
      col: [col],
      terms: [{ inner: [inner], left: load(0, at(row, inner)), right: load(1, right) }],
      stores: [{ slot: 2, ix: at(row, col), value: { kind: "acc", type: "f32", id: 0 } }],
    },
  };
  const sizes = [m * k, k * n, m * n];
  return {
    inputs: [
      { aval: aval([m, k], leftType), buffer: 0 },
      { aval: aval(transposed ? [n, k] : [k, n], rightType), buffer: 1 },
    ],
    outputs: [{ aval: aval([m, n]), place: { buffer: 2, offset: 0 } }],
    buffers: sizes.map((size, i) => ({ bytes: 4 * size, role: i < 2 ? "input" : "output" })),
    kernels: [kernel],
    steps: [{ kernel: 0, slots: [0, 1, 2].map((buffer) => ({ buffer, offset: 0 })) }],
  };
}
