/** Vectors of C^n as f32[..., 2n]: n real parts, then n imaginary ones. @module */
import { ShapeError, showAval, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { add, mul, neg } from "./arithmetic.ts";
import { concat, pack, PACK_UNIT } from "./concat.ts";
import { iota } from "./iota.ts";
import { cos, sin } from "./transcendental.ts";
import { permute, reshape, roll, slice, transpose } from "./views.ts";

/** n of x f32[..., 2n]. Throws ShapeError for an odd axis. */
export function complexSize(x: Tensor): number {
  const d = x.shape.at(-1);
  if (d === undefined || d % 2 !== 0 || d === 0) {
    throw new ShapeError(
      `Cannot read ${
        showAval(x.aval)
      } as complex vectors: the last axis must hold as many imaginary as real parts.`,
    );
  }
  return d / 2;
}

/** x as [..., 2, n]: real and imaginary parts along an axis of their own. */
function parts(x: Tensor): Tensor {
  return reshape(x, [...x.shape.slice(0, -1), 2, complexSize(x)]);
}

/** i·x for x with real and imaginary parts along an axis, by default the one before the last: (re, im) becomes (−im, re). */
export function timesI(x: Tensor, axis: number = x.shape.length - 2): Tensor {
  const sign = add(mul(iota([2, ...x.shape.slice(axis + 1).map(() => 1)], 0, "f32"), 2), -1);
  return mul(roll(x, { axis, by: 1 }), sign);
}

/**
 * cos θ and sin θ of theta f32[...], in radians, as f32[2, ...], computed once: kernels that turn many rows read them.
 */
export function phasors(theta: Tensor): Tensor {
  const size = sizeOf(theta.shape);
  const table = pack([cos(theta), sin(theta)], Math.ceil(size / PACK_UNIT) * PACK_UNIT);
  return reshape(slice(table, { start: [0, 0], stop: [2, size] }), [2, ...theta.shape]);
}

/**
 * Multiply element k by e^{iθₖ}: x f32[..., 2n], `phase` f32[..., 2, n] as of {@linkcode phasors}, whose leading axes broadcast
 * to those of x; `adjoint` by e^{−iθₖ}. A unitary diagonal matrix. Throws ShapeError where the sizes do not fit.
 */
export function turnPhases(
  x: Tensor,
  phase: Tensor,
  { adjoint = false }: { readonly adjoint?: boolean } = {},
): Tensor {
  const n = complexSize(x);
  if (phase.shape.slice(-2).join() !== `2,${n}`) {
    throw new ShapeError(`Cannot turn ${showAval(x.aval)} by ${showAval(phase.aval)}: give f32[2,${n}].`);
  }
  const lead = phase.shape.slice(0, -2), none = lead.map(() => 0);
  const z = parts(x),
    [c, s] = [0, 1].map((i) => slice(phase, { start: [...none, i, 0], stop: [...lead, i + 1, n] }));
  return reshape(add(mul(z, c!), mul(timesI(z), adjoint ? neg(s!) : s!)), x.shape);
}

/**
 * Real vectors of complex reflections I − 2·v·v*‖v‖⁻²: v f32[..., k, 2n] → f32[..., 2n, 2k], two columns for each vector,
 * v and i·v. They are at right angles, so that the two real reflections along them are the complex one.
 */
export function complexReflectors(v: Tensor): Tensor {
  const lead = v.shape.slice(0, -2), k = v.shape.at(-2)!, n = complexSize(v);
  const z = reshape(v, [...lead, k, 1, 2, n]);
  return transpose(reshape(concat([z, timesI(z)], lead.length + 1), [...lead, 2 * k, 2 * n]));
}

/** x f32[..., 2n] with parts interleaved: re₀, im₀, re₁, im₁, … A view. */
export function interleave(x: Tensor): Tensor {
  return reshape(transpose(parts(x)), x.shape);
}

/** The inverse of {@linkcode interleave}. */
export function deinterleave(x: Tensor): Tensor {
  const lead = x.shape.slice(0, -1), n = complexSize(x);
  return reshape(transpose(reshape(x, [...lead, n, 2])), x.shape);
}

/**
 * A fixed permutation of the elements of x f32[..., 2n], as a view: with p the smallest factor of n above 1, the elements
 * are dealt to p hands, which are laid one after the other, and all move on by one place. `inverse` takes it back.
 */
export function shuffle(x: Tensor, { inverse = false }: { readonly inverse?: boolean } = {}): Tensor {
  const z = parts(x), n = complexSize(x), axis = z.shape.length - 1;
  if (n === 1) return x;
  let hands = 2;
  while (n % hands !== 0) hands++;
  const lead = z.shape.slice(0, -1), last = lead.length;
  const swapped = [...lead.map((_, i) => i), last + 1, last];
  const deal = (y: Tensor, shape: readonly number[]): Tensor =>
    reshape(permute(reshape(y, [...lead, ...shape]), swapped), z.shape);
  return reshape(
    inverse
      ? deal(roll(z, { axis, by: 1 }), [hands, n / hands])
      : roll(deal(z, [n / hands, hands]), { axis, by: n - 1 }),
    x.shape,
  );
}
