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
  const columns = extentOf(body.column), items = extentOf(body.item);
  const wide = Math.ceil(columns / LANES);
  const take = Math.ceil(body.rows / Math.min(PARTS, body.rows));
  const parts = Math.ceil(body.rows / take);
  const flat = new Flat({ n: body.item, c: body.column });
  const index = flat.expr(body.index), value = flat.expr(body.value);
  const { module } = scope;
  scope.line(
    `let c = unit % ${wide}u * ${LANES}u + lane;`,
    ...(columns % LANES ? [`if (c >= ${columns}u) { return; }`] : []),
    `let first = unit / ${wide}u * ${take}u;`,
    `let end = min(first + ${take}u, ${body.rows}u);`,
    `for (var r = first; r < end; r++) { ${module.store(body.out, `r * ${columns}u + c`, "0.0f", "f32")} }`,
  );
  scope.block(`for (var n = 0u; n < ${items}u; n++)`, { vars: { n: "n", c: "c" } }, (loop) => {
    loop.line(`let r = u32(${loop.value(index)});`);
    loop.block("if (r >= first && r < end)", {}, (inner) => {
      const at = `r * ${columns}u + c`;
      const [text] = inner.values([value]);
      inner.line(module.store(body.out, at, `${module.load(body.out, at, "f32")} + ${text}`, "f32"));
    });
  });
  return { units: wide * parts, lanes: LANES };
}
