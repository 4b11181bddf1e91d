/** The end of a contraction in WGSL: what is stored for each sum. @module */
import type { ContractForm } from "./kernel.ts";
import { PARTS, Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { plus } from "./wgsl_operand.ts";

/** Stores of four neighbouring columns, or of each column for itself where their number is no multiple of 4. */
export function resultsOf(body: ContractForm, cols: number): ContractForm["stores"][] {
  const isWide = cols % 4 === 0;
  return Array.from({ length: isWide ? 4 : 1 }, (_, lane) => {
    const flat = new Flat({ b: body.batch, m: body.row, n: body.col }, isWide ? "n" : "", lane);
    return body.stores.map((s) => flat.store(s));
  });
}

/** Conditions on `m` and `n` (or `n4`) under which a place of a tile lies outside of the result. */
export function beyond(
  rows: number,
  cols: number,
  tile: { readonly rows: number; readonly cols: number },
): string[] {
  return [
    ...(rows % tile.rows ? [`m >= ${rows}u`] : []),
    ...(cols % tile.cols ? [cols % 4 === 0 ? `n4 >= ${cols / 4}u` : `n >= ${cols}u`] : []),
  ];
}

/** Define `finish(b, m, n4, sum)`, which stores four neighbouring results, whose first column is `4 · n4`. */
export function declareFinish(
  scope: Scope,
  results: readonly ContractForm["stores"][],
  outside: readonly string[],
): void {
  const { globals } = scope.module;
  const isWide = results.length === 4;
  const names = { b: "b", m: "m", n: isWide ? "n4" : "n" };
  const sums = isWide ? PARTS.map((part) => `sum.${part}`) : "sum";
  const inside = new Scope(scope.module, { vars: names, accs: new Map([[0, sums]]) });
  if (outside.length > 0) inside.line(`if (${outside.join(" || ")}) { return; }`);
  inside.line(...inside.storing(results));
  const lines = inside.lines.map((l) => `  ${l}`);
  if (isWide) return void globals.push("fn finish(b: u32, m: u32, n4: u32, sum: vec4f) {", ...lines, "}");
  globals.push("fn finish1(b: u32, m: u32, n: u32, sum: f32) {", ...lines, "}");
  const calls = PARTS.map((part, i) => `  finish1(b, m, ${plus("n4 * 4u", i)}, sum.${part});`);
  globals.push("fn finish(b: u32, m: u32, n4: u32, sum: vec4f) {", ...calls, "}");
}
