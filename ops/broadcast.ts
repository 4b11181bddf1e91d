/** Repeating along new axes and adding up along axes: each is the other's transpose. @module */
import {
  aval,
  primitive,
  sameShape,
  type Shape,
  ShapeError,
  showAval,
  stridesOf,
  type Tensor,
} from "../core/ir/mod.ts";
import { widen } from "./cast.ts";
import { type ReduceParams, reduceRules } from "./fold.ts";
import { viewReference } from "./view_reference.ts";
import { reshape } from "./views.ts";

/** Parameters of {@linkcode broadcastIn}: the result's shape, and which of its axes are new. */
export interface BroadcastParams {
  readonly shape: Shape;
  readonly axes: readonly number[];
}

const broadcast = primitive<[x: Tensor], BroadcastParams>("broadcast", ({ shape, axes }) => {
  const kept = shape.map((_, i) => i).filter((i) => !axes.includes(i));
  return {
    shape: ([x]) => {
      if (!sameShape(x.shape, kept.map((i) => shape[i]!))) {
        throw new ShapeError(
          `Cannot broadcast ${showAval(x)} to [${shape.join(",")}] along new axes [${axes.join(",")}].`,
        );
      }
      return aval(shape, x.dtype);
    },
    reference: ([x], [at], out) => {
      const strides = stridesOf(at.shape);
      return viewReference(
        x,
        out.shape,
        (index) => kept.reduce((n, axis, i) => n + index[axis]! * strides[i]!, 0),
      );
    },
    vjp: (ct) => [sum(ct, { axes })],
    lower: { kind: "view", map: (index) => ({ index: kept.map((i) => index[i]!) }) },
  };
});

/** x repeated along the new `axes` of `shape`. Linear: the pullback sums along them. */
export function broadcastIn(x: Tensor, { shape, axes }: BroadcastParams): Tensor {
  return axes.length === 0 ? x : broadcast({ shape: [...shape], axes: [...axes] })(x);
}

/** x at a larger shape under NumPy's rules: missing leading axes and axes of 1 repeat. Throws ShapeError. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = shape.length - x.shape.length;
  const axes: number[] = [], kept: number[] = [];
  shape.forEach((d, i) => {
    const from = x.shape[i - lead] ?? 1;
    if (i < lead || (from === 1 && d !== 1)) axes.push(i);
    else if (from === d) kept.push(d);
    else {throw new ShapeError(
        `Cannot broadcast ${showAval(x.aval)} to [${shape.join(",")}]: axis ${i} is ${from} and ${d}.`,
      );}
  });
  if (lead < 0) {
    throw new ShapeError(`Cannot broadcast ${showAval(x.aval)} to [${shape.join(",")}]: it has fewer axes.`);
  }
  return broadcastIn(reshape(x, kept), { shape, axes });
}

const summed = primitive<[x: Tensor], ReduceParams>("sum", ({ axes }) => ({
  ...reduceRules("add", 0, (a, b) => a + b, axes),
  vjp: (ct, [x]) => [broadcastIn(ct, { shape: x.shape, axes })],
}));

/** Add up x along `axes`: x [...kept, ...axes] → f32[...kept]. Linear: the pullback broadcasts `ct` back. */
export function sum(x: Tensor, { axes }: ReduceParams): Tensor {
  return axes.length === 0 ? widen(x) : summed({ axes: [...axes] })(widen(x));
}
