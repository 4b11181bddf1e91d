/** What all reductions share. @module */
import {
  type Aval,
  aval,
  type Combine,
  type Rules,
  ShapeError,
  showAval,
  sizeOf,
  stridesOf,
  type Tensor,
} from "../core/ir/mod.ts";

/** Axes to reduce: distinct, in `0 ≤ axis < rank`. */
export interface ReduceParams {
  readonly axes: readonly number[];
}

/** A reduction's rules but for its pullback: `fold` from `start` along `axes`, over f32. */
export function reduceRules(
  combine: Combine,
  start: number,
  fold: (a: number, b: number) => number,
  axes: readonly number[],
): Omit<Rules<[x: Tensor]>, "vjp"> {
  return {
    shape: ([x]) => {
      if (
        axes.some((a, i) => !Number.isInteger(a) || a < 0 || a >= x.shape.length || axes.indexOf(a) !== i)
      ) {
        throw new ShapeError(
          `Cannot reduce ${showAval(x)} along [${axes.join(",")}]: give distinct axes from 0 to ${
            x.shape.length - 1
          }.`,
        );
      }
      if (x.dtype !== "f32") {
        throw new ShapeError(`Cannot reduce ${showAval(x)}: reductions are over f32; cast it.`);
      }
      return aval(x.shape.filter((_, i) => !axes.includes(i)));
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
    const to = kept.reduce(
      (n, axis, k) => n + (Math.floor(i / strides[axis]!) % at.shape[axis]!) * outStrides[k]!,
      0,
    );
    y[to] = fold(y[to]!, x[i]!);
  }
  return y;
}
