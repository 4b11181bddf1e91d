/**
 * Small dense systems in WGSL: the columns of [A, B] of one system lie in workgroup memory, an invocation owns one
 * column, and Gauss–Jordan elimination takes one barrier a pivot. @module
 */
import { extentOf, type SolveForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";

/** Invocations below which a workgroup takes several systems. */
const LANES = 64;

/** Print a `solve` kernel into the scope of its entry point. Throws when a system exceeds workgroup memory. */
export function solve(scope: Scope, body: SolveForm): Grid {
  const { module } = scope;
  const { maxWorkgroupBytes, maxInvocations } = module.limits;
  const n = body.row.extent, width = body.col.extent, batch = extentOf(body.batch);
  const room = Math.min(Math.floor(maxWorkgroupBytes / 4 / n), maxInvocations) - n;
  if (room < 1) {
    throw new Error(
      `Kernel ${module.kernel.name} solves systems of ${n} unknowns, too many for ${maxWorkgroupBytes} bytes of workgroup memory; use smaller blocks.`,
    );
  }
  // Wide right-hand sides are cut; each part eliminates A again.
  const cuts = Math.ceil(width / room), take = Math.ceil(width / cuts);
  const columns = n + take;
  const systems = Math.max(1, Math.min(Math.floor(LANES / columns), batch));
  module.globals.push(`var<workgroup> matrix: array<f32, ${systems * n * columns}>;`);
  const flat = new Flat({ b: body.batch, i: [body.row], k: [body.inner], c: [body.col] });
  const entry = (name: string, column: "k" | "c", value: SolveForm["a"]): void => {
    const inside = new Scope(module, { vars: { b: "b", i: "i", [column]: column } });
    const [text] = inside.values([flat.expr(value)]);
    module.globals.push(
      `fn ${name}(b: u32, i: u32, ${column}: u32) -> f32 {`,
      ...[...inside.lines, `return ${text};`].map((l) => `  ${l}`),
      "}",
    );
  };
  entry("left", "k", body.a);
  entry("right", "c", body.b);
  const number = `unit / ${cuts}u * ${systems}u + lane / ${columns}u`;
  const at = (row: string, column: string): string => `matrix[base + ${row} * ${columns}u + ${column}]`;
  scope.line(
    `let own = lane % ${columns}u;`,
    `let base = lane / ${columns}u * ${n * columns}u;`,
    `let b = ${batch % systems ? `min(${number}, ${batch - 1}u)` : number};`,
    // For invocations that own a column of B.
    `let c = unit % ${cuts}u * ${take}u + max(own, ${n}u) - ${n}u;`,
  );
  const c = cuts * take > width ? `min(c, ${width - 1}u)` : "c";
  scope.line(
    `for (var i = 0u; i < ${n}u; i++) {`,
    `  if (own < ${n}u) { ${at("i", "own")} = left(b, i, own); } else { ${
      at("i", "own")
    } = right(b, i, ${c}); }`,
    "}",
    "workgroupBarrier();",
    `for (var pivot = 0u; pivot < ${n}u; pivot++) {`,
    "  if (own > pivot) {",
    `    let factor = ${at("pivot", "own")} / ${at("pivot", "pivot")};`,
    ...eliminate(n, at),
    "  }",
    "  workgroupBarrier();",
    "}",
  );
  const live = [
    `own >= ${n}u`,
    ...(cuts * take > width ? [`c < ${width}u`] : []),
    ...(batch % systems ? [`${number} < ${batch}u`] : []),
  ];
  scope.block(`if (${live.join(" && ")})`, {}, (inner) => {
    inner.block(`for (var i = 0u; i < ${n}u; i++)`, {
      vars: { b: "b", i: "i", c: "c" },
      accs: new Map([[0, "x"]]),
    }, (loop) => {
      loop.line(`let x = ${at("i", "own")} / ${at("i", "i")};`);
      loop.stores(body.stores.map((s) => flat.store(s)));
    });
  });
  return { units: Math.ceil(batch / systems) * cuts, lanes: systems * columns };
}

/** Systems up to this size are unrolled. */
const UNROLL = 64;

/** Subtract the pivot's row from all others, in the invocation's own column. */
function eliminate(n: number, at: (row: string, column: string) => string): string[] {
  const row = (i: string): string =>
    `${at(i, "own")} -= select(${at(i, "pivot")} * factor, 0.0f, ${i} == pivot);`;
  if (n <= UNROLL) return Array.from({ length: n }, (_, i) => `    ${row(`${i}u`)}`);
  return [`    for (var i = 0u; i < ${n}u; i++) { ${row("i")} }`];
}
