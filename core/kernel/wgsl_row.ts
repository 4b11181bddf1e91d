/** Row kernels in WGSL; without reductions they are maps, an invocation for each element or for some vectors of four. @module */
import { extentOf, type RowForm, type Store } from "./kernel.ts";
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

/** Vectors that an invocation takes where there are many and few buffers: all are read before the first is written. */
const TURNS = 4;

function map(scope: Scope, body: RowForm): Grid {
  const { module } = scope;
  const all = [...body.outer, ...body.inner];
  const elements = body.stores.length > 0 ? extentOf(all) : 0,
    rows = body.rowStores.length > 0 ? extentOf(body.outer) : 0;
  const enough = LANES * module.limits.busyWorkgroups;
  if (rows === 0 && elements % 4 === 0 && elements >= 4 * enough) {
    const lanes = four((lane) => body.stores.map((s) => new Flat({ e: all }, "e", lane).store(s)));
    module.wide = wideSlots(module.kernel, [{ values: lanes.map(() => []), stores: lanes }]);
    const many = elements >= 16 * TURNS * enough && elements % (4 * LANES * TURNS) === 0;
    const turns = many && module.kernel.slots.length <= TURNS ? TURNS : 1;
    if (module.wide.size > 0) return vectors(scope, elements / 4, turns, lanes);
  }
  const most = Math.max(elements, rows), lanes = most < LANES ? 64 : LANES;
  const units = Math.ceil(most / lanes);
  scope.line(`let e = unit * ${lanes}u + lane;`);
  if (most < units * lanes) scope.line(`if (e >= ${most}u) { return; }`);
  const parts = [[elements, all, body.stores], [rows, body.outer, body.rowStores]] as const;
  for (const [count, vars, stores] of parts) {
    const flat = new Flat({ e: vars });
    const own = stores.map((s) => flat.store(s));
    const names = { vars: { e: "e" } };
    if (count === most) scope.nested(names, (inner) => inner.stores(own));
    else if (count > 0) scope.block(`if (e < ${count}u)`, names, (inner) => inner.stores(own));
  }
  return { units, lanes };
}

/** Each invocation takes `turns` of `count` vectors; they divide evenly when it takes several. */
function vectors(scope: Scope, count: number, turns: number, lanes: readonly (readonly Store[])[]): Grid {
  const units = Math.ceil(count / (LANES * turns));
  const stores: string[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const start = `unit * ${LANES * turns}u + lane${turn === 0 ? "" : ` + ${turn * LANES}u`}`;
    const e = `e${turn}`;
    scope.line(
      `let ${e} = ${start};`,
      ...(count < units * LANES * turns ? [`if (${e} >= ${count}u) { return; }`] : []),
    );
    scope.nested({ vars: { e } }, (inner) => stores.push(...inner.storing(lanes)));
  }
  scope.line(...stores);
  return { units, lanes: LANES };
}
