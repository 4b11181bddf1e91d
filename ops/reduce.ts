/** Reductions along axes. @module */
import { type Aval, aval, type Combine, primitive, type Rules, ShapeError, showAval, sizeOf, stridesOf, type Tensor } from "../core/ir/mod.ts";
import { broadcastIn } from "./broadcast.ts";
import { cast } from "./cast.ts";
import { div, mul, neg } from "./arithmetic.ts";
import { eq } from "./compare.ts";
import { iota } from "./iota.ts";
import { where } from "./where.ts";

/** Axes to reduce: distinct, in `0 ≤ axis < rank`. */
export interface ReduceParams {
  readonly axes: readonly number[];
}

function rules(combine: Combine, start: number, fold: (a: number, b: number) => number, axes: readonly number[]): Omit<Rules<[x: Tensor]>, "vjp"> {
  return {
    shape: ([x]) => {
      if (axes.some((a, i) => !Number.isInteger(a) || a < 0 || a >= x.shape.length || axes.indexOf(a) !== i)) {
        throw new ShapeError(`Cannot reduce ${showAval(x)} along [${axes.join(",")}]: give distinct axes from 0 to ${x.shape.length - 1}.`);
      }
      return aval(x.shape.filter((_, i) => !axes.includes(i)), x.dtype);
    },
    reference: ([x], [at], out) => foldAxes(x, at, out, axes, start, fold),
    lower: { kind: "reduce", axes, combine },
  };
}

function foldAxes(
  x: Float64Array,
  at: Aval,
  out: Aval,
  axes: readonly number[],
  start: number,
  fold: (a: number, b: number) => number,
): Float64Array {
  const y = new Float64Array(sizeOf(out.shape)).fill(start);
  const strides = stridesOf(at.shape);
  const outStrides = stridesOf(out.shape);
  const kept = at.shape.map((_, i) => i).filter((i) => !axes.includes(i));
  for (let i = 0; i < x.length; i++) {
    const to = kept.reduce((n, axis, k) => n + (Math.floor(i / strides[axis]!) % at.shape[axis]!) * outStrides[k]!, 0);
    y[to] = fold(y[to]!, x[i]!);
  }
  return y;
}

const summed = primitive<[x: Tensor], ReduceParams>("sum", ({ axes }) => ({
  ...rules("add", 0, (a, b) => a + b, axes),
  vjp: (ct, [x]) => [broadcastIn(ct, { shape: x.shape, axes })],
}));

/** Add up x along `axes`: x [...kept, ...axes] → [...kept]. Linear: the pullback broadcasts `ct` back. */
export function sum(x: Tensor, { axes }: ReduceParams): Tensor {
  return axes.length === 0 ? x : summed({ axes: [...axes] })(x);
}

const maximal = primitive<[x: Tensor], ReduceParams>("max", ({ axes }) => ({
  ...rules("max", -Infinity, Math.max, axes),
  // Equal largest elements share the cotangent.
  vjp: (ct, [x], y) => {
    const wide = (t: Tensor): Tensor => broadcastIn(t, { shape: x.shape, axes });
    const hit = cast(eq(x, wide(y)), "f32");
    return [mul(hit, wide(div(ct, sum(hit, { axes }))))];
  },
}));

/** Largest element along `axes`. Its pullback gives `ct` to the largest elements, in equal shares. */
export function max(x: Tensor, { axes }: ReduceParams): Tensor {
  return axes.length === 0 ? x : maximal({ axes: [...axes] })(x);
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
