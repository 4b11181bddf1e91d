/**
 * Low-rank adapters: W' = W + s·B·A (LoRA, arXiv:2106.09685, eq. 3), from several starts, and with magnitudes of their
 * own (DoRA, arXiv:2402.09353). @module
 */
import { fill, ShapeError, type Tensor } from "../core/ir/mod.ts";
import { stopGradient } from "../core/diff/vjp.ts";
import {
  add,
  concat,
  div,
  dropped,
  linear,
  matmul,
  mul,
  neg,
  reshape,
  sqrt,
  square,
  sub,
  sum,
  transpose,
  uniform,
} from "../ops/mod.ts";
import { type Adapter, type LinearMap, type Site, withRowSquares } from "./adapter.ts";
import { type LowRankStart, startFrom } from "./low_rank_start.ts";

/** Parameters of {@linkcode lowRank}: `a` f32[rank, in] and `b` f32[out, rank] are trained. */
export interface LowRankParams {
  readonly a: Tensor;
  readonly b: Tensor;
  /** Frozen copies of a start that is not zero: −s·b0·a0 makes the adapted map start equal to the base. */
  readonly a0?: Tensor;
  readonly b0?: Tensor;
  /** f32[out]: trained norm of each row of the adapted weight (DoRA). */
  readonly magnitude?: Tensor;
  /** f32[out]: norms of the frozen weight's rows, frozen, for taking a merge back. */
  readonly rowNorm?: Tensor;
  /** Derived: trained and frozen factors as one pair, [A; A₀] f32[2·rank, in] and [B, −B₀] f32[out, 2·rank]. */
  readonly down?: Tensor;
  readonly up?: Tensor;
  /** Derived: squared norms of the rows of s·B·A, f32[out], a constant in derivatives. */
  readonly squares?: Tensor;
}

/** Options of {@linkcode lowRank}. */
export interface LowRankOptions {
  readonly rank: number;
  readonly alpha: number;
  /** Scale s = alpha / √rank instead of alpha / rank (rsLoRA, arXiv:2312.03732). */
  readonly rankStabilised?: boolean;
  /** Where A and B start; default "zero". */
  readonly start?: LowRankStart;
  /** DoRA: the rows of the weight get norms of their own, the low-rank part changes their directions. */
  readonly decomposed?: boolean;
  /** γ of the start "lora-ga"; default 16. */
  readonly gamma?: number;
  /** The start "lora-ga" of the paper (default) or of PEFT, which multiplies B by the singular values. */
  readonly variant?: "paper" | "peft";
  /** Share of the low-rank path's input that a training step leaves out, the rest scaled up (arXiv:1207.0580). Default 0; not with `decomposed`. */
  readonly dropout?: number;
}

/** Names of low-rank methods by their start. */
const NAMES = { zero: "lora", "lora-ga": "lora-ga", pissa: "pissa", olora: "olora" } as const;

/**
 * Add a rank-`rank` update to a frozen linear map.
 *
 * From the start "zero" `a` is uniform in ±1/√in (Kaiming-uniform, a = √5) and `b` zero. From the others both are full,
 * and what they add at the start is taken away by frozen copies on the side of the activations, in the same
 * accumulator, so the adapted map always starts equal to the base whatever the precision of the weight.
 *
 * With `decomposed`, W' = m ⊙ (W + s·B·A) / ‖W + s·B·A‖ by rows; the norm counts as a constant in derivatives (DoRA,
 * section 4.3) and is found without forming W'. Cost: 2·n·rank·(in + out) flops for x f32[n, in], twice that with
 * frozen copies. Trains rank·(in + out) numbers, and out more if decomposed. Throws ShapeError for a rank that does not
 * fit, and for `decomposed` around an adapter that does not know its row norms.
 */
export function lowRank(options: LowRankOptions): Adapter<LowRankParams> {
  const { rank, alpha, rankStabilised = false, start = "zero", decomposed = false, dropout = 0 } = options;
  if (decomposed && dropout > 0) {
    throw new TypeError(
      `Dropout ${dropout} is for low-rank maps without magnitudes: DoRA has none, set it to 0.`,
    );
  }
  const s = alpha / (rankStabilised ? Math.sqrt(rank) : rank);
  const { asks, factors } = startFrom({ ...options, start, scale: s });
  /** W' before its rows get their norms. */
  const merged = ({ a, b, a0, b0 }: LowRankParams, weight: Tensor): Tensor => {
    const moved = add(weight, mul(matmul(b, a), s));
    return a0 && b0 ? sub(moved, mul(matmul(b0, a0), s)) : moved;
  };
  const name = start === "zero" && rankStabilised ? "rslora" : NAMES[start];
  return {
    name: !decomposed ? name : start === "zero" && !rankStabilised ? "dora" : `dora(${name})`,
    init: (key, site) => {
      requireRank(rank, site, start === "lora-ga" ? 2 : 1);
      const bound = 1 / Math.sqrt(site.inDim);
      const found = factors(site);
      const norm = decomposed ? sqrt(sum(square(site.weight), { axes: [1] })) : null;
      return {
        ...(found
          ? { a: found.a, b: found.b, a0: found.a, b0: found.b }
          : { a: uniform(key, [rank, site.inDim], -bound, bound), b: fill(0, [site.outDim, rank]) }),
        ...(norm ? { magnitude: norm, rowNorm: norm } : {}),
      };
    },
    apply: (params, base, key) => {
      const { a, b } = pairOf(params), { magnitude } = params;
      const thin = (x: Tensor): Tensor => key && dropout > 0 ? dropped(x, dropout, key) : x;
      const low = (x: Tensor): Tensor => add(base(x), mul(linear(linear(thin(x), a), b), s));
      const { rowSquares } = base;
      if (!magnitude) {
        return withRowSquares(
          low,
          rowSquares && (() => rowSquaresOf(base, rowSquares(), a, b, s, squaresOf(a, b, s))),
        );
      }
      if (!rowSquares) {
        throw new ShapeError(
          "Cannot keep the norms of a map's rows (DoRA) around an adapter that does not know them: put DoRA inside, " +
            "or give that adapter's map rowSquares.",
        );
      }
      const own = params.squares ?? squaresOf(a, b, s);
      const norm = stopGradient(sqrt(rowSquaresOf(base, rowSquares(), a, b, s, own)));
      return withRowSquares((x) => mul(low(x), div(magnitude, norm)), () => square(magnitude));
    },
    merge: (params, weight) => {
      const moved = merged(params, weight);
      if (!params.magnitude) return moved;
      const norm = sqrt(sum(square(moved), { axes: [1] }));
      return mul(moved, column(div(params.magnitude, norm)));
    },
    unmerge: (params, weight) => {
      const { magnitude, rowNorm } = params;
      const change = sub(merged(params, weight), weight);
      if (!magnitude || !rowNorm) return sub(weight, change);
      // Rows u·t − δ of norm ‖w₀‖, u of norm 1: the larger root t, the only positive one while ‖δ‖ < ‖w₀‖.
      const u = div(weight, column(magnitude));
      const p = sum(mul(u, change), { axes: [1] });
      const q = sub(sum(square(change), { axes: [1] }), square(rowNorm));
      const t = add(p, sqrt(sub(square(p), q)));
      return sub(mul(u, column(t)), change);
    },
    ...(decomposed ? {} : {
      scaled: (params: LowRankParams, strength: Tensor) => ({
        ...params,
        b: mul(params.b, strength),
        ...(params.b0 ? { b0: mul(params.b0, strength) } : {}),
      }),
    }),
    ...(start === "zero" && !decomposed ? {} : {
      derive: (params: LowRankParams) => {
        const { a: down, b: up } = pairOf(params);
        return {
          ...params,
          ...(start === "zero" ? {} : { down, up }),
          ...(decomposed ? { squares: stopGradient(squaresOf(down, up, s)) } : {}),
        };
      },
    }),
    asks,
    rate: (path) => path === "a0" || path === "b0" || path === "rowNorm" ? "frozen" : "plain",
  };
}

/** The factors that act: trained and frozen ones as one pair, so that both share a product. */
function pairOf({ a, b, a0, b0, down, up }: LowRankParams): { readonly a: Tensor; readonly b: Tensor } {
  if (down && up) return { a: down, b: up };
  if (!a0 || !b0) return { a, b };
  return { a: concat([a, a0], a.shape.length - 2), b: concat([b, neg(b0)], b.shape.length - 1) };
}

/** ‖s·b·A‖² = s²·b·(A·Aᵀ)·bᵀ by rows: a f32[..., r, in], b f32[..., out, r] → [..., out]. */
function squaresOf(a: Tensor, b: Tensor, s: number): Tensor {
  const product = matmul(b, matmul(a, transpose(a)));
  return mul(sum(mul(product, b), { axes: [b.shape.length - 1] }), s * s);
}

/** ‖w + s·b·A‖² by rows without the weight: ‖w‖² + 2s·b·(A·w) + ‖s·b·A‖². */
function rowSquaresOf(
  base: LinearMap,
  squares: Tensor,
  a: Tensor,
  b: Tensor,
  s: number,
  own: Tensor,
): Tensor {
  const crossed = sum(mul(b, transpose(base(a))), { axes: [1] });
  return add(add(squares, mul(crossed, 2 * s)), own);
}

/** A number for each row, f32[out] → f32[out, 1]. */
function column(x: Tensor): Tensor {
  return reshape(x, [x.shape[0]!, 1]);
}

function requireRank(rank: number, { inDim, outDim }: Site, uses: number): void {
  const most = Math.floor(Math.min(inDim, outDim) / uses);
  if (Number.isInteger(rank) && rank >= 1 && rank <= most) return;
  throw new ShapeError(`Cannot adapt a map from ${inDim} to ${outDim} with rank ${rank}: use 1 to ${most}.`);
}
