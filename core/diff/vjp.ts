/**
 * Reverse-mode differentiation, from graph to graph: derivatives are graphs again and can be differentiated to any
 * order. @module
 */
import { aval, ShapeError, showAval } from "../ir/aval.ts";
import type { Lowering } from "../ir/lowering.ts";
import { fill, input, primitive, requireSame, type Tensor } from "../ir/tensor.ts";
import { cotangentSemigroup } from "./cotangent.ts";

/**
 * Cotangents of `wrt` from the cotangents `cts` of `ys`: Σᵢ ctsᵢ · ∂ysᵢ/∂wrt. Zero where no path leads.
 * Walks the graph once, newest node first, so that derivatives are created in the order in which they become known.
 */
export function gradients(ys: readonly Tensor[], cts: readonly Tensor[], wrt: readonly Tensor[]): Tensor[] {
  return cotangents(ys, cts, wrt).map((ct, i) => ct ?? fill(0, wrt[i]!.shape, wrt[i]!.dtype));
}

/** {@linkcode gradients}, but null where no path leads. */
export function cotangents(
  ys: readonly Tensor[],
  cts: readonly Tensor[],
  wrt: readonly Tensor[],
): (Tensor | null)[] {
  ys.forEach((y, i) => requireSame("pull back a cotangent through", y.aval, cts[i]!.aval));
  const depends = dependents(ys, wrt);
  const total = new Map<Tensor, Tensor>();
  const give = (x: Tensor, ct: Tensor): void => {
    requireSame(`accumulate into a value of ${x.op}`, x.aval, ct.aval);
    const old = total.get(x);
    total.set(x, old ? cotangentSemigroup.concat(old, ct) : ct);
  };
  ys.forEach((y, i) => {
    if (depends.has(y)) give(y, cts[i]!);
  });
  for (const y of [...depends].sort((a, b) => b.order - a.order)) {
    const ct = total.get(y);
    if (!ct || !y.rules) continue;
    y.rules.vjp(ct).forEach((dx, i) => {
      const x = y.inputs[i]!;
      if (dx && depends.has(x)) give(x, dx);
    });
  }
  return wrt.map((x) => total.get(x) ?? null);
}

/** Nodes on a path from one of `wrt` to one of `ys`. */
function dependents(ys: readonly Tensor[], wrt: readonly Tensor[]): Set<Tensor> {
  const reached = new Set<Tensor>();
  const stack = [...ys];
  for (let t = stack.pop(); t; t = stack.pop()) {
    if (reached.has(t)) continue;
    reached.add(t);
    stack.push(...t.inputs);
  }
  const depends = new Set(wrt.filter((x) => reached.has(x)));
  for (const t of [...reached].sort((a, b) => a.order - b.order)) {
    if (t.inputs.some((x) => depends.has(x))) depends.add(t);
  }
  return depends;
}

/** `f(...xs)` and its pullback: cotangent of the result → cotangents of the `xs`. */
export function vjp(
  f: (...xs: readonly Tensor[]) => Tensor,
  ...xs: readonly Tensor[]
): { readonly y: Tensor; readonly pullback: (ct: Tensor) => Tensor[] } {
  const y = f(...xs);
  return { y, pullback: (ct) => gradients([y], [ct], xs) };
}

/** Value of a scalar function and its gradients; throws {@linkcode ShapeError} when it is not a scalar. */
export function valueAndGrad(
  f: (...xs: readonly Tensor[]) => Tensor,
): (...xs: readonly Tensor[]) => { readonly value: Tensor; readonly grads: Tensor[] } {
  return (...xs) => {
    const value = f(...xs);
    if (value.shape.length > 0) {
      throw new ShapeError(
        `Cannot take the gradient of ${showAval(value.aval)}: the function must return a scalar f32[].`,
      );
    }
    return { value, grads: gradients([value], [fill(1)], xs) };
  };
}

/** Gradients of a scalar function. */
export function grad(f: (...xs: readonly Tensor[]) => Tensor): (...xs: readonly Tensor[]) => Tensor[] {
  const both = valueAndGrad(f);
  return (...xs) => both(...xs).grads;
}

/** `∂f/∂x · tangent`, forward mode by differentiating twice: the pullback is linear in its cotangent. */
export function jvp(
  f: (...xs: readonly Tensor[]) => Tensor,
  xs: readonly Tensor[],
  tangents: readonly Tensor[],
): { readonly y: Tensor; readonly tangent: Tensor } {
  const { y, pullback } = vjp(f, ...xs);
  // The value of this cotangent does not matter: the pullback's derivative in it does not depend on it.
  const ct = fill(0, y.shape, y.dtype);
  const marked = stopGradient(ct);
  const [tangent] = gradients(pullback(marked), tangents, [marked]);
  return { y, tangent: tangent! };
}

/** Reads its input as it is. */
const identity: Lowering = { kind: "view", map: (index) => ({ index }) };

/** The same value, through which no cotangent flows. */
export const stopGradient: (x: Tensor) => Tensor = primitive<[x: Tensor]>("stopGradient", () => ({
  shape: ([x]) => x,
  reference: ([x]) => x,
  vjp: () => [null],
  lower: identity,
}))(undefined);

/** The same value; what follows it is computed anew instead of shared, since `site` tells the copies apart. */
const recompute = primitive<[x: Tensor], { site: number }>("recompute", () => ({
  shape: ([x]) => x,
  reference: ([x]) => x,
  vjp: (ct) => [ct],
  lower: identity,
}));

/**
 * `forward(...xs)` with a pullback of your own: `backward(ct, xs, y)` gives the cotangents of the `xs`, as a graph.
 */
export function customVjp(
  forward: (...xs: readonly Tensor[]) => Tensor,
  backward: (ct: Tensor, xs: readonly Tensor[], y: Tensor) => readonly (Tensor | null)[],
): (...xs: readonly Tensor[]) => Tensor {
  return (...xs) => {
    const y = forward(...xs);
    // A view of y that also lists the xs: its value reads y alone, its pullback goes around the inside of `forward`.
    const node = primitive<readonly Tensor[]>("customVjp", () => ({
      shape: () => y.aval,
      reference: ([value]) => value!,
      vjp: (ct, [, ...ins], out) => [null, ...backward(ct, ins, out)],
      lower: identity,
    }));
    return node(undefined)(stopGradient(y), ...xs);
  };
}

let sites = 0;

/**
 * `f(...xs)` whose inner values are not kept for the derivative but computed again: memory for time (about a third
 * more work for a whole model).
 */
export function checkpoint(f: (...xs: readonly Tensor[]) => Tensor): (...xs: readonly Tensor[]) => Tensor {
  return customVjp(f, (ct, xs) => {
    const again = recompute({ site: sites++ });
    const copies = xs.map((x) => again(x));
    return gradients([f(...copies)], [ct], copies);
  });
}

/** Trace `f` on fresh inputs of these avals. */
export function trace<T>(
  f: (...xs: readonly Tensor[]) => T,
  avals: readonly { readonly shape: readonly number[]; readonly dtype?: Tensor["dtype"] }[],
): { readonly inputs: Tensor[]; readonly result: T } {
  const inputs = avals.map((a, i) => input(aval(a.shape, a.dtype), `x${i}`));
  return { inputs, result: f(...inputs) };
}
