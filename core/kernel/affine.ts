/** Which part of an expression is a sum of scaled accumulators: it can be accumulated in one place. @module */
import { call, constant, type Expr, mapExpr, nodesOf, varsOf } from "../ir/expr.ts";

/** `Σ coef · acc + rest`; a null coefficient is 1, a null rest is 0. */
export interface Affine {
  readonly coefs: ReadonlyMap<number, Expr | null>;
  readonly rest: Expr | null;
}

/** Read `e` as an affine form in its accumulators with coefficients that are the same for all elements; null if it is none. */
export function affine(e: Expr): Affine | null {
  if (e.kind === "acc") return { coefs: new Map([[e.id, null]]), rest: null };
  if (!hasAcc(e)) return { coefs: new Map(), rest: e };
  if (e.kind !== "call") return null;
  const [a, b] = e.args as [Expr, Expr];
  switch (e.fn) {
    case "add":
      return plus(affine(a), affine(b));
    case "sub":
      return plus(affine(a), scaled(affine(b), constant(-1)));
    case "neg":
      return scaled(affine(a), constant(-1));
    case "mul":
      if (isUniform(b)) return scaled(affine(a), b);
      return isUniform(a) ? scaled(affine(b), a) : null;
    case "div":
      return isUniform(b) ? scaled(affine(a), call("div", constant(1), b)) : null;
    default:
      return null;
  }
}

/**
 * Split `value` at the smallest subexpression through which all its accumulators enter: `inner`, and `value` as a
 * function of it.
 */
export function splitAtAccumulators(
  value: Expr,
): { readonly inner: Expr; readonly outer: (inner: Expr) => Expr } {
  for (const inner of nodesOf([value])) {
    if (!hasAcc(inner)) continue;
    const hole = constant(Number.NaN);
    const outside = mapExpr(value, (e) => e, new Map([[inner, hole]]));
    if (!hasAcc(outside)) return { inner, outer: (by) => mapExpr(outside, (e) => (e === hole ? by : e)) };
  }
  throw new Error("The expression has no accumulator.");
}

/** Whether an accumulator occurs in `e`. */
export function hasAcc(e: Expr): boolean {
  return nodesOf([e]).some((n) => n.kind === "acc");
}

function isUniform(e: Expr): boolean {
  return !hasAcc(e) && varsOf(e).size === 0;
}

function times(a: Expr | null, b: Expr): Expr {
  if (a === null) return b;
  if (a.kind === "const" && b.kind === "const") return constant(a.value * b.value);
  return call("mul", a, b);
}

function scaled(x: Affine | null, by: Expr): Affine | null {
  if (x === null) return null;
  return {
    coefs: new Map([...x.coefs].map(([id, coef]) => [id, times(coef, by)])),
    rest: x.rest && times(x.rest, by),
  };
}

function plus(x: Affine | null, y: Affine | null): Affine | null {
  if (x === null || y === null) return null;
  const coefs = new Map(x.coefs);
  for (const [id, coef] of y.coefs) {
    const old = coefs.get(id);
    coefs.set(id, old === undefined ? coef : call("add", old ?? constant(1), coef ?? constant(1)));
  }
  return { coefs, rest: x.rest && y.rest ? call("add", x.rest, y.rest) : x.rest ?? y.rest };
}
