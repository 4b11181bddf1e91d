/** Joining tensors. @module */
import { aval, primitive, ShapeError, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { add } from "./arithmetic.ts";
import { pad, reshape, slice } from "./views.ts";

/** Tensors end to end along `axis`; all other axes must be the same. A sum of padded views. */
export function concat(xs: readonly Tensor[], axis: number): Tensor {
  const total = xs.reduce((n, x) => n + x.shape[axis]!, 0);
  let at = 0;
  return xs.map((x) => {
    const zero = x.shape.map(() => 0), size = x.shape[axis]!;
    const before = zero.with(axis, at), after = zero.with(axis, total - at - size);
    at += size;
    return pad(x, { before, after });
  }).reduce((a, b) => add(a, b));
}

/** Elements of a slot of {@linkcode pack} are a multiple of this. */
export const PACK_UNIT = 64;

const packed = primitive<readonly Tensor[], { slot: number }>("pack", ({ slot }) => ({
  shape: (xs) => {
    const sizes = xs.map((x) => x.shape.reduce((n, d) => n * d, 1));
    if (slot % PACK_UNIT !== 0 || sizes.some((n) => n > slot) || xs.some((x) => x.dtype !== "f32")) {
      throw new ShapeError(
        `Cannot pack tensors of ${
          sizes.join(", ")
        } elements into slots of ${slot}: use f32 and a multiple of ${PACK_UNIT} that holds each.`,
      );
    }
    return aval([xs.length, slot]);
  },
  reference: (xs) => {
    const y = new Float64Array(xs.length * slot);
    xs.forEach((x, i) => y.set(x, i * slot));
    return y;
  },
  vjp: (ct, xs) =>
    xs.map((x, i) => {
      const size = x.shape.reduce((n, d) => n * d, 1);
      return reshape(slice(ct, { start: [i, 0], stop: [i + 1, size] }), x.shape);
    }),
  lower: { kind: "pack", slot },
}));

/** Tensors f32 of any shapes in slots of equal size, zeros behind each: → f32[count, slot]. Their kernels write in place. */
export function pack(xs: readonly Tensor[], slot: number): Tensor {
  return packed({ slot })(...xs);
}

/** x f32[...] in memory of its own: computed by one kernel, and not again inside each kernel that reads it. */
export function stored(x: Tensor): Tensor {
  const size = sizeOf(x.shape), row = pack([x], Math.ceil(size / PACK_UNIT) * PACK_UNIT);
  return reshape(slice(row, { start: [0, 0], stop: [1, size] }), x.shape);
}
