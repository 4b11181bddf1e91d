/** The unitary recurrent network: its transition and its cell. Arjovsky, Shah and Bengio, arXiv:1511.06464. @module */
import type { Tensor } from "../core/ir/mod.ts";
import { add, div, maximum, mul, square } from "./arithmetic.ts";
import { sum } from "./broadcast.ts";
import { complexReflectors, complexSize, phasors, shuffle, turnPhases } from "./complex.ts";
import { linear } from "./contract.ts";
import { fourier } from "./fourier.ts";
import { compactWy, reflect, wyAt } from "./householder.ts";
import { sqrt } from "./transcendental.ts";
import { reshape, slice } from "./views.ts";

/** Parameters of {@linkcode urnnTransition}: 7n real numbers. */
export interface UrnnParams {
  /** f32[3, n]: the phases of D₁, D₂ and D₃, in radians. */
  readonly phases: Tensor;
  /** f32[2, 2n]: the vectors of R₁ and R₂, real parts and then imaginary ones; none zero. */
  readonly reflections: Tensor;
}

/**
 * W·h with W = D₃·R₂·F⁻¹·D₂·Π·R₁·F·D₁: h f32[..., 2n] of C^n (n real, then n imaginary parts) → the same. Unitary
 * at any parameters; `adjoint` applies W* = W⁻¹. D are diagonals of phases, R complex reflections, F the unitary Fourier
 * transform, Π a fixed permutation, here {@linkcode shuffle}. Between F and F⁻¹ the elements lie in the order of
 * {@linkcode fourierPlan}: the vector of R₁ and the phases of D₂ are meant in that order, and Π moves places of it.
 * O(n·log n) a row. There is no setting near the identity. Throws ShapeError where sizes do not fit.
 */
export function urnnTransition(
  h: Tensor,
  { phases, reflections }: UrnnParams,
  { adjoint = false }: { readonly adjoint?: boolean } = {},
): Tensor {
  const n = complexSize(h), { shape } = reflections, table = phasors(phases);
  const wy = compactWy(complexReflectors(reshape(reflections, [shape[0]!, 1, shape[1]!])));
  const turn = (i: number) => (x: Tensor): Tensor =>
    turnPhases(x, reshape(slice(table, { start: [0, i, 0], stop: [2, i + 1, n] }), [2, n]), { adjoint });
  const steps: ((x: Tensor) => Tensor)[] = [
    turn(0),
    (x) => fourier(x, { inverse: adjoint }),
    // A reflection is its own inverse.
    (x) => reflect(x, wyAt(wy, 0)),
    (x) => shuffle(x, { inverse: adjoint }),
    turn(1),
    (x) => fourier(x, { inverse: !adjoint }),
    (x) => reflect(x, wyAt(wy, 1)),
    turn(2),
  ];
  return (adjoint ? steps.reverse() : steps).reduce((x, step) => step(x), h);
}

/** Keeps the modulus away from a root of 0, whose derivative is infinite; its square is a number of f32. */
const TINY = 1e-12;

/**
 * modReLU: z f32[..., 2n], b f32[n] → (|z| + b)·z/|z| where |z| + b > 0, else 0: the phase stays, the modulus is cut.
 */
export function modRelu(z: Tensor, b: Tensor): Tensor {
  const n = complexSize(z), apart = reshape(z, [...z.shape.slice(0, -1), 2, n]);
  const axis = apart.shape.length - 2;
  const modulus = sqrt(add(sum(square(apart), { axes: [axis] }), TINY ** 2));
  const factor = div(maximum(add(modulus, b), 0), modulus);
  return reshape(mul(apart, reshape(factor, [...z.shape.slice(0, -1), 1, n])), z.shape);
}

/** Parameters of {@linkcode urnnCell}. */
export interface UrnnCellParams extends UrnnParams {
  /** f32[2n, in]: how the input enters, a complex matrix as its real and then its imaginary rows. */
  readonly input: Tensor;
  /** f32[n]: biases of {@linkcode modRelu}. */
  readonly bias: Tensor;
}

/** One step of the recurrence: h f32[..., 2n], x f32[..., in] → h' = modReLU(W·h + V·x). */
export function urnnCell(h: Tensor, x: Tensor, params: UrnnCellParams): Tensor {
  return modRelu(add(urnnTransition(h, params), linear(x, params.input)), params.bias);
}
