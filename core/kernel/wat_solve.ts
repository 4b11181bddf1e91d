/** Small dense systems in WebAssembly: one in scratch memory at a time, columns in lanes. @module */
import { extentOf, type SolveForm } from "./kernel.ts";
import { get, i32 } from "./wat_code.ts";
import type { Values } from "./wat_expr.ts";
import { type Cut, flatten, laneAddress, laneLoop, Renaming, units } from "./wat_loops.ts";
import { packMatrix, type Part } from "./wat_pack.ts";

/** Print a solve kernel. */
export function printSolve(form: SolveForm, values: Values): Cut {
  const { fn } = values, { row, inner, col } = form;
  const batch = flatten(form.batch, "batch'"), renaming = new Renaming(batch.places);
  const a = renaming.expr(form.a), b = renaming.expr(form.b), stores = renaming.stores(form.stores);
  const inFours = (n: number): number => 16 * Math.ceil(n / 4);
  const rightAt = inFours(inner.extent), rowBytes = rightAt + inFours(col.extent);
  const whole = (v: Part["v"]): Part => ({ v, range: { from: i32(0), to: i32(v.extent) } });
  const right = fn.keep("i32", `(i32.add ${get("$scratch")} ${i32(rightAt)})`);
  fn.calls.add("eliminate");
  fn.loop(batch.v.name, units.from, units.to, () => {
    packMatrix(values, a, whole(row), whole(inner), get("$scratch"), rowBytes);
    packMatrix(values, b, whole(row), whole(col), right, rowBytes);
    fn.line(`(call $eliminate ${get("$scratch")} ${i32(row.extent)} ${i32(rowBytes)} ${i32(rightAt)})`);
    fn.count(row.name, row.extent, () => {
      const start = fn.keep("i32", `(i32.add ${right} (i32.mul ${fn.variable(row.name)} ${i32(rowBytes)}))`);
      laneLoop(values, col, (lanes) => {
        const at = laneAddress(values, start, col, 4, lanes);
        const code = lanes ? fn.keep("v128", `(v128.load ${at})`) : fn.keep("f32", `(f32.load ${at})`);
        values.setAccumulator(0, code, [batch.v.name, row.name, col.name]);
        values.store(stores, lanes);
      });
    });
  });
  const work = extentOf(form.batch) * row.extent ** 2 * (row.extent / 3 + col.extent) / 4;
  return { units: batch.v.extent, scratchBytes: row.extent * rowBytes, work };
}
