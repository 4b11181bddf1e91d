/** Butterfly stages along an axis: one op for butterflies, Fourier and Hadamard transforms and permutations. @module */
import {
  type Aval,
  aval,
  blockOf,
  primitive,
  ShapeError,
  showAval,
  type Stage,
  stageOffsets,
  stagePosition,
  type Tensor,
} from "../core/ir/mod.ts";
import { gradients } from "../core/diff/vjp.ts";
import { dotGeneral } from "./contract.ts";
import { concat } from "./concat.ts";
import { itself } from "./itself.ts";
import { type StageRun, stageRuns } from "./stage_runs.ts";
import { permute, reshape, slice } from "./views.ts";

/** Stages, first to last; `transposed` applies their transposes, last to first. */
export interface StagesParams {
  readonly stages: readonly Stage[];
  readonly transposed?: boolean;
}

function requireStages(stages: readonly Stage[], x: Aval, coefficients: Aval): void {
  const d = x.shape.at(-1);
  if (d === undefined) throw new ShapeError(`Cannot apply stages to ${showAval(x)}: it has no axis.`);
  for (const stage of stages) {
    const group = blockOf(stage) * stage.stride;
    if (d % group !== 0) {
      throw new ShapeError(
        `Cannot apply a stage of radix ${stage.radix}, stride ${stage.stride} and piece ${stage.piece} to ${
          showAval(x)
        }: ${d} is not divisible by ${group}.`,
      );
    }
  }
  const total = stageOffsets(stages, d).at(-1)!;
  if (coefficients.shape.length !== 1 || coefficients.shape[0] !== total) {
    throw new ShapeError(
      `Cannot apply stages with coefficients ${showAval(coefficients)}: they must be f32[${total}].`,
    );
  }
}

/** One stage on one row, in float64; the block of `c` is read transposed where asked. */
function applyStage(
  stage: Stage,
  c: Float64Array,
  offset: number,
  x: Float64Array,
  transposed: boolean,
): Float64Array {
  const block = blockOf(stage), y = new Float64Array(x.length);
  for (let n = 0; n < x.length / block; n++) {
    for (let j = 0; j < block; j++) {
      let total = 0;
      for (let k = 0; k < block; k++) {
        const at = transposed ? k * block + j : j * block + k;
        total += c[offset + n * block * block + at]! * x[stagePosition(stage, n, k)]!;
      }
      y[stagePosition(stage, n, j)] = total;
    }
  }
  return y;
}

const applied = primitive<[x: Tensor, coefficients: Tensor], Required<StagesParams>>(
  "stages",
  ({ stages: list, transposed }) => ({
    shape: ([x, c]) => (requireStages(list, x, c), aval(x.shape)),
    reference: ([x, c], [at]) => {
      const d = at.shape.at(-1)!, offsets = stageOffsets(list, d);
      const order = list.map((stage, i) => ({ stage, offset: offsets[i]! }));
      if (transposed) order.reverse();
      const y = new Float64Array(x.length);
      for (let row = 0; row < x.length; row += d) {
        let v: Float64Array = x.slice(row, row + d);
        for (const { stage, offset } of order) v = applyStage(stage, c, offset, v, transposed);
        y.set(v, row);
      }
      return y;
    },
    vjp: (ct, [x, c]) => {
      const dx = stages(ct, c, { stages: list, transposed: !transposed });
      // ⟨ct, Mᵀ·x⟩ = ⟨x, M·ct⟩: transposed, the two change places.
      return [
        dx,
        transposed ? stagesGrad(ct, c, x, { stages: list }) : stagesGrad(x, c, ct, { stages: list }),
      ];
    },
    lower: { kind: "stages", stages: list, transposed },
  }),
);

/**
 * Apply stages along the last axis: x f32[..., d], coefficients f32[Σ d·block] → f32[..., d]. Stage i multiplies block
 * n, whose elements sit at {@linkcode stagePosition}, by its dense matrix [out, in]. Linear in x: the pullback is the
 * transposed op. Cost: 2·d·Σ block flops a row. One kernel where the stages mix few features among themselves, else one
 * for each of {@linkcode stageRuns}. Throws ShapeError where d does not divide.
 */
export function stages(
  x: Tensor,
  coefficients: Tensor,
  { stages: list, transposed = false }: StagesParams,
): Tensor {
  const runs = stageRuns(list);
  if (runs.length === 1 && runs[0]!.by === 1) return applied({ stages: list, transposed })(x, coefficients);
  requireStages(list, x.aval, coefficients.aval);
  return (transposed ? runs.reverse() : runs).reduce((y, run) => {
    const params = { stages: run.stages, transposed },
      c = turnBlocks(coefficients, list, run, x.shape.at(-1)!);
    if (run.by === 1) return applied(params)(y, c);
    const around = [...x.shape.slice(0, -1)],
      { piece } = run.stages[0]!,
      far = x.shape.at(-1)! / (run.by * piece);
    const turned = turn(reshape(y, [...around, far, run.by, piece]));
    return reshape(turn(reshape(applied(params)(reshape(turned, x.shape), c), turned.shape)), x.shape);
  }, x);
}

/** Swap the two axes before the last. */
function turn(x: Tensor): Tensor {
  const n = x.shape.length;
  return permute(x, [...Array(n - 3).keys(), n - 2, n - 3, n - 1]);
}

/** The coefficients of a run's stages, in the order of blocks on its turned axis. */
function turnBlocks(c: Tensor, list: readonly Stage[], { from, to, by }: StageRun, d: number): Tensor {
  const offsets = stageOffsets(list, d);
  if (by === 1) return slice(c, { start: [offsets[from]!], stop: [offsets[to]!] });
  const parts = list.slice(from, to).map((stage, i) => {
    const own = slice(c, { start: [offsets[from + i]!], stop: [offsets[from + i + 1]!] });
    const size = blockOf(stage);
    return reshape(turn(reshape(own, [d / (size * by), by, size ** 2])), own.shape);
  });
  return parts.length === 1 ? parts[0]! : concat(parts, 0);
}

const grads = primitive<[x: Tensor, coefficients: Tensor, ct: Tensor], { stages: readonly Stage[] }>(
  "stagesGrad",
  ({ stages: list }) => ({
    shape: ([x, c]) => (requireStages(list, x, c), aval(c.shape)),
    reference: ([x, c, ct], [at]) => {
      const d = at.shape.at(-1)!, offsets = stageOffsets(list, d);
      const out = new Float64Array(c.length);
      for (let row = 0; row < x.length; row += d) {
        const entering: Float64Array[] = [x.slice(row, row + d)];
        list.forEach((stage, i) => entering.push(applyStage(stage, c, offsets[i]!, entering[i]!, false)));
        let back: Float64Array = ct.slice(row, row + d);
        for (let i = list.length - 1; i >= 0; i--) {
          const stage = list[i]!, block = blockOf(stage);
          for (let n = 0; n < d / block; n++) {
            for (let j = 0; j < block; j++) {
              for (let k = 0; k < block; k++) {
                out[offsets[i]! + (n * block + j) * block + k]! += back[stagePosition(stage, n, j)]! *
                  entering[i]![stagePosition(stage, n, k)]!;
              }
            }
          }
          back = applyStage(stage, c, offsets[i]!, back, true);
        }
      }
      return out;
    },
    vjp: (ct, [x, c, dy]) => {
      // One of the three may depend on another; by way of their own nodes each is differentiated on its own.
      const own = [x, c, dy].map((t) => itself(t)) as [Tensor, Tensor, Tensor];
      const [dx, dc, ddy] = gradients([stagesGradDecomposed(...own, list)], [ct], own);
      return [dx!, dc!, ddy!];
    },
    lower: { kind: "stagesGrad", stages: list },
  }),
);

/** Cotangent of the coefficients of (untransposed) {@linkcode stages}: x, ct f32[..., d] → f32[Σ d·block], one kernel. */
export function stagesGrad(
  x: Tensor,
  coefficients: Tensor,
  ct: Tensor,
  { stages }: { readonly stages: readonly Stage[] },
): Tensor {
  return grads({ stages })(x, coefficients, ct);
}

/** The same from contractions and views, for derivatives of any order. */
function stagesGradDecomposed(x: Tensor, c: Tensor, ct: Tensor, list: readonly Stage[]): Tensor {
  const d = x.shape.at(-1)!, offsets = stageOffsets(list, d);
  const part = (i: number): Tensor => slice(c, { start: [offsets[i]!], stop: [offsets[i + 1]!] });
  const entering: Tensor[] = [x];
  list.forEach((stage, i) => entering.push(stages(entering[i]!, part(i), { stages: [stage] })));
  const parts: Tensor[] = new Array(list.length);
  let back = ct;
  for (let i = list.length - 1; i >= 0; i--) {
    const stage = list[i]!, block = blockOf(stage);
    const product = dotGeneral(intoBlocks(back, stage), intoBlocks(entering[i]!, stage), {
      batch: [[1], [1]],
      inner: [[0], [0]],
    });
    parts[i] = reshape(product, [d * block]);
    back = stages(back, part(i), { stages: [stage], transposed: true });
  }
  return parts.length === 1 ? parts[0]! : concat(parts, 0);
}

/** x [..., d] → [rows, blocks, block] in the order of {@linkcode stagePosition}. */
function intoBlocks(x: Tensor, stage: Stage): Tensor {
  const { radix, stride, piece } = stage;
  const d = x.shape.at(-1)!, rows = x.shape.slice(0, -1).reduce((n, v) => n * v, 1);
  const groups = d / (radix * stride * piece);
  const apart = reshape(x, [rows, groups, radix, stride, piece]);
  return reshape(permute(apart, [0, 1, 3, 2, 4]), [rows, groups * stride, radix * piece]);
}
