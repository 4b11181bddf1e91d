/** What a row of the table of ops is, and its inputs. @module */
import { type Aval, aval, type Shape, sizeOf, type Tensor } from "../../core/ir/mod.ts";

/** An op, or a composition of ops, on inputs of fixed shapes. */
export interface OpRow {
  /** Unique. */
  readonly name: string;
  readonly f: (...xs: readonly Tensor[]) => Tensor;
  readonly inputs: readonly Aval[];
  /** Element `i` of input `k` from a random number in [−1, 1); the number itself, whole and small for integers, unless given. */
  readonly fill?: (u: number, i: number, k: number) => number;
  /** Up to which order derivatives are checked; 2 unless said. */
  readonly order?: 0 | 1 | 2;
}

/** Numbers in [−1, 1), always the same for a seed; multiples of 2⁻²³, so exact in f32. */
export function noise(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 23 - 1;
  };
}

/** The numbers of a row's inputs: always the same, exact in their types. */
export function valuesOf(row: OpRow): Float64Array[] {
  const random = noise(1);
  return row.inputs.map(({ shape, dtype }, k) =>
    Float64Array.from({ length: sizeOf(shape) }, (_, i) => {
      const u = random();
      if (row.fill) return dtype === "f32" ? Math.fround(row.fill(u, i, k)) : row.fill(u, i, k);
      if (dtype === "f32") return u;
      if (dtype === "f16" || dtype === "bf16") return Math.round(u * 64) / 64;
      return dtype === "bool" ? Number(u > 0) : Math.floor((u + 1) * 8);
    })
  );
}

/** What is called. */
export type F = OpRow["f"];
/** What a row may have besides. */
export type Options = Partial<Pick<OpRow, "fill" | "order">>;

/** A row. */
export function row(name: string, inputs: readonly (Shape | Aval)[], f: F, options: Options = {}): OpRow {
  return { name, f, inputs: inputs.map((a) => ("dtype" in a ? a : aval(a))), ...options };
}

/** Numbers as they are, without derivatives. */
export const whole = { order: 0 } as const;
/** Away from 0. */
export const positive: Options = { fill: (u) => 1.25 + u };
/** No two elements closer than an eighth, none close to 0. */
export const apart: Options = { fill: (u, i) => (((i * 5) % 13) - 6) / 2 + 0.125 + u / 16 };

/** x₀, x₁, … of a row's function. */
export function on1(f: (x: Tensor) => Tensor): F {
  return (x) => f(x!);
}

/** The same of two. */
export function on2(f: (x: Tensor, y: Tensor) => Tensor): F {
  return (x, y) => f(x!, y!);
}
