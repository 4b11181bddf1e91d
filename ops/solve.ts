/** Small dense systems and the Cayley map. @module */
import {
  type Aval,
  aval,
  ixAdd,
  ixConst,
  ixDiv,
  ixMod,
  ixScale,
  type Op,
  primitive,
  type Shape,
  ShapeError,
  showAval,
  type Tensor,
} from "../core/ir/mod.ts";
import { add, mul, neg, sub } from "./arithmetic.ts";
import { cast } from "./cast.ts";
import { eq } from "./compare.ts";
import { matmul } from "./contract.ts";
import { iota } from "./iota.ts";
import { viewReference } from "./view_reference.ts";
import { transpose } from "./views.ts";

const solved = primitive<[a: Tensor, b: Tensor]>("solve", () => ({
  shape: ([a, b]) => {
    const n = a.shape.at(-1), rows = b.shape.at(-2);
    if (
      n === undefined || a.shape.at(-2) !== n || rows !== n ||
      a.shape.slice(0, -2).join() !== b.shape.slice(0, -2).join()
    ) {
      throw new ShapeError(
        `Cannot solve ${showAval(a)} for ${
          showAval(b)
        }: give square matrices and right sides of as many rows.`,
      );
    }
    return aval(b.shape);
  },
  reference: ([a, b], [aAval, bAval]) => eliminate(a, b, aAval.shape.at(-1)!, bAval.shape.at(-1)!),
  vjp: (ct, [a], x) => {
    const db = solve(transpose(a), ct);
    return [neg(matmul(db, transpose(x))), db];
  },
  lower: { kind: "solve" },
}))(undefined);

/** Gauss–Jordan elimination without pivots. */
function eliminate(a: Float64Array, b: Float64Array, n: number, k: number): Float64Array {
  const x = b.slice();
  for (let s = 0; s < a.length / (n * n); s++) {
    const m = a.slice(s * n * n, (s + 1) * n * n), y = x.subarray(s * n * k, (s + 1) * n * k);
    for (let p = 0; p < n; p++) {
      const pivot = m[p * n + p]!;
      for (let j = 0; j < n; j++) m[p * n + j]! /= pivot;
      for (let j = 0; j < k; j++) y[p * k + j]! /= pivot;
      for (let i = 0; i < n; i++) {
        const f = m[i * n + p]!;
        if (i === p || f === 0) continue;
        for (let j = 0; j < n; j++) m[i * n + j]! -= f * m[p * n + j]!;
        for (let j = 0; j < k; j++) y[i * k + j]! -= f * y[p * k + j]!;
      }
    }
  }
  return x;
}

/**
 * X with A·X = B: a [..., n, n] whose symmetric part is positive definite (I + S with S skew is; no pivots are sought),
 * b [..., n, k]. Pullback: dB = A⁻ᵀ·ct, dA = −dB·Xᵀ.
 */
export function solve(a: Tensor, b: Tensor): Tensor {
  return solved(a, b);
}

/** Identity matrices over the last two axes of `shape`. Costs nothing. */
export function eye(shape: Shape): Tensor {
  const n = shape.length;
  return cast(eq(iota(shape, n - 2), iota(shape, n - 1)), "f32");
}

/** Q = (I − S)(I + S)⁻¹ of skew S [..., n, n]: orthogonal with determinant +1 and no eigenvalue −1; Q = I at S = 0. */
export function cayley(skew: Tensor): Tensor {
  const one = eye(skew.shape);
  // (I − S) and (I + S)⁻¹ commute.
  return solve(add(one, skew), sub(one, skew));
}

/**
 * The Cayley map's Neumann series cut off, I + 2T + 2T² + … + T^k with T = −S and k = max(3, terms − 1): products of
 * matrices instead of a solve, but not orthogonal: off by 6e-3 at ‖S‖ = 0.3 with 5 terms (arXiv:2506.19847, section 4.2).
 * The last power counts once, and two terms are I + 2T, as in PEFT. Throws ShapeError for fewer than 2 terms.
 */
export function cayleyNeumann(skew: Tensor, terms: number): Tensor {
  if (!Number.isInteger(terms) || terms < 2) {
    throw new ShapeError(`Cannot cut a Neumann series after ${terms} terms: use a whole number from 2 on.`);
  }
  const t = neg(skew), last = Math.max(3, terms - 1);
  let total = add(eye(skew.shape), mul(t, 2));
  if (terms === 2) return total;
  let power = t;
  for (let k = 2; k <= last; k++) {
    power = matmul(power, t);
    total = add(total, k === last ? power : mul(power, 2));
  }
  return total;
}

/*
 * The n(n−1)/2 free entries of a skew matrix, ordered by distance on the circle: entry (s − 1)·n + i is S[i, (i+s) mod n].
 * For even n the last distance has only its first half. Both directions are index arithmetic, so both are views.
 */
const placed: Op<[u: Tensor], { n: number }> = primitive<[u: Tensor], { n: number }>("skewPlace", ({ n }) => {
  const total = (n * (n - 1)) / 2;
  const entry = (i: number, j: number): number => ((j - i + n) % n) * n - n + i;
  return {
    shape: ([u]) => {
      if (u.shape.at(-1) !== total) {
        throw new ShapeError(
          `Cannot make skew ${n}×${n} matrices from ${showAval(u)}: the last axis must be ${total}.`,
        );
      }
      return aval([...u.shape.slice(0, -1), n, n]);
    },
    reference: ([u], [at], out) =>
      viewReference(u, out.shape, (index) => {
        const k = entry(index.at(-2)!, index.at(-1)!);
        return k < 0 || k >= total ? -1 : leading(at, index) * total + k;
      }),
    vjp: (ct) => [collected({ n })(ct)],
    lower: {
      kind: "view",
      map: (index) => {
        const i = index.at(-2)!, j = index.at(-1)!;
        // j − i modulo n, from terms that are never negative.
        const distance = ixMod(ixAdd(j, ixScale(i, n - 1)), n);
        const k = ixAdd(ixScale(distance, n), i, ixConst(-n));
        return { index: [...index.slice(0, -2), k], valid: [{ ix: k, lo: 0, hi: total }] };
      },
    },
  };
});

const collected: Op<[m: Tensor], { n: number }> = primitive<[m: Tensor], { n: number }>(
  "skewCollect",
  ({ n }) => {
    const total = (n * (n - 1)) / 2;
    return {
      shape: ([m]) => aval([...m.shape.slice(0, -2), total]),
      reference: ([m], [at], out) =>
        viewReference(m, out.shape, (index) => {
          const k = index.at(-1)!, i = k % n, j = (i + Math.floor(k / n) + 1) % n;
          return (leading({ ...at, shape: at.shape.slice(0, -1) }, index) * n + i) * n + j;
        }),
      vjp: (ct) => [placed({ n })(ct)],
      lower: {
        kind: "view",
        map: (index) => {
          const k = index.at(-1)!, i = ixMod(k, n);
          return { index: [...index.slice(0, -1), i, ixMod(ixAdd(i, ixDiv(k, n), ixConst(1)), n)] };
        },
      },
    };
  },
);

/** Row-major position of the leading axes. */
function leading({ shape }: Aval, index: readonly number[]): number {
  return shape.slice(0, -1).reduce((n, d, a) => n * d + index[a]!, 0);
}

/** Skew matrices [..., n, n] from their free entries u [..., n(n−1)/2]: S = V − Vᵀ, each entry once with either sign. */
export function skewFromEntries(u: Tensor, n: number): Tensor {
  const half = placed({ n })(u);
  return sub(half, transpose(half));
}
