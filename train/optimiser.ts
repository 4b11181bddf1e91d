/**
 * Optimisers: pairs of pure functions that chain, as in optax. All work on arenas, and every result is elementwise in
 * them, so that a chain becomes one kernel a class, in place. @module
 */
import type { Monoid } from "fp-ts/Monoid.js";
import { type Aval, fill, type Tensor } from "../core/ir/mod.ts";
import { add, broadcastTo, div, lt, maximum, minimum, mul, reshape, sqrt, sum, where } from "../ops/mod.ts";
import { arenaAval, type ArenaLeaf, type ShapeClass } from "./arena.ts";

/** Tensors by arena key. */
export type Arenas = Readonly<Record<string, Tensor>>;

/** What every link of a chain sees besides the updates. */
export interface StepContext {
  readonly classes: readonly ShapeClass[];
  readonly params: Arenas;
  /** Raw gradients, before any link changed them. */
  readonly grads: Arenas;
  /** Numbers that change from step to step, f32[] each. */
  readonly rates: StepRates;
}

/** Scalars of a step, computed on the host from the schedule. */
export interface StepRates {
  readonly plain: Tensor;
  readonly orthogonal: Tensor;
  /** 1 / (1 − β₁ᵗ) and 1 / (1 − β₂ᵗ). */
  readonly correction1: Tensor;
  readonly correction2: Tensor;
}

/** State of a chain: named arenas or vectors. */
export type OptimiserState = Readonly<Record<string, Tensor>>;

/** A link. `update` turns updates into better updates and gives its next state, and numbers worth logging. */
export interface Optimiser {
  readonly state: (
    classes: readonly ShapeClass[],
  ) => Readonly<Record<string, { readonly aval: Aval; readonly initial: number }>>;
  readonly update: (updates: Arenas, state: OptimiserState, context: StepContext) => {
    readonly updates: Arenas;
    readonly state: OptimiserState;
    readonly metrics: Readonly<Record<string, Tensor>>;
  };
}

/** Links one after the other; the empty chain changes nothing. */
export const optimiserMonoid: Monoid<Optimiser> = {
  empty: { state: () => ({}), update: (updates) => ({ updates, state: {}, metrics: {} }) },
  concat: (first, second) => ({
    state: (classes) => ({ ...first.state(classes), ...second.state(classes) }),
    update: (updates, state, context) => {
      const a = first.update(updates, state, context);
      const b = second.update(a.updates, state, context);
      return {
        updates: b.updates,
        state: { ...a.state, ...b.state },
        metrics: { ...a.metrics, ...b.metrics },
      };
    },
  }),
};

/** Chain links, first to last. */
export function chain(...links: readonly Optimiser[]): Optimiser {
  return links.reduce(optimiserMonoid.concat, optimiserMonoid.empty);
}

function mapArenas(classes: readonly ShapeClass[], f: (leaf: ArenaLeaf, of: ShapeClass) => Tensor): Arenas {
  return Object.fromEntries(classes.flatMap((c) => c.leaves.map((leaf) => [leaf.key, f(leaf, c)])));
}

/** Squared Frobenius norm of each member's row, f32[members]. */
function rowSquares(arena: Tensor): Tensor {
  return sum(mul(arena, arena), { axes: [1] });
}

/** Norm of all gradients together, f32[]. Logged as `gradNorm`. */
export function globalNorm(classes: readonly ShapeClass[], grads: Arenas): Tensor {
  const squares = classes.flatMap((c) =>
    c.leaves.map((leaf) => sum(rowSquares(grads[leaf.key]!), { axes: [0] }))
  );
  return sqrt(squares.reduce((a, b) => add(a, b)));
}

/** Scale all updates so that their common norm is at most `max`; 0 means no limit. Logs `gradNorm`, the norm before. */
export function clipByGlobalNorm(max: number): Optimiser {
  return {
    state: () => ({}),
    update: (updates, _state, { classes }) => {
      const gradNorm = globalNorm(classes, updates);
      const factor = max > 0 ? minimum(div(fill(max), maximum(gradNorm, 1e-12)), 1) : fill(1);
      return {
        updates: mapArenas(classes, (l) => mul(updates[l.key]!, factor)),
        state: {},
        metrics: { gradNorm },
      };
    },
  };
}

/** Adam's direction m̂ / (√v̂ + ε). arXiv:1412.6980, Algorithm 1. State: both moments for each arena. */
export function scaleByAdam(
  { beta1, beta2, epsilon }: { readonly beta1: number; readonly beta2: number; readonly epsilon: number },
): Optimiser {
  return {
    state: (classes) =>
      Object.fromEntries(
        classes.flatMap((c) =>
          c.leaves.flatMap((leaf) =>
            ["m", "v"].map((moment) => [`${moment}_${leaf.key}`, { aval: arenaAval(c, leaf), initial: 0 }])
          )
        ),
      ),
    update: (updates, state, { classes, rates }) => {
      const next: Record<string, Tensor> = {};
      const directions = mapArenas(classes, ({ key }) => {
        const g = updates[key]!;
        const m = next[`m_${key}`] = add(mul(state[`m_${key}`]!, beta1), mul(g, 1 - beta1));
        const v = next[`v_${key}`] = add(mul(state[`v_${key}`]!, beta2), mul(mul(g, g), 1 - beta2));
        return div(mul(m, rates.correction1), add(sqrt(mul(v, rates.correction2)), epsilon));
      });
      return { updates: directions, state: next, metrics: {} };
    },
  };
}

/** Decoupled weight decay: add `decay` · parameter to each update. arXiv:1711.05101. */
export function addDecayedWeights(decay: number): Optimiser {
  return {
    state: () => ({}),
    update: (updates, _state, { classes, params }) => ({
      updates: decay === 0
        ? updates
        : mapArenas(classes, ({ key }) => add(updates[key]!, mul(params[key]!, decay))),
      state: {},
      metrics: {},
    }),
  };
}

/**
 * Multiply the updates of each branch of a mixed adapter by its weight λ, one for each member, kept as state
 * `lambda_<class>_<branch>` f32[members]. Norms are of the raw gradients, over √(number of parameters).
 */
export function mixBranches(): Optimiser {
  return {
    state: (classes) =>
      Object.fromEntries(classes.flatMap((c) =>
        Array.from({ length: c.mixing?.branches ?? 0 }, (_, b) => [
          lambdaKey(c, b),
          { aval: { shape: [c.members.length], dtype: "f32" as const }, initial: 1 / c.mixing!.branches },
        ])
      )),
    update: (updates, state, { classes, grads }) => {
      const next: Record<string, Tensor> = {};
      for (const c of classes) {
        if (!c.mixing) continue;
        const { rule, branches, ema, clamp: [low, high] } = c.mixing;
        const norms = Array.from({ length: branches }, (_, b) => branchNorm(c, b, grads));
        rule(norms).forEach((weight, b) => {
          const old = state[lambdaKey(c, b)]!;
          next[lambdaKey(c, b)] = minimum(maximum(add(mul(old, ema), mul(weight, 1 - ema)), low), high);
        });
      }
      const mixed = mapArenas(classes, ({ key, path, slot }, c) => {
        if (!c.mixing) return updates[key]!;
        const weight = next[lambdaKey(c, branchOf(path))]!;
        return mul(
          updates[key]!,
          broadcastTo(reshape(weight, [c.members.length, 1]), [c.members.length, slot]),
        );
      });
      return { updates: mixed, state: next, metrics: {} };
    },
  };
}

/** State key of branch `b`'s weights. */
export function lambdaKey(of: ShapeClass, b: number): string {
  return `lambda_${of.key}_${b}`;
}

function branchOf(path: string): number {
  return Number(path.split(".")[0]);
}

function branchNorm(c: ShapeClass, branch: number, grads: Arenas): Tensor {
  const leaves = c.leaves.filter((l) => branchOf(l.path) === branch);
  const count = leaves.reduce((n, l) => n + l.aval.shape.reduce((a, b) => a * b, 1), 0);
  const squares = leaves.map((l) => rowSquares(grads[l.key]!)).reduce((a, b) => add(a, b));
  return sqrt(div(squares, count));
}

/** Multiply by −(learning rate), each leaf its own: the last link. */
export function scaleByRate(): Optimiser {
  return {
    state: () => ({}),
    update: (updates, _state, { classes, rates }) => ({
      updates: mapArenas(classes, ({ key, rate }) => mul(updates[key]!, mul(rates[rate], -1))),
      state: {},
      metrics: {},
    }),
  };
}

/** AdamW with clipping and branch mixing. */
export function adamW(options: {
  readonly clip: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly decay?: number;
}): Optimiser {
  const { clip, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 0 } = options;
  return chain(
    clipByGlobalNorm(clip),
    scaleByAdam({ beta1, beta2, epsilon }),
    addDecayedWeights(decay),
    mixBranches(),
    scaleByRate(),
  );
}

/** `next` where the gradient norm is a finite number, else `old`: a step with overflowing gradients changes nothing. */
export function keepIfFinite(gradNorm: Tensor, next: Tensor, old: Tensor): Tensor {
  return where(broadcastTo(lt(gradNorm, 3e38), next.shape), next, old);
}
