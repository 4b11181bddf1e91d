/** Rotary positions and grouped-query attention. @module */
import { ShapeError, showAval, type Tensor } from "../core/ir/mod.ts";
import { add, mul, neg } from "./arithmetic.ts";
import { allScores, attentionOutput, mixed } from "./attention_parts.ts";
import { lt } from "./compare.ts";
import { iota } from "./iota.ts";
import { roll } from "./views.ts";
import { where } from "./where.ts";

export { softCap } from "./attention_parts.ts";

/**
 * Rotate feature i against feature i + d/2 by the angle of its position: x [..., t, d], cos and sin [t, d] whose halves
 * are alike. arXiv:2104.09864 in the rotate-half layout. Orthogonal: the pullback rotates back.
 */
export function rope(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const axis = x.shape.length - 1, half = x.shape[axis]! / 2;
  const signed = where(lt(iota(sin.shape, sin.shape.length - 1), half), neg(sin), sin);
  return add(mul(x, cos), mul(roll(x, { axis, by: half }), signed));
}

/** Which keys a query sees, and how its scores are changed. */
export interface AttentionOptions {
  /** No key after the query's own position; default true. */
  readonly causal?: boolean;
  /** So many positions up to the query's own; null or absent: all. */
  readonly window?: number | null;
  /** Keys of the query's own segment alone: i32[b, t]. Absent: all are one. */
  readonly segments?: Tensor;
  /** Scores x become cap · tanh(x / cap). */
  readonly cap?: number;
}

/**
 * Attention where query head h reads key head ⌊h / (heads/kvHeads)⌋: q f32[b, heads, t, d], k and v
 * f32[b, kvHeads, s, d] → f32[b, heads, t, d]; scores are q·k/√d. On matrix units it is a kernel that never holds all
 * scores, and two of its derivative (`docs/ARCHITECTURE.md`); elsewhere products and a softmax. Throws ShapeError where
 * heads do not divide, or where positions count and t is not s.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const { causal = true, window = null, segments, cap } = options;
  requireHeads(q, k, v);
  const t = q.shape[2]!, s = k.shape[2]!;
  if ((causal || window !== null || segments) && t !== s) {
    throw new ShapeError(
      `Cannot tell positions of queries ${showAval(q.aval)} from those of keys ${
        showAval(k.aval)
      }: ${t} is not ${s}. ` +
        `Give maskedAttention a mask.`,
    );
  }
  if (window !== null && (!causal || !Number.isSafeInteger(window) || window < 1)) {
    throw new ShapeError(`A window of ${window} is none of causal attention: give a whole number from 1 on.`);
  }
  if (segments && showAval(segments.aval) !== `i32[${q.shape[0]},${t}]`) {
    throw new ShapeError(
      `Cannot tell segments of ${showAval(q.aval)} by ${showAval(segments.aval)}: give i32[${
        q.shape[0]
      },${t}].`,
    );
  }
  const scores = {
    scale: 1 / Math.sqrt(q.shape[3]!),
    cap: cap ?? null,
    causal,
    // One that reaches everything is none.
    window: window !== null && window < t ? window : null,
    segmented: segments !== undefined,
  };
  return attentionOutput({ result: "output", scores })(q, k, v, ...(segments ? [segments] : []));
}

/**
 * The same where `visible` bool, broadcast to [b, kvHeads, heads/kvHeads, t, s], says which keys a query sees: products
 * and a softmax over all scores on every target. Values are mixed by what `weigh` makes of the softmax, of that shape.
 */
export function maskedAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  visible: Tensor,
  cap?: number,
  weigh?: (weights: Tensor) => Tensor,
): Tensor {
  requireHeads(q, k, v);
  const scores = allScores(q, k, { scale: 1 / Math.sqrt(q.shape[3]!), cap: cap ?? null }, visible);
  return mixed(scores, v, weigh);
}

function requireHeads(q: Tensor, k: Tensor, v: Tensor): void {
  const [b, heads, , d] = q.shape, [kb, kvHeads, s, kd] = k.shape;
  const [vb, vHeads, vs, vd] = v.shape;
  const fits = [q, k, v].every((x) => x.shape.length === 4 && x.dtype === "f32") && kb === b && kd === d &&
    vb === b && vHeads === kvHeads && vs === s && vd === d;
  if (!fits) {
    throw new ShapeError(
      `Cannot attend with queries ${showAval(q.aval)}, keys ${showAval(k.aval)} and values ${
        showAval(v.aval)
      }: ` +
        `they must be f32[b, heads, t, d] and twice f32[b, kvHeads, s, d].`,
    );
  }
  if (heads! % kvHeads! === 0) return;
  throw new ShapeError(
    `Cannot share keys ${showAval(k.aval)} among queries ${
      showAval(q.aval)
    }: ${heads} heads are not a multiple of ${kvHeads}.`,
  );
}
