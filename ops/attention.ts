/** Rotary positions and causal grouped-query attention. @module */
import { ShapeError, showAval, type Tensor } from "../core/ir/mod.ts";
import { add, mul, neg } from "./arithmetic.ts";
import { broadcastTo } from "./broadcast.ts";
import { le, lt } from "./compare.ts";
import { dotGeneral } from "./contract.ts";
import { iota } from "./iota.ts";
import { softmax } from "./normalise.ts";
import { tanh } from "./transcendental.ts";
import { reshape, roll } from "./views.ts";
import { where } from "./where.ts";

/**
 * Rotate feature i against feature i + d/2 by the angle of its position: x [..., t, d], cos and sin [t, d] whose halves
 * are alike. arXiv:2104.09864 in the rotate-half layout. Orthogonal: the pullback rotates back.
 */
export function rope(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const axis = x.shape.length - 1, half = x.shape[axis]! / 2;
  const signed = where(lt(iota(sin.shape, sin.shape.length - 1), half), neg(sin), sin);
  return add(mul(x, cos), mul(roll(x, { axis, by: half }), signed));
}

/** cap · tanh(x / cap): like x near 0, and between −cap and cap (arXiv:2408.00118). */
export function softCap(x: Tensor, cap: number): Tensor {
  return mul(tanh(mul(x, 1 / cap)), cap);
}

/** A score that no softmax sees: far below any real one, yet finite. */
const HIDDEN = -1e30;

/**
 * Attention where query head h reads key head ⌊h / (heads/kvHeads)⌋: q f32[b, heads, t, d], k and v
 * f32[b, kvHeads, s, d] → f32[b, heads, t, d]. `visible` bool, broadcast to [t, s], says which keys a query sees;
 * default causal, for t = s. With a `cap` scores x become cap · tanh(x / cap). Throws ShapeError where heads do not divide.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, visible?: Tensor, cap?: number): Tensor {
  const [b, heads, t, d] = q.shape as [number, number, number, number];
  const [, kvHeads, s] = k.shape as [number, number, number];
  if (heads % kvHeads !== 0) {
    throw new ShapeError(
      `Cannot share keys ${showAval(k.aval)} among queries ${
        showAval(q.aval)
      }: ${heads} heads are not a multiple of ${kvHeads}.`,
    );
  }
  const batch: [number[], number[]] = [[0, 1], [0, 1]];
  const groups = reshape(q, [b, kvHeads, heads / kvHeads, t, d]);
  const raw = mul(dotGeneral(groups, k, { batch, inner: [[4], [3]] }), 1 / Math.sqrt(d));
  const scores = cap === undefined ? raw : softCap(raw, cap);
  const seen = visible ?? le(iota([t, s], 1), iota([t, s], 0));
  const weights = softmax(where(broadcastTo(seen, scores.shape), scores, HIDDEN));
  return reshape(dotGeneral(weights, v, { batch, inner: [[4], [2]] }), q.shape);
}
