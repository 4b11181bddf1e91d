/** Scatter in WGSL: an invocation owns one column of some rows and adds the items meant for them, in their order. @module */
import { extentOf, type ScatterForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import type { Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";

const LANES = 64;
/** Parts into which the rows are cut: each invocation looks at every item, but writes only its own rows. */
const PARTS = 64;

/** Print a `scatter` kernel into the scope of its entry point. */
export function scatter(scope: Scope, body: ScatterForm): Grid {
  const { module } = scope;
  const columns = extentOf(body.column), items = extentOf(body.item);
  const wide = Math.ceil(columns / LANES);
  const take = Math.ceil(body.rows / Math.min(PARTS, body.rows));
  const parts = Math.ceil(body.rows / take);
  const flat = new Flat({ n: body.item, c: body.column });
  const index = flat.expr(body.index), value = flat.expr(body.value);
  module.globals.push(`var<workgroup> goals: array<u32, ${LANES}>;`);
  scope.line(
    `let c = unit % ${wide}u * ${LANES}u + lane;`,
    `let first = unit / ${wide}u * ${take}u;`,
    // Invocations beyond the last column own no rows.
    `let end = ${
      columns % LANES
        ? `select(first, min(first + ${take}u, ${body.rows}u), c < ${columns}u)`
        : `min(first + ${take}u, ${body.rows}u)`
    };`,
    `for (var r = first; r < end; r++) { ${module.store(body.out, `r * ${columns}u + c`, "0.0f", "f32")} }`,
  );
  scope.block(`for (var start = 0u; start < ${items}u; start += ${LANES}u)`, {}, (loop) => {
    // Each index is read once by the workgroup, not once by every invocation.
    loop.line(`goals[lane] = ${body.rows}u;`);
    loop.block(`if (start + lane < ${items}u)`, { vars: { n: "n" } }, (inner) => {
      inner.line("let n = start + lane;");
      const text = inner.value(index);
      inner.line(`goals[lane] = u32(${text});`);
    });
    loop.line("workgroupBarrier();");
    loop.block(`for (var i = 0u; i < ${LANES}u; i++)`, {}, (all) => {
      all.line("let r = goals[i];");
      all.block("if (r >= first && r < end)", { vars: { n: "n", c: "c" } }, (inner) => {
        inner.line("let n = start + i;");
        const at = `r * ${columns}u + c`;
        const [text] = inner.values([value]);
        inner.line(module.store(body.out, at, `${module.load(body.out, at, "f32")} + ${text}`, "f32"));
      });
    });
    loop.line("workgroupBarrier();");
  });
  return { units: wide * parts, lanes: LANES };
}
