/** Attention and its derivative by plain loops in float64. @module */
import type { Aval } from "../core/ir/aval.ts";
import { type AttentionResult, type Scores, sees } from "../core/ir/lowering.ts";

/** Numbers that attention reads. */
export interface AttentionNumbers {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  /** Cotangent of the output, where the result is one of the derivative. */
  readonly ct?: Float64Array;
  readonly segments?: Float64Array;
}

/** One result from q [b, heads, t, d] and k, v [b, kvHeads, s, d]. */
export function attentionReference(
  result: AttentionResult,
  scores: Scores,
  { q, k, v, ct, segments }: AttentionNumbers,
  [qAval, kAval]: readonly [Aval, Aval],
): Float64Array {
  const [b, heads, t, d] = qAval.shape as [number, number, number, number];
  const [, kvHeads, s] = kAval.shape as [number, number, number];
  const { scale, cap } = scores;
  const out = new Float64Array(
    result === "logSumExp" ? b * heads * t : result === "dk" || result === "dv" ? k.length : q.length,
  );
  const dot = (x: Float64Array, i: number, y: Float64Array, j: number): number => {
    let total = 0;
    for (let f = 0; f < d; f++) total += x[i + f]! * y[j + f]!;
    return total;
  };
  const addTo = (at: number, factor: number, y: Float64Array, j: number): void => {
    for (let f = 0; f < d; f++) out[at + f]! += factor * y[j + f]!;
  };
  for (let row = 0; row < b * heads * t; row++) {
    const query = row % t, head = Math.floor(row / t) % heads, batch = Math.floor(row / t / heads);
    const keysAt = (batch * kvHeads + Math.floor(head * kvHeads / heads)) * s;
    const isOwn = (key: number): boolean =>
      !segments || segments[batch * t + query] === segments[batch * t + key];
    const seen = Array.from({ length: s }, (_, key) => key).filter((key) =>
      sees(scores, query, key) && isOwn(key)
    );
    const capped = seen.map((key) => {
      const x = scale * dot(q, row * d, k, (keysAt + key) * d);
      return cap === null ? x : cap * Math.tanh(x / cap);
    });
    const top = Math.max(...capped);
    const lse = top + Math.log(capped.reduce((total, x) => total + Math.exp(x - top), 0));
    if (result === "logSumExp") {
      out[row] = lse;
      continue;
    }
    const weights = capped.map((x) => Math.exp(x - lse));
    if (result === "output") {
      seen.forEach((key, i) => addTo(row * d, weights[i]!, v, (keysAt + key) * d));
      continue;
    }
    if (result === "dv") {
      seen.forEach((key, i) => addTo((keysAt + key) * d, weights[i]!, ct!, row * d));
      continue;
    }
    const dWeights = seen.map((key) => dot(ct!, row * d, v, (keysAt + key) * d));
    const delta = weights.reduce((total, w, i) => total + w * dWeights[i]!, 0);
    seen.forEach((key, i) => {
      const slope = cap === null ? 1 : 1 - (capped[i]! / cap) ** 2;
      const dScore = weights[i]! * (dWeights[i]! - delta) * slope * scale;
      if (result === "dq") addTo(row * d, dScore, k, (keysAt + key) * d);
      else addTo((keysAt + key) * d, dScore, q, row * d);
    });
  }
  return out;
}
