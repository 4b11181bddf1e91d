/** Views: permute, reshape, slice, pad, roll. They cost nothing: fusion turns them into indices. @module */
import {
  aval,
  type Cond,
  type Ix,
  ixAdd,
  ixConst,
  ixLinear,
  ixMod,
  ixUnravel,
  primitive,
  sameShape,
  type Shape,
  ShapeError,
  showAval,
  sizeOf,
  stridesOf,
  type Tensor,
} from "../core/ir/mod.ts";
import { viewReference } from "./view_reference.ts";

function linear(index: readonly number[], strides: readonly number[]): number {
  return index.reduce((n, v, i) => n + v * strides[i]!, 0);
}

const permuted = primitive<[x: Tensor], { axes: readonly number[] }>("permute", ({ axes }) => {
  const inverse = axes.map((_, i) => axes.indexOf(i));
  return {
    shape: ([x]) => {
      if (axes.length !== x.shape.length || inverse.includes(-1)) {
        throw new ShapeError(`Cannot permute ${showAval(x)} by [${axes.join(",")}]: give each axis once.`);
      }
      return aval(axes.map((a) => x.shape[a]!), x.dtype);
    },
    reference: ([x], [at], out) => {
      const strides = stridesOf(at.shape);
      return viewReference(x, out.shape, (index) => linear(index, axes.map((a) => strides[a]!)));
    },
    vjp: (ct) => [permute(ct, inverse)],
    lower: { kind: "view", map: (index) => ({ index: inverse.map((i) => index[i]!) }) },
  };
});

/** Reorder axes: axis i of the result is axis `axes[i]` of x. Its pullback is the inverse permutation. */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  return axes.every((a, i) => a === i) && axes.length === x.shape.length ? x : permuted({ axes })(x);
}

/** Swap the last two axes: x [..., m, n] → [..., n, m]. */
export function transpose(x: Tensor): Tensor {
  const n = x.shape.length;
  return permute(x, x.shape.map((_, i) => (i < n - 2 ? i : 2 * n - 3 - i)));
}

const reshaped = primitive<[x: Tensor], { shape: Shape }>("reshape", ({ shape }) => {
  let from: Shape = [];
  return {
    shape: ([x]) => {
      if (sizeOf(x.shape) !== sizeOf(shape)) {
        throw new ShapeError(
          `Cannot reshape ${showAval(x)} to [${shape.join(",")}]: they have ${sizeOf(x.shape)} and ${
            sizeOf(shape)
          } elements.`,
        );
      }
      from = x.shape;
      return aval(shape, x.dtype);
    },
    reference: ([x]) => x,
    vjp: (ct, [x]) => [reshape(ct, x.shape)],
    lower: { kind: "view", map: (index) => ({ index: ixUnravel(ixLinear(index, stridesOf(shape)), from) }) },
  };
});

/** The same elements in row-major order under another shape. Its pullback reshapes back. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  return sameShape(x.shape, shape) ? x : reshaped({ shape: [...shape] })(x);
}

/** Start and end (not included) of each axis. */
export interface SliceRange {
  readonly start: readonly number[];
  readonly stop: readonly number[];
}

const sliced = primitive<[x: Tensor], SliceRange>("slice", ({ start, stop }) => ({
  shape: ([x]) => {
    const fits = start.length === x.shape.length && stop.length === x.shape.length &&
      x.shape.every((d, i) => 0 <= start[i]! && start[i]! < stop[i]! && stop[i]! <= d);
    if (!fits) {
      throw new ShapeError(
        `Cannot slice ${showAval(x)} from [${start.join(",")}] to [${stop.join(",")}]: out of range.`,
      );
    }
    return aval(start.map((s, i) => stop[i]! - s), x.dtype);
  },
  reference: ([x], [at], out) =>
    viewReference(x, out.shape, (index) => linear(index.map((v, i) => v + start[i]!), stridesOf(at.shape))),
  vjp: (ct, [x]) => [pad(ct, { before: start, after: x.shape.map((d, i) => d - stop[i]!) })],
  lower: { kind: "view", map: (index) => ({ index: index.map((ix, i) => ixAdd(ix, ixConst(start[i]!))) }) },
}));

/** The part of x from `start` to `stop`. Its pullback pads with zeros. */
export function slice(x: Tensor, { start, stop }: SliceRange): Tensor {
  const whole = start.every((s) => s === 0) && sameShape(stop, x.shape);
  return whole ? x : sliced({ start: [...start], stop: [...stop] })(x);
}

/** Zeros to add before and after each axis. */
export interface Padding {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const padded = primitive<[x: Tensor], Padding>("pad", ({ before, after }) => {
  let from: Shape = [];
  return {
    shape: ([x]) => {
      if (
        before.length !== x.shape.length || after.length !== x.shape.length ||
        [...before, ...after].some((n) => n < 0)
      ) {
        throw new ShapeError(
          `Cannot pad ${showAval(x)} by [${before.join(",")}] and [${
            after.join(",")
          }]: give two counts for each axis.`,
        );
      }
      from = x.shape;
      return aval(x.shape.map((d, i) => d + before[i]! + after[i]!), x.dtype);
    },
    reference: ([x], [at], out) =>
      viewReference(x, out.shape, (index) => {
        const inner = index.map((v, i) => v - before[i]!);
        return inner.every((v, i) => v >= 0 && v < at.shape[i]!) ? linear(inner, stridesOf(at.shape)) : -1;
      }),
    vjp: (ct, [x]) => [slice(ct, { start: before, stop: x.shape.map((d, i) => d + before[i]!) })],
    lower: {
      kind: "view",
      map: (index) => {
        const inner: Ix[] = index.map((ix, i) => ixAdd(ix, ixConst(-before[i]!)));
        const valid: Cond[] = inner.map((ix, i) => ({ ix, lo: 0, hi: from[i]! }))
          .filter((_, i) => before[i]! > 0 || after[i]! > 0);
        return { index: inner, valid };
      },
    },
  };
});

/** x with zeros around it. Its pullback slices. */
export function pad(x: Tensor, { before, after }: Padding): Tensor {
  return [...before, ...after].every((n) => n === 0)
    ? x
    : padded({ before: [...before], after: [...after] })(x);
}

const rolled = primitive<[x: Tensor], { axis: number; by: number }>("roll", ({ axis, by }) => {
  let extent = 1;
  return {
    shape: ([x]) => {
      extent = x.shape[axis] ?? 0;
      if (extent === 0 || by < 0 || by >= extent) {
        throw new ShapeError(
          `Cannot roll ${showAval(x)} by ${by} along axis ${axis}: use 0 to the axis' size − 1.`,
        );
      }
      return x;
    },
    reference: ([x], [at], out) =>
      viewReference(
        x,
        out.shape,
        (index) => linear(index.map((v, i) => (i === axis ? (v + by) % extent : v)), stridesOf(at.shape)),
      ),
    vjp: (ct) => [roll(ct, { axis, by: (extent - by) % extent })],
    lower: {
      kind: "view",
      map: (index) => ({
        index: index.map((ix, i) => (i === axis ? ixMod(ixAdd(ix, ixConst(by)), extent) : ix)),
      }),
    },
  };
});

/** Cyclic shift: element i along `axis` is element (i + by) mod n of x. Its pullback rolls back. */
export function roll(x: Tensor, { axis, by }: { readonly axis: number; readonly by: number }): Tensor {
  return by === 0 ? x : rolled({ axis, by })(x);
}
