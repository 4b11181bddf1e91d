/** Row kernels in WGSL; without reductions they are maps, an invocation for each element or for each four. @module */
import { extentOf, type RowForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import type { Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { reduction } from "./wgsl_reduce.ts";
import { four, wideSlots } from "./wgsl_wide.ts";

/** Print a row kernel into the scope of its entry point. */
export function row(scope: Scope, body: RowForm): Grid {
  return body.reduces.length === 0 ? map(scope, body) : reduction(scope, body);
}

const LANES = 256;

function map(scope: Scope, body: RowForm): Grid {
  const { module } = scope;
  const all = [...body.outer, ...body.inner];
  const elements = body.stores.length > 0 ? extentOf(all) : 0,
    rows = body.rowStores.length > 0 ? extentOf(body.outer) : 0;
  const enough = LANES * module.limits.busyWorkgroups;
  if (rows === 0 && elements % 4 === 0 && elements >= 4 * enough) {
    const lanes = four((lane) => body.stores.map((s) => new Flat({ e: all }, "e", lane).store(s)));
    module.wide = wideSlots(module.kernel, [{ values: lanes.map(() => []), stores: lanes }]);
    if (module.wide.size > 0) {
      return each(scope, elements / 4, LANES, (inner) => inner.line(...inner.storing(lanes)));
    }
  }
  const most = Math.max(elements, rows);
  return each(scope, most, most < LANES ? 64 : LANES, (inner) => {
    const parts = [[elements, all, body.stores], [rows, body.outer, body.rowStores]] as const;
    for (const [count, vars, stores] of parts) {
      const flat = new Flat({ e: vars });
      const own = stores.map((s) => flat.store(s));
      if (count === most) inner.stores(own);
      else if (count > 0) inner.block(`if (e < ${count}u)`, {}, (block) => block.stores(own));
    }
  });
}

/** An invocation for each of `count` values of `e`. */
function each(scope: Scope, count: number, lanes: number, body: (inner: Scope) => void): Grid {
  const units = Math.ceil(count / lanes);
  scope.line(`let e = unit * ${lanes}u + lane;`);
  if (count < units * lanes) scope.line(`if (e >= ${count}u) { return; }`);
  scope.nested({ vars: { e: "e" } }, body);
  return { units, lanes };
}
