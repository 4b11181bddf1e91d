/** Unitary adapter: W' = W·U, U unitary on pairs of features, of the parts of the uRNN (arXiv:1511.06464). @module */
import { fill, ShapeError, type Tensor } from "../core/ir/mod.ts";
import {
  type CompactWy,
  compactWy,
  complexReflectors,
  concat,
  cos,
  fourier,
  fourierPlan,
  normal,
  reflect,
  reshape,
  sin,
  slice,
  turnPhases,
  wyAt,
} from "../ops/mod.ts";
import type { Adapter } from "./adapter.ts";

/** Leaves of {@linkcode unitary}, for n = in/2. */
export interface UnitaryParams {
  /** f32[3, n]: the phases of D₁, D₂ and D₃, in radians. Trained. */
  readonly phases: Tensor;
  /** f32[2, in]: the vectors of R₁ and R₂, n real and then n imaginary parts. Trained. */
  readonly reflections: Tensor;
  /** f32[2, in]: those of R₁⁰ and R₂⁰, what the reflections were at the start. Frozen. */
  readonly start: Tensor;
  /** Derived: cosines and sines of the phases f32[3, 2, n]. */
  readonly table?: Tensor;
  /** Derived: compact WY form of R₁R₁⁰ and R₂R₂⁰, f32[2, in, 4] and f32[2, 4, in]. */
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
    derive: (params) => ({ ...params, table: tableOf(params), ...wyOf(params) }),
    rate: (path) => (path === "start" ? "frozen" : "orthogonal"),
  };
}

/** What the Fourier transform of a map with `inDim` inputs leaves unmixed, in words; null where it mixes all. */
export function unitaryNote(inDim: number): string | null {
  return fourierPlan(inDim / 2).note;
}

/** Cosines and sines of the phases: f32[..., 3, n] → [..., 3, 2, n]. */
function tableOf({ phases, table }: UnitaryParams): Tensor {
  if (table) return table;
  const lead = phases.shape.slice(0, -1), n = phases.shape.at(-1)!;
  return concat([cos(phases), sin(phases)].map((x) => reshape(x, [...lead, 1, n])), lead.length);
}

/** R·R⁰ as four real reflections each: vectors f32[..., 2, in] → u [..., 2, in, 4], v [..., 2, 4, in]. */
function wyOf({ reflections, start, u, v }: UnitaryParams): CompactWy {
  if (u && v) return { u, v };
  const lead = reflections.shape.slice(0, -1), d = reflections.shape.at(-1)!;
  const pairs = concat([reflections, start].map((x) => reshape(x, [...lead, 1, d])), lead.length);
  return compactWy(complexReflectors(pairs));
}

/** U·x for each row x f32[..., in], or U*·x. */
function turn(x: Tensor, params: UnitaryParams, adjoint: boolean): Tensor {
  const n = params.phases.shape[1]!, table = tableOf(params), wy = wyOf(params);
  const phase = (i: number) => (z: Tensor): Tensor =>
    turnPhases(z, reshape(slice(table, { start: [i, 0, 0], stop: [i + 1, 2, n] }), [2, n]), { adjoint });
  // Rows are turned by H as x·Hᵀ.
  const pair = (i: number) => (z: Tensor): Tensor => reflect(z, wyAt(wy, i), { transposed: !adjoint });
  const steps = [
    phase(0),
    pair(0),
    (z: Tensor) => fourier(z, { inverse: adjoint }),
    phase(1),
    (z: Tensor) => fourier(z, { inverse: !adjoint }),
    pair(1),
    phase(2),
  ];
  return (adjoint ? steps.toReversed() : steps).reduce((z, step) => step(z), x);
}
