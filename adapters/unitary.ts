/** Unitary adapter: W' = W·U, U unitary on pairs of features, of the parts of the uRNN (arXiv:1511.06464). @module */
import { checkpoint } from "../core/diff/mod.ts";
import { fill, ShapeError, type Tensor } from "../core/ir/mod.ts";
import {
  compactWy,
  complexReflectors,
  concat,
  cos,
  deinterleave,
  fourier,
  fourierCoefficients,
  fourierPlan,
  interleave,
  linear,
  matmul,
  normal,
  reshape,
  sin,
  slice,
  sub,
  transpose,
  turnedBlocks,
  turnedFourier,
  turnPhases,
} from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";

/** What U is applied with. */
interface Turn {
  /** Coefficients f32[4·in·Σ radix] of its stages, as {@linkcode turnedBlocks}. */
  readonly blocks: Tensor;
  /** Compact WY form f32[in, 8] of its reflections, features interleaved, and f32[8, in]. */
  readonly u: Tensor;
  readonly v: Tensor;
}

/** Leaves of {@linkcode unitary}, for n = in/2. */
export interface UnitaryParams {
  /** f32[3, n]: the phases of D₁, D₂ and D₃, in radians. Trained. */
  readonly phases: Tensor;
  /** f32[2, in]: the vectors of R₁ and R₂, n real and then n imaginary parts. Trained. */
  readonly reflections: Tensor;
  /** f32[2, in]: those of R₁⁰ and R₂⁰, what the reflections were at the start. Frozen. */
  readonly start: Tensor;
  /** Derived: the three of {@linkcode Turn}. */
  readonly blocks?: Tensor;
  readonly u?: Tensor;
  readonly v?: Tensor;
}

/**
 * Turn the input of a frozen linear map by U = D₃·(R₂R₂⁰)·F⁻¹D₂F·(R₁R₁⁰)·D₁ on C^n, n = in/2: y = base(U·x), where feature i
 * is the real and feature i + n the imaginary part of element i. D are diagonals of phases, R complex reflections, F the
 * unitary Fourier transform. Unlike W of {@linkcode urnnTransition} it has the identity in it: phases start at zero and
 * reflections at their frozen copies, so the adapted map starts equal to the base.
 *
 * A unitary map of C^n is an orthogonal map of R^in: norms and singular values stay as they are at any parameters. Trains
 * 7n = 3.5·in numbers. Cost: O(n·log n) a row. Throws ShapeError for odd `in`. See {@linkcode unitaryNote}.
 */
export function unitary(): Adapter<UnitaryParams> {
  return {
    name: "unitary",
    init: (key, { inDim }) => {
      if (inDim % 2 !== 0) {
        throw new ShapeError(
          `Cannot pair ${inDim} features as real and imaginary parts: it is odd. Leave this map out of the adapter's pattern.`,
        );
      }
      const vectors = normal(key, [2, inDim]);
      return { phases: fill(0, [3, inDim / 2]), reflections: vectors, start: vectors };
    },
    apply: (params, base) => (x) => base(turn(x, params, false)),
    merge: (params, weight) => turn(weight, params, true),
    unmerge: (params, merged) => turn(merged, params, false),
    derive: (params) => ({ ...params, ...turnOf(params) }),
    rate: (path) => (path === "start" ? "frozen" : "orthogonal"),
  };
}

/** What the Fourier transform of a map with `inDim` inputs leaves unmixed, in words; null where it mixes all. */
export function unitaryNote(inDim: number): string | null {
  return fourierPlan(inDim / 2).note;
}

/**
 * U as D₃·F⁻¹·D₂·F·D₁·H, for parameters with leading axes too: a reflection may be moved through a unitary map V as
 * R·V = V·(V*·R·V), which reflects along V*·r. So all four come first, as one product of thin matrices.
 */
function turnOf({ phases, reflections, start, blocks, u, v }: UnitaryParams): Turn {
  if (blocks && u && v) return { blocks, u, v };
  const lead = phases.shape.slice(0, -2), n = phases.shape.at(-1)!, d = 2 * n;
  const table = concat(
    [cos(phases), sin(phases)].map((x) => reshape(x, [...lead, 3, 1, n])),
    lead.length + 1,
  );
  const along = (i: number) => (z: Tensor, adjoint: boolean): Tensor => {
    const none = lead.map(() => 0);
    const phase = slice(table, { start: [...none, i, 0, 0], stop: [...lead, i + 1, 2, n] });
    return turnPhases(z, phase, { adjoint });
  };
  const [turn1, turn2] = [along(0), along(1)];
  // f32[..., 2, d] of Rᵢ and Rᵢ⁰.
  const pair = (i: number): Tensor =>
    concat(
      [reflections, start].map((x) =>
        slice(x, { start: [...lead.map(() => 0), i, 0], stop: [...lead, i + 1, d] })
      ),
      lead.length,
    );
  const coefficients = fourierCoefficients(n), within = fourier(pair(1), { coefficients });
  const seen = fourier(turn2(within, true), { inverse: true, coefficients });
  const wy = compactWy(complexReflectors(concat([turn1(seen, true), turn1(pair(0), true)], lead.length)));
  return { blocks: turnedBlocks(table), u: transpose(interleave(transpose(wy.u))), v: wy.v };
}

/** U·x for each row x f32[..., in], or U*·x. */
function turn(x: Tensor, params: UnitaryParams, adjoint: boolean): Tensor {
  const { blocks, u, v } = turnOf(params), { phases } = params;
  if (adjoint) {
    const z = turnedFourier(interleave(x), phases, blocks, { adjoint });
    return deinterleave(sub(z, matmul(matmul(z, u), interleave(v))));
  }
  // Kept for the derivative: x, which others keep too, and eight numbers a row.
  return deinterleave(
    checkpoint((x, t, u, phases) => turnedFourier(sub(interleave(x), linear(t, u)), phases, blocks))(
      x,
      linear(x, v),
      u,
      phases,
    ),
  );
}
