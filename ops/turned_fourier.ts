/** D₃·F⁻¹·D₂·F·D₁ on C^n, phases and Fourier transforms, as one list of stages. arXiv:1511.06464. @module */
import { customVjp } from "../core/diff/mod.ts";
import { type Stage, type Tensor } from "../core/ir/mod.ts";
import { add, mul, neg, sub } from "./arithmetic.ts";
import { broadcastTo } from "./broadcast.ts";
import { timesI } from "./complex.ts";
import { concat, stored } from "./concat.ts";
import { fourierPlan, stageCoefficients } from "./fourier.ts";
import { eye } from "./solve.ts";
import { stages, stagesGrad } from "./stages.ts";
import { permute, reshape, slice, transpose } from "./views.ts";

/** A stage that turns each (re, im) pair by itself. */
const PAIRS: Stage = { radix: 1, stride: 1, piece: 2 };

/** The stages of F; where it is the identity, one that mixes nothing, for the phases to be in. */
function stagesOf(n: number): readonly Stage[] {
  const { stages: list } = fourierPlan(n);
  return list.length > 0 ? list : [PAIRS];
}

/** Blocks of each of those stages, [groups, stride, radix, 2, radix, 2]: leg and part out, leg and part in. */
function blocksOf(n: number): Tensor[] {
  return stagesOf(n).map((stage) => {
    const { radix, stride } = stage;
    const own = stored(stage === PAIRS ? eye([n, 2, 2]) : stageCoefficients(stage, n));
    return reshape(own, [n / (radix * stride), stride, radix, 2, radix, 2]);
  });
}

/**
 * Coefficients of D₃·F⁻¹·D₂·F·D₁ for {@linkcode turnedFourier}: cosines and sines f32[..., 3, 2, n] of the phases →
 * f32[..., 2·2n·Σ 2·radix]. The phases are in the blocks of the first and the last stages, where they cost nothing. Phases
 * of D₂ lie in the `order` of {@linkcode fourierPlan}.
 */
export function turnedBlocks(table: Tensor): Tensor {
  const n = table.shape.at(-1)!, lead = table.shape.slice(0, -3), list = stagesOf(n), last = list.length - 1;
  const whole = (b: Tensor): Tensor => broadcastTo(b, [...lead, ...b.shape]);
  const there = blocksOf(n).map(whole);
  const back = there.toReversed().map((b) => transposeBlocks(b, lead.length));
  there[0] = turnBlocks(there[0]!, table, 0, list[0]!, "in");
  there[last] = turnBlocks(there[last]!, table, 1, list[last]!, "out");
  back[last] = turnBlocks(back[last]!, table, 2, list[0]!, "out");
  const parts = [...there, ...back].map((b) => reshape(b, [...lead, 4 * n * b.shape.at(-2)!]));
  return stored(concat(parts, lead.length));
}

function transposeBlocks(blocks: Tensor, lead: number): Tensor {
  const before = [...Array(lead + 2).keys()], at = (axis: number): number => lead + axis;
  return permute(blocks, [...before, at(4), at(5), at(2), at(3)]);
}

/** Blocks whose inputs or outputs are first, or then, turned by the phases of D number `i`. */
function turnBlocks(
  blocks: Tensor,
  table: Tensor,
  i: number,
  { radix, stride }: Stage,
  side: "in" | "out",
): Tensor {
  const lead = table.shape.slice(0, -3), n = table.shape.at(-1)!, k = lead.length;
  const [cos, sin] = [0, 1].map((part) => {
    const numbers = slice(table, {
      start: [...lead.map(() => 0), i, part, 0],
      stop: [...lead, i + 1, part + 1, n],
    });
    // Element (group·radix + leg)·stride + lane is leg `leg` of block (group, lane).
    const legs = transpose(reshape(numbers, [...lead, n / (radix * stride), radix, stride]));
    const around = side === "in" ? [1, 1, radix, 1] : [radix, 1, 1, 1];
    return reshape(legs, [...legs.shape.slice(0, -1), ...around]);
  });
  const turned = timesI(blocks, k + (side === "in" ? 5 : 3));
  // A row times a rotation turns the other way.
  return add(mul(blocks, cos!), mul(side === "in" ? neg(turned) : turned, sin!));
}

/**
 * D₃·F⁻¹·D₂·F·D₁ along the last axis, or its inverse: z f32[..., 2n] with parts interleaved → the same; `blocks` are
 * {@linkcode turnedBlocks} of the phases f32[3, n]. Cotangents flow to z and to the phases, not to the blocks: those of F never
 * change, and a phase needs one number of its element's 2×2 block. The pullback computes what lies inside again, in halves.
 * 16·n·Σ radix flops a row.
 */
export function turnedFourier(
  z: Tensor,
  phases: Tensor,
  blocks: Tensor,
  { adjoint = false }: { readonly adjoint?: boolean } = {},
): Tensor {
  const list = stagesOf(phases.shape[1]!), whole = [...list, ...list.toReversed()];
  const middle = blocks.shape[0]! / 2;
  const first = slice(blocks, { start: [0], stop: [middle] });
  const second = slice(blocks, { start: [middle], stop: [2 * middle] });
  const there = (x: Tensor, transposed = false): Tensor => stages(x, first, { stages: list, transposed });
  const back = (x: Tensor, transposed = false): Tensor =>
    stages(x, second, { stages: list.toReversed(), transposed });
  return customVjp(
    (x) => stages(x, blocks, { stages: whole, transposed: adjoint }),
    (ct, [x]) => {
      // ⟨ct, U*·x⟩ = ⟨U·ct, x⟩: for the adjoint the two change places.
      const [from, to] = adjoint ? [ct, x!] : [x!, ct];
      const within = there(from), pulled = back(to, true);
      const end = back(within), start = there(pulled, true);
      const of = [[from, start], [within, pulled], [end, to]] as const;
      const dPhases = of.map(([value, by]) => phaseCotangent(value, by, blocks));
      return [adjoint ? end : start, concat(dPhases, 0)];
    },
  )(z, phases);
}

/**
 * Σ ⟨ct, i·z⟩ over the rows for each element, the cotangent of a phase that turned it: z, ct f32[..., 2n] → f32[1, n].
 * Two of the entries that the cotangent of 2×2 blocks has; which blocks does not matter.
 */
function phaseCotangent(z: Tensor, ct: Tensor, blocks: Tensor): Tensor {
  const n = z.shape.at(-1)! / 2, any = slice(blocks, { start: [0], stop: [4 * n] });
  const products = reshape(stagesGrad(z, any, ct, { stages: [PAIRS] }), [n, 4]);
  const at = (i: number): Tensor => reshape(slice(products, { start: [0, i], stop: [n, i + 1] }), [1, n]);
  return sub(at(2), at(1));
}
