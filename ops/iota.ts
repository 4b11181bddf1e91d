/** Indices as values. @module */
import { aval, primitive, type Shape, ShapeError, type Tensor } from "../core/ir/mod.ts";
import { viewReference } from "./view_reference.ts";
import { cast } from "./cast.ts";

const indices = primitive<[], { shape: Shape; axis: number }>("iota", ({ shape, axis }) => ({
  shape: () => {
    if (shape[axis] === undefined) {
      throw new ShapeError(`Cannot count along axis ${axis} of [${shape.join(",")}].`);
    }
    return aval(shape, "i32");
  },
  reference: (_xs, _avals, out) => {
    const numbers = Float64Array.from({ length: shape[axis]! }, (_, i) => i);
    return viewReference(numbers, out.shape, (index) => index[axis]!);
  },
  vjp: () => [],
  lower: { kind: "elementwise", expr: (_xs, at) => at[axis]! },
}));

/** The index along `axis` at every place of `shape`. Costs nothing. */
export function iota(shape: Shape, axis = 0, dtype: "i32" | "u32" | "f32" = "i32"): Tensor {
  return cast(indices({ shape: [...shape], axis })(), dtype);
}
