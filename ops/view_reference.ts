/** What views mean in float64. @module */
import { type Shape, sizeOf } from "../core/ir/mod.ts";

/** Numbers of a view in float64: `from(index)` gives the position in `x`, or −1 for 0. */
export function viewReference(
  x: Float64Array,
  shape: Shape,
  from: (index: readonly number[]) => number,
): Float64Array {
  const out = new Float64Array(sizeOf(shape));
  const index = new Array<number>(shape.length).fill(0);
  for (let i = 0; i < out.length; i++) {
    const at = from(index);
    out[i] = at < 0 ? 0 : x[at]!;
    for (let a = shape.length - 1; a >= 0; a--) {
      if (++index[a]! < shape[a]!) break;
      index[a] = 0;
    }
  }
  return out;
}
