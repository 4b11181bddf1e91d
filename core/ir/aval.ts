/** Abstract values: the shape and element type of a tensor, without its numbers. @module */

/** Element type in memory. Arithmetic on `f16` and `bf16` is done in f32; `bool` is stored as u32 0 or 1. */
export type DType = "f32" | "f16" | "bf16" | "i32" | "u32" | "bool";

/** Sizes of the axes, outermost first; row-major in memory. */
export type Shape = readonly number[];

/** Shape and element type. */
export interface Aval {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Shapes or element types that do not fit together; the message names them. Carries the scopes it passed through. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
  /** Scopes of the user's program around the failing op, innermost first. */
  readonly scopes: string[] = [];
}

/** Run `body`; a {@linkcode ShapeError} thrown inside tells that it happened in `name`. */
export function within<T>(name: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof ShapeError) {
      error.scopes.push(name);
      error.message += `\n  in ${name}`;
    }
    throw error;
  }
}

/** An {@linkcode Aval}, f32 unless said otherwise. */
export function aval(shape: Shape, dtype: DType = "f32"): Aval {
  return { shape, dtype };
}

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((n, d) => n * d, 1);
}

/** Row-major strides, in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * shape[i + 1]!;
  return strides;
}

/** Bytes of one element in memory. */
export function bytesOf(dtype: DType): number {
  return dtype === "f16" || dtype === "bf16" ? 2 : 4;
}

/** `f32[4,8]`. */
export function showAval({ dtype, shape }: Aval): string {
  return `${dtype}[${shape.join(",")}]`;
}

/** Whether two shapes are the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}
