/** Scatter kernels in WebAssembly: each unit has some columns to itself and takes the items in order. @module */
import type { ScatterForm } from "./kernel.ts";
import { get, i32, times } from "./wat_code.ts";
import type { Values } from "./wat_expr.ts";
import { costOf, type Cut, flatten, laneAddress, laneLoop, Renaming, smaller, units } from "./wat_loops.ts";

/** Columns of a unit. */
const COLUMNS = 64;

/** Print a scatter kernel. An index that is not below `rows` is skipped: it must not reach other memory. */
export function printScatter(form: ScatterForm, values: Values): Cut {
  const { fn } = values;
  const item = flatten(form.item, "item'"), column = flatten(form.column, "col'");
  const renaming = new Renaming(new Map([...item.places, ...column.places]));
  const index = renaming.expr(form.index), value = renaming.expr(form.value);
  const out = get(`$s${form.out}`), rowBytes = 4 * column.v.extent;
  fn.loop("unit'", units.from, units.to, () => {
    const from = fn.keep("i32", times(fn.variable("unit'"), COLUMNS));
    const to = fn.keep("i32", smaller(`(i32.add ${from} ${i32(COLUMNS)})`, i32(column.v.extent)));
    const bytes = fn.keep("i32", `(i32.shl (i32.sub ${to} ${from}) ${i32(2)})`);
    const first = fn.keep("i32", `(i32.add ${out} (i32.shl ${from} ${i32(2)}))`);
    fn.count(
      "cleared'",
      form.rows,
      () =>
        fn.line(
          `(memory.fill (i32.add ${first} ${times(fn.variable("cleared'"), rowBytes)}) ${i32(0)} ${bytes})`,
        ),
    );
    fn.count(item.v.name, item.v.extent, () => {
      const row = values.scalar(index);
      fn.when(`(i32.lt_u ${row} ${i32(form.rows)})`, () => {
        const start = fn.keep("i32", `(i32.add ${out} ${times(row, rowBytes)})`);
        laneLoop(values, column.v, (lanes) => {
          const at = fn.keep("i32", laneAddress(values, start, column.v, 4, lanes));
          fn.line(
            lanes
              ? `(v128.store ${at} (f32x4.add (v128.load ${at}) ${values.vector(value)}))`
              : `(f32.store ${at} (f32.add (f32.load ${at}) ${values.scalar(value)}))`,
          );
        }, { from, to });
      });
    });
  });
  const work = column.v.extent / 4 * (form.rows + item.v.extent * costOf([value]));
  return { units: Math.ceil(column.v.extent / COLUMNS), scratchBytes: 0, work };
}
