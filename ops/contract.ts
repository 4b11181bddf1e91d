/** Sums of products: matrix multiplication and its general form. @module */
import {
  type Aval,
  aval,
  primitive,
  type Shape,
  ShapeError,
  showAval,
  sizeOf,
  stridesOf,
  type Tensor,
} from "../core/ir/mod.ts";
import { cast } from "./cast.ts";
import { permute } from "./views.ts";

/** Axes of left and right that run together (`batch`, kept) and that are summed over (`inner`). */
export interface ContractParams {
  readonly batch: readonly [readonly number[], readonly number[]];
  readonly inner: readonly [readonly number[], readonly number[]];
}

function freeAxes({ batch, inner }: ContractParams, side: 0 | 1, rank: number): number[] {
  return Array.from({ length: rank }, (_, i) => i).filter((i) =>
    !batch[side].includes(i) && !inner[side].includes(i)
  );
}

const contract = primitive<[x: Tensor, y: Tensor], ContractParams>("dotGeneral", (params) => {
  const { batch, inner } = params;
  return {
    shape: ([x, y]) => {
      requireFit("batch", batch, x, y);
      requireFit("inner", inner, x, y);
      return aval([
        ...batch[0].map((a) => x.shape[a]!),
        ...freeAxes(params, 0, x.shape.length).map((a) => x.shape[a]!),
        ...freeAxes(params, 1, y.shape.length).map((a) => y.shape[a]!),
      ]);
    },
    reference: ([x, y], [xAval, yAval], out) => contractReference(params, x, y, xAval, yAval, out),
    vjp: (ct, [x, y]) => [
      cast(pullback(ct, y, params, x.shape.length, y.shape.length, 0), x.dtype),
      cast(pullback(ct, x, params, x.shape.length, y.shape.length, 1), y.dtype),
    ],
    lower: { kind: "contract", batch, inner },
  };
});

function requireFit(
  what: "batch" | "inner",
  [p, q]: readonly [readonly number[], readonly number[]],
  x: Aval,
  y: Aval,
): void {
  const xs = p.map((a) => x.shape[a]), ys = q.map((a) => y.shape[a]);
  if (xs.length !== ys.length || xs.some((d, i) => d === undefined || d !== ys[i])) {
    const list = (ds: readonly (number | undefined)[]): string => ds.map((d) => d ?? "none").join("×");
    throw new ShapeError(
      `Cannot contract ${showAval(x)} with ${showAval(y)}: ${what} axes are ${list(xs)} and ${list(ys)}.`,
    );
  }
}

/** Cotangent of one side: contract `ct` with the other side over that one's free axes, then put the axes in order. */
function pullback(
  ct: Tensor,
  other: Tensor,
  params: ContractParams,
  xRank: number,
  yRank: number,
  side: 0 | 1,
): Tensor {
  const { batch, inner } = params, far = side === 0 ? 1 : 0;
  const nBatch = batch[0].length;
  const xFree = freeAxes(params, 0, xRank), yFree = freeAxes(params, 1, yRank);
  const ctBatch = batch[0].map((_, i) => i);
  const ctRow = xFree.map((_, i) => nBatch + i), ctCol = yFree.map((_, i) => nBatch + xFree.length + i);
  const result = dotGeneral(ct, other, {
    batch: [ctBatch, batch[far]],
    inner: side === 0 ? [ctCol, yFree] : [ctRow, xFree],
  });
  // Axes of the result: batch, this side's free axes, then the inner ones in the order in which they lie in `other`.
  const innerHere = inner[far].map((a, i) => ({ a, here: inner[side][i]! })).sort((p, q) => p.a - q.a).map((
    p,
  ) => p.here);
  const order = [...batch[side], ...(side === 0 ? xFree : yFree), ...innerHere];
  return permute(result, order.map((_, axis) => order.indexOf(axis)));
}

function contractReference(
  params: ContractParams,
  x: Float64Array,
  y: Float64Array,
  xAval: Aval,
  yAval: Aval,
  out: Aval,
): Float64Array {
  const { batch, inner } = params;
  const offsets = (axes: readonly number[], { shape }: Aval): number[] =>
    positions(axes.map((a) => shape[a]!), axes.map((a) => stridesOf(shape)[a]!));
  const xBatch = offsets(batch[0], xAval), yBatch = offsets(batch[1], yAval);
  const xRow = offsets(freeAxes(params, 0, xAval.shape.length), xAval),
    yCol = offsets(freeAxes(params, 1, yAval.shape.length), yAval);
  const xIn = offsets(inner[0], xAval), yIn = offsets(inner[1], yAval);
  const z = new Float64Array(sizeOf(out.shape));
  let at = 0;
  for (let b = 0; b < xBatch.length; b++) {
    for (const row of xRow) {
      for (const col of yCol) {
        let total = 0;
        for (let k = 0; k < xIn.length; k++) {
          total += x[xBatch[b]! + row + xIn[k]!]! * y[yBatch[b]! + col + yIn[k]!]!;
        }
        z[at++] = total;
      }
    }
  }
  return z;
}

/** Offsets of all multi-indices of `shape` under these strides, last axis fastest. */
function positions(shape: Shape, strides: readonly number[]): number[] {
  return shape.reduce<number[]>(
    (all, d, i) => all.flatMap((o) => Array.from({ length: d }, (_, v) => o + v * strides[i]!)),
    [0],
  );
}

/**
 * Sum of products over the inner axes, for each index of the batch axes: result axes are batch, free axes of x, free
 * axes of y. Bilinear: the pullbacks are of the same kind. Throws ShapeError, naming the axes that do not fit.
 */
export function dotGeneral(x: Tensor, y: Tensor, { batch, inner }: ContractParams): Tensor {
  return contract({ batch: [[...batch[0]], [...batch[1]]], inner: [[...inner[0]], [...inner[1]]] })(x, y);
}

/** Matrix product over the last two axes: x [...b, m, k], y [k, n] or [...b, k, n] → [...b, m, n]. */
export function matmul(x: Tensor, y: Tensor): Tensor {
  const last = x.shape.length - 1;
  if (y.shape.length === 2) return dotGeneral(x, y, { batch: [[], []], inner: [[last], [0]] });
  const batch = x.shape.slice(0, -2).map((_, i) => i);
  return dotGeneral(x, y, { batch: [batch, batch], inner: [[last], [y.shape.length - 2]] });
}

/** x·Wᵀ over the last axis: x [..., in], w [out, in] → [..., out]. */
export function linear(x: Tensor, w: Tensor): Tensor {
  return dotGeneral(x, w, { batch: [[], []], inner: [[x.shape.length - 1], [1]] });
}
