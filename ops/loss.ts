/** Cross-entropy over a vocabulary. @module */
import type { Tensor } from "../core/ir/mod.ts";
import { div, maximum, sub } from "./arithmetic.ts";
import { sum } from "./broadcast.ts";
import { cast } from "./cast.ts";
import { le } from "./compare.ts";
import { pick } from "./gather.ts";
import { logSumExp } from "./normalise.ts";
import { where } from "./where.ts";

/** Number of labels that count (those not negative), as f32[]. */
export function countTrained(labels: Tensor): Tensor {
  return sum(cast(le(0, labels), "f32"), { axes: labels.shape.map((_, i) => i) });
}

/** −log softmax(logits)[label] of each position, f32[n]: logits f32[n, vocab], labels i32[n]; 0 where a label is negative. */
export function crossEntropies(logits: Tensor, labels: Tensor): Tensor {
  return where(le(0, labels), sub(logSumExp(logits), pick(logits, labels)), 0);
}

/**
 * Sum of −log softmax(logits)[label] and the number of positions in it: logits f32[n, vocab], labels i32[n], negative
 * labels (−100) ignored. Derivative: softmax − one-hot at the positions that count, one row kernel.
 */
export function crossEntropySum(
  logits: Tensor,
  labels: Tensor,
): { readonly sum: Tensor; readonly count: Tensor } {
  return { sum: sum(crossEntropies(logits, labels), { axes: [0] }), count: countTrained(labels) };
}

/** Mean cross-entropy over the positions that count; 0 when there are none. */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  const { sum, count } = crossEntropySum(logits, labels);
  return div(sum, maximum(count, 1));
}
