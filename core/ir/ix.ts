/**
 * Integer index expressions: affine sums over loop variables, quotients, remainders and values read from memory.
 * They say which element of a buffer a kernel touches; views are functions on them and so cost nothing.
 * Every value is in normal form, so that equal indices have equal keys. @module
 */
import type { Expr } from "./expr.ts";

/** What an index is built from. `lo` and `hi` bound its value, both included. */
export type Atom =
  & { readonly key: string; readonly lo: number; readonly hi: number }
  & (
    | { readonly kind: "var"; readonly name: string }
    | { readonly kind: "div" | "mod"; readonly of: Ix; readonly by: number }
    /** An integer read from memory, in `0 ≤ value ≤ hi`. */
    | { readonly kind: "value"; readonly of: Expr }
  );

/** `constant + Σ coef · atom`, terms sorted by key, no zero coefficients. */
export interface Ix {
  readonly constant: number;
  readonly terms: readonly { readonly coef: number; readonly atom: Atom }[];
  readonly key: string;
  readonly lo: number;
  readonly hi: number;
}

/** A loop variable in `0 ≤ v < extent`. */
export interface Var {
  readonly name: string;
  readonly extent: number;
}

/** `lo ≤ ix < hi`: outside, a padded load gives 0. */
export interface Cond {
  readonly ix: Ix;
  readonly lo: number;
  readonly hi: number;
}

function make(constant: number, terms: Ix["terms"]): Ix {
  if (terms.length === 0) return { constant, terms, key: String(constant), lo: constant, hi: constant };
  const kept = terms.every((t) => t.coef !== 0) ? [...terms] : terms.filter((t) => t.coef !== 0);
  if (kept.length > 1) kept.sort((a, b) => (a.atom.key < b.atom.key ? -1 : 1));
  let lo = constant, hi = constant;
  for (const { coef, atom } of kept) {
    lo += coef * (coef > 0 ? atom.lo : atom.hi);
    hi += coef * (coef > 0 ? atom.hi : atom.lo);
  }
  const parts = kept.map(({ coef, atom }) => (coef === 1 ? atom.key : `${coef}*${atom.key}`));
  if (constant !== 0 || parts.length === 0) parts.push(String(constant));
  return { constant, terms: kept, key: parts.length === 1 ? parts[0]! : `(${parts.join("+")})`, lo, hi };
}

function single(atom: Atom): Ix {
  return make(0, [{ coef: 1, atom }]);
}

/** The number `n`. */
export function ixConst(n: number): Ix {
  return make(n, []);
}

/** The loop variable `v`; 0 when its extent is 1. */
export function ixVar(v: Var): Ix {
  if (v.extent === 1) return ixConst(0);
  return single({ kind: "var", name: v.name, key: v.name, lo: 0, hi: v.extent - 1 });
}

/** An integer read from memory, below `extent`. `key` identifies `of`. */
export function ixValue(of: Expr, extent: number, key: string): Ix {
  return single({ kind: "value", of, key: `<${key}>`, lo: 0, hi: extent - 1 });
}

/** `a · k`. */
export function ixScale(a: Ix, k: number): Ix {
  if (k === 1) return a;
  // + 0: no constant is −0.
  return make(a.constant * k + 0, a.terms.map(({ coef, atom }) => ({ coef: coef * k, atom })));
}

/** `a + b + …`; a quotient and its remainder join to the number they came from. */
export function ixAdd(...given: readonly Ix[]): Ix {
  const parts = given.filter((p) => p.terms.length > 0 || p.constant !== 0);
  if (parts.length <= 1) return parts[0] ?? ixConst(0);
  const byKey = new Map<string, { coef: number; atom: Atom }>();
  let constant = 0;
  for (const part of parts) {
    constant += part.constant;
    for (const { coef, atom } of part.terms) {
      const old = byKey.get(atom.key);
      byKey.set(atom.key, { atom, coef: coef + (old?.coef ?? 0) });
    }
  }
  for (const { coef, atom } of byKey.values()) {
    if (atom.kind !== "mod" || coef === 0) continue;
    // c·by·⌊x/by⌋ + c·(x mod by) = c·x
    const quotient = ixDiv(atom.of, atom.by);
    const [term, more] = quotient.terms;
    if (!term || more || quotient.constant !== 0 || term.coef !== 1) continue;
    const other = byKey.get(term.atom.key);
    if (!other || other.coef !== coef * atom.by) continue;
    byKey.delete(atom.key);
    byKey.delete(term.atom.key);
    return ixAdd(make(constant, [...byKey.values()]), ixScale(atom.of, coef));
  }
  return make(constant, [...byKey.values()]);
}

/** Split `x = n·q + g·big + small` with `0 ≤ small < g` and `g` dividing `n`, for the coarsest such `g` found. */
function split(x: Ix, n: number): { q: Ix; g: number; big: Ix; small: Ix } | null {
  const whole = x.terms.filter((t) => t.coef % n === 0);
  const rest = x.terms.filter((t) => t.coef % n !== 0);
  // The constant left is the smallest that keeps the remainder non-negative: targets divide unsigned numbers.
  const below = Math.min(0, make(0, rest).lo);
  const carry = Math.floor((x.constant + below) / n);
  const c = x.constant - carry * n;
  const q = make(carry, whole.map(({ coef, atom }) => ({ coef: coef / n, atom })));
  const gs = [...new Set([n, ...rest.map((t) => gcd(n, Math.abs(t.coef)))])].sort((a, b) => b - a);
  for (const g of gs) {
    if (g === 1) break;
    const cBig = Math.floor(c / g);
    const small = make(c - cBig * g, rest.filter((t) => t.coef % g !== 0));
    if (small.lo < 0 || small.hi >= g) continue;
    const big = make(
      cBig,
      rest.filter((t) => t.coef % g === 0).map(({ coef, atom }) => ({ coef: coef / g, atom })),
    );
    return { q, g, big, small };
  }
  return q.terms.length > 0 || carry !== 0 ? { q, g: 1, big: make(c, rest), small: ixConst(0) } : null;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** `⌊x / n⌋` for `x ≥ 0`. */
export function ixDiv(x: Ix, n: number): Ix {
  if (n === 1) return x;
  if (x.lo >= 0 && x.hi < n) return ixConst(0);
  const parts = split(x, n);
  if (parts && (parts.q.key !== "0" || parts.g > 1)) return ixAdd(parts.q, ixDiv(parts.big, n / parts.g));
  const atom = x.terms.length === 1 && x.constant === 0 && x.terms[0]!.coef === 1 ? x.terms[0]!.atom : null;
  if (atom?.kind === "div") return ixDiv(atom.of, atom.by * n);
  if (atom?.kind === "mod" && atom.by % n === 0) return ixMod(ixDiv(atom.of, n), atom.by / n);
  return single({
    kind: "div",
    of: x,
    by: n,
    key: `${x.key}/${n}`,
    lo: Math.floor(x.lo / n),
    hi: Math.floor(x.hi / n),
  });
}

/** `x mod n`, in `0 ≤ · < n`, for `x ≥ 0`. */
export function ixMod(x: Ix, n: number): Ix {
  if (n === 1) return ixConst(0);
  if (x.lo >= 0 && x.hi < n) return x;
  const parts = split(x, n);
  if (parts && (parts.q.key !== "0" || parts.g > 1)) {
    return ixAdd(ixScale(ixMod(parts.big, n / parts.g), parts.g), parts.small);
  }
  const atom = x.terms.length === 1 && x.constant === 0 && x.terms[0]!.coef === 1 ? x.terms[0]!.atom : null;
  if (atom?.kind === "mod" && atom.by % n === 0) return ixMod(atom.of, n);
  return single({
    kind: "mod",
    of: x,
    by: n,
    key: `${x.key}%${n}`,
    lo: 0,
    hi: Math.min(n - 1, x.lo >= 0 ? x.hi : n - 1),
  });
}

/** Replace loop variables by other indices; names that `by` does not have stay. */
export function ixSubstitute(x: Ix, by: ReadonlyMap<string, Ix>, value?: (of: Expr) => Expr): Ix {
  return ixAdd(
    ixConst(x.constant),
    ...x.terms.map(({ coef, atom }) => {
      switch (atom.kind) {
        case "var":
          return ixScale(by.get(atom.name) ?? single(atom), coef);
        case "div":
          return ixScale(ixDiv(ixSubstitute(atom.of, by, value), atom.by), coef);
        case "mod":
          return ixScale(ixMod(ixSubstitute(atom.of, by, value), atom.by), coef);
        case "value": {
          // The key of a read names its own index, which changes with the substitution.
          if (!value) return ixScale(single(atom), coef);
          const of = value(atom.of);
          const suffix = of === atom.of
            ? atom.key
            : `${atom.key}'${[...by].map(([k, v]) => k + v.key).join()}`;
          return make(0, [{ coef, atom: { ...atom, of, key: suffix } }]);
        }
      }
    }),
  );
}

/** Row-major position of `index` in a tensor with these strides. */
export function ixLinear(index: readonly Ix[], strides: readonly number[]): Ix {
  return ixAdd(ixConst(0), ...index.map((ix, i) => ixScale(ix, strides[i]!)));
}

/** The multi-index of position `linear` in `shape`. */
export function ixUnravel(linear: Ix, shape: readonly number[]): Ix[] {
  const index: Ix[] = [];
  let rest = linear;
  for (let i = shape.length - 1; i >= 0; i--) {
    const d = shape[i]!;
    index.unshift(i === 0 ? rest : ixMod(rest, d));
    rest = ixDiv(rest, d);
  }
  return index;
}

/** Names of the loop variables that `x` depends on, those inside memory reads included when `inside` lists them. */
export function ixVars(x: Ix, inside: (of: Expr) => Iterable<string> = () => []): Set<string> {
  const names = new Set<string>();
  for (const { atom } of x.terms) {
    if (atom.kind === "var") names.add(atom.name);
    else if (atom.kind === "value") { for (const n of inside(atom.of)) names.add(n); }
    else for (const n of ixVars(atom.of, inside)) names.add(n);
  }
  return names;
}

/** Coefficient of `v` when `x` is affine in it; null when it occurs inside a quotient, remainder or memory read. */
export function ixStride(x: Ix, name: string, inside?: (of: Expr) => Iterable<string>): number | null {
  let stride = 0;
  for (const { coef, atom } of x.terms) {
    if (atom.kind === "var") { if (atom.name === name) stride = coef; }
    else if (ixVars(make(0, [{ coef: 1, atom }]), inside).has(name)) return null;
  }
  return stride;
}
