/** Sums and maxima in WebAssembly: totals in several lanes and locals, joined in a fixed order. @module */
import type { Expr } from "../ir/expr.ts";
import { ixAdd, ixConst, ixScale, ixVar, type Var } from "../ir/ix.ts";
import type { Combine } from "../ir/lowering.ts";
import type { Reduce } from "./kernel.ts";
import { get, i32, type WatType } from "./wat_code.ts";
import type { Values } from "./wat_expr.ts";
import { costOf, nest, smaller } from "./wat_loops.ts";
import { laneOperation, literal, scalarOperation, watType } from "./wat_ops.ts";

/** Turns after which a sum is added to the total, so that long sums stay accurate. */
const PARTIAL_TURNS = 256;

/** Reduce one row with lanes along its elements; returns the text of the result. */
export function reduceAlong(values: Values, reduce: Reduce): string {
  const { fn } = values, { combine, inner, value } = reduce;
  const last = inner.at(-1) ?? { name: "e'", extent: 1 };
  const fours = Math.floor(last.extent / 4);
  // Where the value is cheap, one total would wait for its own last addition at every turn.
  const groups = costOf([value]) <= 12 && fours >= 8 && fours % 4 === 0 ? 4 : 1;
  const vector: Var = { name: `${last.name}/4`, extent: fours / groups };
  const laneTotals = Array.from({ length: groups }, () => begin(values, reduce, true));
  const total = begin(values, reduce, false);
  nest(values, inner.slice(0, -1), () => {
    if (fours > 0) {
      partialSums(values, vector, reduce, true, laneTotals, (into) =>
        into.forEach((name, g) => {
          const base = ixAdd(ixScale(ixVar(vector), 4 * groups), ixConst(4 * g));
          values.withLane({ name: last.name, base }, () => update(values, combine, value, true, name));
        }));
    }
    if (last.extent % 4 === 0) return;
    const one = (): void => update(values, combine, value, false, total);
    fn.loop(last.name, i32(4 * fours), i32(last.extent), one, 1, true);
  });
  const join = (type: WatType, a: string, b: string): string =>
    fn.keep(type, combined(values, combine, value, type === "v128", a, b));
  const lanes = laneTotals.map(get).reduce((a, b) => join("v128", a, b));
  const type = watType(value.type);
  const lane = (l: number): string =>
    fn.keep(type, `(${type === "f32" ? "f32x4" : "i32x4"}.extract_lane ${l} ${lanes})`);
  const results = last.extent % 4 === 0 ? [] : [get(total)];
  if (fours > 0) results.unshift(join(type, join(type, lane(0), lane(2)), join(type, lane(1), lane(3))));
  return fn.keep(type, results.reduce((a, b) => join(type, a, b)));
}

/** A new total of a reduction; returns the name of its local. */
export function begin(values: Values, { combine, value }: Reduce, lanes: boolean): string {
  const { fn } = values;
  const type: WatType = lanes ? "v128" : watType(value.type);
  const name = fn.local(type, "total");
  fn.line(`(local.set ${name} ${start(combine, value, lanes)})`);
  return name;
}

function start(combine: Combine, value: Expr, lanes: boolean): string {
  if (combine === "add") return literal(0, value.type, lanes);
  return literal(value.type === "f32" ? -Infinity : value.type === "i32" ? -(2 ** 31) : 0, value.type, lanes);
}

function combined(
  values: Values,
  combine: Combine,
  value: Expr,
  lanes: boolean,
  a: string,
  b: string,
): string {
  const operation = { fn: combine, type: value.type, types: [value.type, value.type], args: [a, b] };
  return (lanes ? laneOperation : scalarOperation)(operation, values.fn.calls);
}

/** Combine the total `into` with the value at the current element. */
export function update(values: Values, combine: Combine, value: Expr, lanes: boolean, into: string): void {
  const isProduct = combine === "add" && lanes && value.kind === "call" && value.fn === "mul" &&
    value.type === "f32";
  const code = isProduct
    ? `(f32x4.relaxed_madd ${value.args.map((a) => values.vector(a)).join(" ")} ${get(into)})`
    : combined(values, combine, value, lanes, get(into), lanes ? values.vector(value) : values.scalar(value));
  values.fn.line(`(local.set ${into} ${code})`);
}

/** The loop over `v`; a long one adds to fresh totals, which join the old ones from time to time. */
export function partialSums(
  values: Values,
  v: Var,
  reduce: Reduce,
  lanes: boolean,
  totals: readonly string[],
  body: (into: readonly string[]) => void,
): void {
  const { fn } = values;
  if (v.extent <= 2 * PARTIAL_TURNS) return fn.count(v.name, v.extent, () => body(totals));
  const blocks = `${v.name}.block`;
  fn.loop(
    blocks,
    i32(0),
    i32(v.extent),
    () => {
      const parts = totals.map(() => begin(values, reduce, lanes));
      const after = fn.keep("i32", `(i32.add ${fn.variable(blocks)} ${i32(PARTIAL_TURNS)})`);
      const to = fn.keep("i32", smaller(after, i32(v.extent)));
      fn.loop(v.name, fn.variable(blocks), to, () => body(parts), 1, true);
      totals.forEach((total, i) =>
        fn.line(
          `(local.set ${total} ${
            combined(values, reduce.combine, reduce.value, lanes, get(total), get(parts[i]!))
          })`,
        )
      );
    },
    PARTIAL_TURNS,
    true,
  );
}
