/** Reductions along axes, besides the sum. @module */
import { primitive, type Tensor } from "../core/ir/mod.ts";
import { div, maximum, mul, neg } from "./arithmetic.ts";
import { broadcastIn, sum } from "./broadcast.ts";
import { cast, widen } from "./cast.ts";
import { eq } from "./compare.ts";
import { type ReduceParams, reduceRules } from "./fold.ts";
import { iota } from "./iota.ts";
import { where } from "./where.ts";

const maximal = primitive<[x: Tensor], ReduceParams>("max", ({ axes }) => ({
  ...reduceRules("max", -Infinity, Math.max, axes),
  // Equal largest elements share the cotangent.
  vjp: (ct, [x], y) => {
    const wide = (t: Tensor): Tensor => broadcastIn(t, { shape: x.shape, axes });
    const hit = cast(eq(x, wide(y)), "f32");
    // At least one matches, unless another kernel rounded x otherwise: then nothing flows, rather than 0/0.
    return [mul(hit, wide(div(ct, maximum(sum(hit, { axes }), 1))))];
  },
}));

/** Largest element along `axes`. Its pullback gives `ct` to the largest elements, in equal shares. */
export function max(x: Tensor, { axes }: ReduceParams): Tensor {
  return axes.length === 0 ? widen(x) : maximal({ axes: [...axes] })(widen(x));
}

/** Smallest element along `axes`. */
export function min(x: Tensor, params: ReduceParams): Tensor {
  return neg(max(neg(x), params));
}

/** Mean along `axes`. */
export function mean(x: Tensor, { axes }: ReduceParams): Tensor {
  return div(sum(x, { axes }), axes.reduce((n, a) => n * x.shape[a]!, 1));
}

/** Place of the first largest element along the last axis: x f32[..., n] → i32[...]. No derivative. */
export function argmax(x: Tensor): Tensor {
  const axis = x.shape.length - 1, n = x.shape[axis]!;
  const top = broadcastIn(max(x, { axes: [axis] }), { shape: x.shape, axes: [axis] });
  const place = where(eq(x, top), cast(iota(x.shape, axis), "f32"), n);
  return cast(min(place, { axes: [axis] }), "i32");
}
