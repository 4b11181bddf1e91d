/** `stages` in WGSL: a group of features of some rows stays in workgroup memory through all stages. @module */
import { loadsOf } from "../ir/expr.ts";
import { extentOf, type StagesForm, valuesOf } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { ownsGroups, stagesOwn } from "./wgsl_stages_own.ts";
import {
  type Chunk,
  chunkOf,
  eachTurn,
  gatherRows,
  mix,
  readsInFours,
  rowFunction,
  tileOf,
  vectorType,
} from "./wgsl_stage.ts";

/** Features that one workgroup takes when their groups are smaller. */
const FEATURES = 256;

/** Print a `stages` kernel into the scope of its entry point. */
export function stages(scope: Scope, body: StagesForm): Grid {
  const { module } = scope;
  if (ownsGroups(module, body)) return stagesOwn(scope, body);
  const d = body.feature.extent, rows = extentOf(body.outer);
  const chunk = spread(
    chunkOf(module.kernel.name, body.stages, d, rows, FEATURES, 1, module.limits),
    rows,
    module.limits.busyWorkgroups,
  );
  const step = chunk.width * chunk.vectors;
  tileOf(module, chunk, "tile");
  const others = [...loadsOf(valuesOf(body)), ...body.stores].map((access) => access.slot);
  if (readsInFours(body.stages, body.transposed) && !others.includes(body.coefficients)) {
    module.wide = new Set([body.coefficients]);
  }
  const flat = new Flat({ row: body.outer, f: [body.feature] });
  const names = { vars: { row: "row", f: "f" } };
  const x = new Scope(module, names);
  const [value] = x.values([flat.expr(body.x)]);
  rowFunction(scope, "fn load(row: u32, f: u32) -> f32", [...x.lines, `return ${value};`]);
  const y = new Scope(module, { ...names, accs: new Map([[0, "result"]]) });
  if (rows % step !== 0) y.line(`if (row >= ${rows}u) { return; }`);
  y.stores(body.stores.map((s) => flat.store(s)));
  rowFunction(scope, "fn store(row: u32, f: u32, result: f32)", y.lines);

  scope.line(
    `let p = lane % ${chunk.lanes}u;`,
    `let own = lane / ${chunk.lanes}u;`,
    `let chunk = unit % ${chunk.count}u;`,
    `let row = unit / ${chunk.count}u * ${step}u + own * ${chunk.width}u;`,
  );
  eachTurn(scope, chunk, (inner) => {
    inner.line(`let f = chunk * ${chunk.size}u + position;`);
    inner.line(
      `tile[own * ${chunk.size}u + position] = ${gatherRows(chunk, rows, step, (r) => `load(${r}, f)`)};`,
    );
  });
  scope.line("workgroupBarrier();");
  const order = body.stages.map((_, i) => i);
  if (body.transposed) order.reverse();
  for (const i of order) mix(scope, chunk, body.stages, i, body.coefficients, d, "tile", body.transposed);
  eachTurn(scope, chunk, (inner) => {
    inner.line(
      `let f = chunk * ${chunk.size}u + position;`,
      `let y: ${vectorType(chunk)} = tile[own * ${chunk.size}u + position];`,
    );
    for (let i = 0; i < chunk.width; i++) {
      inner.line(`store(row${i === 0 ? "" : ` + ${i}u`}, f, y${chunk.width === 1 ? "" : `[${i}]`});`);
    }
  });
  return { units: chunk.count * Math.ceil(rows / step), lanes: chunk.lanes * chunk.vectors };
}

/** Fewer rows a workgroup where there would be too few workgroups. */
function spread(chunk: Chunk, rows: number, busy: number): Chunk {
  let vectors = chunk.vectors;
  while (vectors > 1 && chunk.count * Math.ceil(rows / (chunk.width * vectors)) < busy) {
    vectors = Math.floor(vectors / 2);
  }
  return { ...chunk, vectors };
}
