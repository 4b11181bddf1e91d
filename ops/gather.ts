/** Rows of a table by index, and the transpose: adding rows by index. @module */
import { aval, primitive, sameShape, ShapeError, showAval, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { broadcastTo, sum } from "./broadcast.ts";
import { cast } from "./cast.ts";
import { eq } from "./compare.ts";
import { iota } from "./iota.ts";
import { reshape } from "./views.ts";
import { where } from "./where.ts";

const gathered = primitive<[table: Tensor, indices: Tensor]>("gather", () => ({
  shape: ([table, indices]) => {
    if (table.shape.length === 0 || (indices.dtype !== "i32" && indices.dtype !== "u32")) {
      throw new ShapeError(
        `Cannot gather rows of ${showAval(table)} by ${showAval(indices)}: indices must be i32 or u32.`,
      );
    }
    return aval(
      [...indices.shape, ...table.shape.slice(1)],
      table.dtype === "f16" || table.dtype === "bf16" ? "f32" : table.dtype,
    );
  },
  reference: ([table, indices], [at]) => {
    const size = sizeOf(at.shape.slice(1));
    const out = new Float64Array(indices.length * size);
    indices.forEach((row, i) => {
      if (!(row >= 0 && row < at.shape[0]!)) {
        throw new RangeError(`Row ${row} is not in a table of ${at.shape[0]} rows.`);
      }
      out.set(table.subarray(row * size, (row + 1) * size), i * size);
    });
    return out;
  },
  vjp: (ct, [table, indices]) => [cast(scatter(indices, ct, { rows: table.shape[0]! }), table.dtype), null],
  lower: { kind: "gather" },
}))(undefined);

/** table [rows, ...rest], indices i32[...n] → [...n, ...rest]. Linear in the table: the pullback scatters. */
export function gather(table: Tensor, indices: Tensor): Tensor {
  return gathered(table, indices);
}

const scattered = primitive<[indices: Tensor, values: Tensor], { rows: number }>("scatter", ({ rows }) => ({
  shape: ([indices, values]) => {
    const lead = indices.shape.length;
    if (!sameShape(indices.shape, values.shape.slice(0, lead))) {
      throw new ShapeError(
        `Cannot scatter ${showAval(values)} by ${showAval(indices)}: their leading axes must be the same.`,
      );
    }
    return aval([rows, ...values.shape.slice(lead)]);
  },
  reference: ([indices, values], _avals, out) => {
    const size = sizeOf(out.shape.slice(1));
    const y = new Float64Array(sizeOf(out.shape));
    indices.forEach((row, i) => {
      for (let k = 0; k < size; k++) y[row * size + k]! += values[i * size + k]!;
    });
    return y;
  },
  vjp: (ct, [indices]) => [null, gather(ct, indices)],
  lower: { kind: "scatter", rows },
}));

/** The transpose of {@linkcode gather}: indices [...n], values [...n, ...rest] → [rows, ...rest], equal indices added. */
export function scatter(indices: Tensor, values: Tensor, { rows }: { readonly rows: number }): Tensor {
  return scattered({ rows })(indices, values);
}

/** Element `indices` of the last axis: x [..., n], indices i32[...] → [...]; 0 for an index outside. */
export function pick(x: Tensor, indices: Tensor): Tensor {
  const axis = x.shape.length - 1;
  const hit = eq(iota(x.shape, axis), broadcastTo(reshape(indices, [...indices.shape, 1]), x.shape));
  return sum(where(hit, x, 0), { axes: [axis] });
}
