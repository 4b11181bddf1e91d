/**
 * Attention as primitives, one for each result of its forward pass and of its derivative. A target makes kernels of them
 * that never hold the scores of all queries and keys (Dao, arXiv:2307.08691), or composes them of products and a softmax.
 * @module
 */
import { cotangents, gradients } from "../core/diff/vjp.ts";
import {
  type AttentionResult,
  type Aval,
  aval,
  primitive,
  type Rules,
  type Scores,
  type Tensor,
} from "../core/ir/mod.ts";
import { add, mul } from "./arithmetic.ts";
import { attentionReference } from "./attention_reference.ts";
import { broadcastTo, sum } from "./broadcast.ts";
import { eq, le, logicalAnd, lt } from "./compare.ts";
import { dotGeneral } from "./contract.ts";
import { iota } from "./iota.ts";
import { itself } from "./itself.ts";
import { logSumExp, softmax } from "./normalise.ts";
import { tanh } from "./transcendental.ts";
import { reshape } from "./views.ts";
import { where } from "./where.ts";

/** A score that no softmax sees: far below any real one, yet finite. */
const HIDDEN = -1e30;

/** cap · tanh(x / cap): like x near 0, and between −cap and cap (arXiv:2408.00118). */
export function softCap(x: Tensor, cap: number): Tensor {
  return mul(tanh(mul(x, 1 / cap)), cap);
}

const BATCH: [number[], number[]] = [[0, 1], [0, 1]];

/** All scores f32[b, kvHeads, heads/kvHeads, t, s] of q [b, heads, t, d] and k [b, kvHeads, s, d]; hidden ones are far below. */
export function allScores(
  q: Tensor,
  k: Tensor,
  { scale, cap }: Pick<Scores, "scale" | "cap">,
  visible: Tensor | null,
): Tensor {
  const [b, heads, t, d] = q.shape as [number, number, number, number], kvHeads = k.shape[1]!;
  const groups = reshape(q, [b, kvHeads, heads / kvHeads, t, d]);
  const raw = mul(dotGeneral(groups, k, { batch: BATCH, inner: [[4], [3]] }), scale);
  const scores = cap === null ? raw : softCap(raw, cap);
  return visible ? where(broadcastTo(visible, scores.shape), scores, HIDDEN) : scores;
}

/** Values v [b, kvHeads, s, d] mixed by the softmax of all scores, or by what `weigh` makes of it → [b, heads, t, d]. */
export function mixed(scores: Tensor, v: Tensor, weigh = (weights: Tensor): Tensor => weights): Tensor {
  const [b, kvHeads, group, t] = scores.shape as [number, number, number, number, number];
  const y = dotGeneral(weigh(softmax(scores)), v, { batch: BATCH, inner: [[4], [2]] });
  return reshape(y, [b, kvHeads * group, t, v.shape[3]!]);
}

/** Which keys a query sees, bool broadcast to [b, kvHeads, group, t, s]; null: all. */
function visibleKeys(
  { causal, window }: Scores,
  t: number,
  s: number,
  segments: Tensor | null,
): Tensor | null {
  const at = iota([t, s], 0), key = iota([t, s], 1);
  const before = causal ? le(key, at) : null;
  const near = before && window !== null ? logicalAnd(before, lt(at, add(key, window))) : before;
  if (!segments) return near;
  const b = segments.shape[0]!;
  const own = eq(reshape(segments, [b, 1, 1, t, 1]), reshape(segments, [b, 1, 1, 1, s]));
  return near ? logicalAnd(own, reshape(near, [1, 1, 1, t, s])) : own;
}

interface PartParams {
  readonly result: AttentionResult;
  readonly scores: Scores;
}

/** The tensors of a part by their roles. */
function rolesOf(xs: readonly Tensor[], { scores }: PartParams) {
  const [q, k, v, ...more] = xs as [Tensor, Tensor, Tensor, ...Tensor[]];
  const segments = scores.segmented ? more.at(-1)! : null;
  return { q, k, v, ct: more[2] ?? null, segments };
}

/** A part from products and a softmax over all scores; the derivative is computed from the inputs of the forward pass. */
function composed(xs: readonly Tensor[], params: PartParams): Tensor {
  const { q, k, v, ct, segments } = rolesOf(xs, params), { result, scores } = params;
  const masked = allScores(q, k, scores, visibleKeys(scores, q.shape[2]!, k.shape[2]!, segments));
  if (result === "logSumExp") return reshape(logSumExp(masked), q.shape.slice(0, 3));
  const y = mixed(masked, v);
  if (result === "output") return y;
  return gradients([y], [ct!], [result === "dq" ? q : result === "dk" ? k : v])[0]!;
}

function shapeOf({ result }: PartParams, [q, k]: readonly [Aval, Aval]): Aval {
  if (result === "logSumExp") return aval(q.shape.slice(0, 3));
  return aval(result === "dk" || result === "dv" ? k.shape : q.shape);
}

/** What all parts have in common; the forward pass has its own pullback. */
function rulesOf(params: PartParams): Rules<readonly Tensor[]> {
  return {
    shape: (avals) => shapeOf(params, avals as readonly [Aval, Aval]),
    reference: (xs, avals) => {
      const [q, k, v, , , ct] = xs as [Float64Array, Float64Array, Float64Array, ...Float64Array[]];
      return attentionReference(
        params.result,
        params.scores,
        { q, k, v, ...(ct ? { ct } : {}), ...(params.scores.segmented ? { segments: xs.at(-1)! } : {}) },
        avals as readonly Aval[] as readonly [Aval, Aval],
      );
    },
    vjp: (ct, xs) => {
      // One of them may depend on another; and what they only hint at has no part in the value.
      const own = xs.map((x) => itself(x));
      return cotangents([composed(own, params)], [ct], own);
    },
    lower: { kind: "attention", ...params },
    composed: (xs) => composed(xs, params),
  };
}

const logSums = primitive<readonly Tensor[], PartParams>("logSumExp", rulesOf);
const queries = primitive<readonly Tensor[], PartParams>("dq", rulesOf);
const keys = primitive<readonly Tensor[], PartParams>("dk", rulesOf);
const values = primitive<readonly Tensor[], PartParams>("dv", rulesOf);

/**
 * The forward pass: q f32[b, heads, t, d], k and v f32[b, kvHeads, s, d], and segments i32[b, t] where the scores are
 * segmented → f32[b, heads, t, d]. The pullback makes the weights again from q, k and the logarithms of their sums.
 */
export const attentionOutput = primitive<readonly Tensor[], PartParams>("softmaxMix", (params) => ({
  ...rulesOf(params),
  vjp: (ct, xs, y) => {
    const { scores } = params, [q, k, v, ...segments] = xs as [Tensor, Tensor, Tensor, ...Tensor[]];
    const lse = logSums({ result: "logSumExp", scores })(...xs);
    // Σ over the keys of weight · its cotangent, for each query.
    const delta = sum(mul(ct, y), { axes: [3] });
    const all = [q, k, v, lse, delta, ct, ...segments];
    // The longest walk comes first.
    const dk = keys({ result: "dk", scores })(...all), dv = values({ result: "dv", scores })(...all);
    return [queries({ result: "dq", scores })(...all), dk, dv, ...segments.map(() => null)];
  },
}));
