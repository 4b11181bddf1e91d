/** What kernels of attention mean, by plain loops in float64. @module */
import type { Expr } from "../ir/expr.ts";
import type { Var } from "../ir/ix.ts";
import { type AttentionResult, sees } from "../ir/lowering.ts";
import type { Values } from "./interpret_values.ts";
import { type AttentionForm, extentOf, passOf } from "./kernel.ts";

/** Rows of one head, one after the other; by name, as the form has them. */
type Rows = Readonly<Record<string, Float64Array>>;

/** Run a kernel of attention. */
export function interpretAttention(form: AttentionForm, values: Values): void {
  const { batch, head, group, query, key, feature, segments, back } = form;
  const reader = (of: Readonly<Record<string, readonly [Expr | undefined, ...Var[]]>>) => {
    const loads = Object.entries(of).flatMap(([name, [value, ...vars]]) =>
      value ? [{ name, vars, load: values.evaluator([value]) }] : []
    );
    return (): Rows =>
      Object.fromEntries(loads.map(({ name, vars, load }) => {
        const rows = new Float64Array(extentOf(vars));
        values.each(vars, (i) => void (rows[i] = load()[0]!));
        return [name, rows];
      }));
  };
  const readQueries = reader({
    q: [form.q, query, feature],
    ct: [back?.ct, query, feature],
    logSumExp: [back?.logSumExp, query],
    delta: [back?.delta, query],
    segments: [segments?.[0], query],
  });
  const readKeys = reader({
    k: [form.k, key, feature],
    v: [form.v, key, feature],
    segments: [segments?.[1], key],
  });
  const writers = form.stores.map(({ result, ...store }) => {
    const write = values.storer([store]);
    const row = passOf(result) === "keys" ? key : query;
    return {
      result,
      write: (rows: Float64Array): void =>
        values.each(result === "logSumExp" ? [row] : [row, feature], (i) => {
          values.accumulators[0] = rows[i]!;
          write();
        }),
    };
  });
  values.each([batch, head], () => {
    const keys = readKeys();
    const dk = new Float64Array(extentOf([key, feature])), dv = new Float64Array(extentOf([key, feature]));
    values.each([group], () => {
      const found = attend(form, readQueries(), keys, dk, dv);
      for (const { result, write } of writers) if (passOf(result) !== "keys") write(found[result]);
    });
    for (const { result, write } of writers) if (passOf(result) === "keys") write(result === "dk" ? dk : dv);
  });
}

/** All results of one head's queries; `dk` and `dv` are added to. */
function attend(
  { scores, query, key, feature, back }: AttentionForm,
  { q, ct, logSumExp, delta, segments }: Rows,
  { k, v, segments: keySegments }: Rows,
  dk: Float64Array,
  dv: Float64Array,
): Record<AttentionResult, Float64Array> {
  const t = query.extent, s = key.extent, d = feature.extent, { scale, cap } = scores;
  const found = {
    output: new Float64Array(t * d),
    logSumExp: new Float64Array(t),
    dq: new Float64Array(t * d),
    dk,
    dv,
  };
  const dot = (x: Float64Array, i: number, y: Float64Array, j: number): number => {
    let sum = 0;
    for (let f = 0; f < d; f++) sum += x[i * d + f]! * y[j * d + f]!;
    return sum;
  };
  const addTo = (to: Float64Array, i: number, factor: number, of: Float64Array, j: number): void => {
    for (let f = 0; f < d; f++) to[i * d + f]! += factor * of[j * d + f]!;
  };
  for (let i = 0; i < t; i++) {
    const row: { j: number; score: number }[] = [];
    for (let j = 0; j < s; j++) {
      if (!sees(scores, i, j) || (segments && segments[i] !== keySegments![j])) continue;
      const score = scale * dot(q!, i, k!, j);
      row.push({ j, score: cap === null ? score : cap * Math.tanh(score / cap) });
    }
    if (!back) {
      const top = row.reduce((a, { score }) => Math.max(a, score), -Infinity);
      found.logSumExp[i] = top + Math.log(row.reduce((sum, { score }) => sum + Math.exp(score - top), 0));
      for (const { j, score } of row) addTo(found.output, i, Math.exp(score - found.logSumExp[i]!), v!, j);
      continue;
    }
    for (const { j, score } of row) {
      const weight = Math.exp(score - logSumExp![i]!);
      const slope = cap === null ? 1 : 1 - (score / cap) ** 2;
      const dScore = weight * (dot(ct!, i, v!, j) - delta![i]!) * slope * scale;
      addTo(dv, j, weight, ct!, i);
      addTo(found.dq, i, dScore, k!, j);
      addTo(dk, j, dScore, q!, i);
    }
  }
  return found;
}
