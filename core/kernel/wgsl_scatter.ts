/** Scatter in WGSL: an invocation owns one column of some rows and adds the items meant for them, in their order. @module */
import { extentOf, type ScatterForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import type { Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";

const LANES = 64;
/** Parts into which the rows are cut: each invocation looks at every item, but writes only its own rows. */
const PARTS = 512;

/** Print a `scatter` kernel into the scope of its entry point. */
export function scatter(scope: Scope, body: ScatterForm): Grid {
  const { module } = scope;
  const columns = extentOf(body.column), items = extentOf(body.item);
  const wide = Math.ceil(columns / LANES);
  const take = Math.ceil(body.rows / Math.min(PARTS, body.rows));
  const parts = Math.ceil(body.rows / take);
  const flat = new Flat({ n: body.item, c: body.column });
  const index = flat.expr(body.index), value = flat.expr(body.value);
  module.globals.push(`var<workgroup> goals: array<u32, ${LANES}>;`, "var<workgroup> hit: atomic<u32>;");
  scope.line(
    `let c = unit % ${wide}u * ${LANES}u + lane;`,
    `let rows = unit / ${wide}u * ${take}u;`,
    `let last = min(rows + ${take}u, ${body.rows}u);`,
    // Invocations beyond the last column own no rows.
    `let end = ${columns % LANES ? `select(rows, last, c < ${columns}u)` : "last"};`,
    `for (var r = rows; r < end; r++) { ${module.store(body.out, `r * ${columns}u + c`, "0.0f", "f32")} }`,
  );
  scope.block(`for (var start = 0u; start < ${items}u; start += ${LANES}u)`, {}, (loop) => {
    // Indices are read together; what follows is skipped when none of them is meant for these rows.
    loop.block(`if (start + lane < ${items}u)`, { vars: { n: "n" } }, (inner) => {
      inner.line("let n = start + lane;");
      const text = inner.value(index);
      inner.line(`let r = u32(${text});`, "goals[lane] = r;");
      inner.line("if (r >= rows && r < last) { atomicMax(&hit, start + 1u); }");
    });
    loop.line("workgroupBarrier();");
    loop.block("if (atomicLoad(&hit) == start + 1u)", {}, (some) => {
      some.block(`for (var n = start; n < min(start + ${LANES}u, ${items}u); n++)`, {}, (all) => {
        all.line("let r = goals[n - start];");
        all.block("if (r >= rows && r < end)", { vars: { n: "n", c: "c" } }, (inner) => {
          const at = `r * ${columns}u + c`;
          const [text] = inner.values([value]);
          inner.line(module.store(body.out, at, `${module.load(body.out, at, "f32")} + ${text}`, "f32"));
        });
      });
    });
    loop.line("workgroupBarrier();");
  });
  return { units: wide * parts, lanes: LANES };
}
