/** Conversion between element types. @module */
import {
  aval,
  call,
  constant,
  type DType,
  type Expr,
  primitive,
  scalarType,
  type Tensor,
} from "../core/ir/mod.ts";

const converted = primitive<[x: Tensor], { dtype: DType }>("cast", ({ dtype }) => ({
  shape: ([x]) => aval(x.shape, dtype),
  reference: ([x]) => {
    switch (scalarType(dtype)) {
      case "f32":
        return x;
      case "bool":
        return x.map((v) => (v ? 1 : 0));
      case "i32":
        return x.map((v) => Math.trunc(v) | 0);
      case "u32":
        return x.map((v) => Math.trunc(v) >>> 0);
    }
  },
  vjp: (ct, [x]) => [scalarType(dtype) === "f32" && scalarType(x.dtype) === "f32" ? cast(ct, x.dtype) : null],
  lower: { kind: "elementwise", expr: ([x]) => convert(x!, dtype) },
}));

function convert(x: Expr, dtype: DType): Expr {
  const to = scalarType(dtype);
  if (x.type === to) return x;
  if (to === "bool") return call("not", call("eq", x, constant(0, x.type)));
  return call(to === "f32" ? "toF32" : to === "i32" ? "toI32" : "toU32", x);
}

/** x in the type that arithmetic is done in: f32 for the storage types f16 and bf16, others as they are. Costs nothing. */
export function widen(x: Tensor): Tensor {
  return cast(x, scalarType(x.dtype));
}

/** x as another type: towards integers it truncates, bool becomes 0 or 1. Linear between floating types. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : converted({ dtype })(x);
}
