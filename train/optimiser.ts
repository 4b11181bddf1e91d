/**
 * Optimisers: pairs of pure functions that chain, as in optax. All work on arenas, and every result is elementwise in
 * them, so that a chain becomes one kernel a class, in place. @module
 */
import type { Monoid } from "fp-ts/Monoid.js";
import { type Aval, fill, type Tensor } from "../core/ir/mod.ts";
import { add, broadcastTo, div, lt, maximum, minimum, mul, reshape, sqrt, sum, where } from "../ops/mod.ts";
import { arenaAval, type ArenaLeaf, type Arenas, type ShapeClass, trainedLeaves } from "./arena.ts";
import type { LossScale } from "./loss_scale.ts";
import { branchOf, nextWeights, weightsOf } from "./mixing.ts";

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
    /** Arenas that get a new value instead of an update, such as the weights of mixed branches. */
    readonly replaced?: Arenas;
    readonly metrics: Readonly<Record<string, Tensor>>;
  };
  /** How the loss is scaled whose gradients come in; its state is part of `state`. Absent: not at all. */
  readonly lossScale?: LossScale;
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
        replaced: { ...a.replaced, ...b.replaced },
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
  return Object.fromEntries(classes.flatMap((c) => trainedLeaves(c).map((leaf) => [leaf.key, f(leaf, c)])));
}

/** Squared Frobenius norm of each member's row, f32[members]. */
function rowSquares(arena: Tensor): Tensor {
  return sum(mul(arena, arena), { axes: [1] });
}

/** Norm of all gradients together, f32[]. Logged as `gradNorm`. */
export function globalNorm(classes: readonly ShapeClass[], grads: Arenas): Tensor {
  const squares = classes.flatMap((c) =>
    trainedLeaves(c).map((leaf) => sum(rowSquares(grads[leaf.key]!), { axes: [0] }))
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
          trainedLeaves(c).flatMap((leaf) =>
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
 * Follow the gradients of mixed branches: their weights λ get new values from the raw gradients, and where they act on
 * the step the updates of branch i are multiplied by λ_i.
 */
export function mixBranches(): Optimiser {
  return {
    state: () => ({}),
    update: (updates, _state, { classes, params, grads }) => {
      const replaced = nextWeights(classes, params, grads);
      const mixed = mapArenas(classes, ({ key, path, slot }, c) =>
        c.mixing.reduce((update, mixing) => {
          const branch = branchOf(mixing, path);
          if (branch === null || mixing.space !== "update") return update;
          const weight = weightsOf(c, mixing, replaced, branch);
          const wide = broadcastTo(reshape(weight, [c.members.length, 1]), [c.members.length, slot]);
          return mul(update, wide);
        }, updates[key]!));
      return { updates: mixed, state: {}, replaced, metrics: {} };
    },
  };
}

/** Multiply by −(learning rate), each leaf its own: the last link. */
export function scaleByRate(): Optimiser {
  return {
    state: () => ({}),
    update: (updates, _state, { classes, rates }) => ({
      updates: mapArenas(
        classes,
        ({ key, rate }) => mul(updates[key]!, mul(rates[rate === "orthogonal" ? "orthogonal" : "plain"], -1)),
      ),
      state: {},
      metrics: {},
    }),
  };
}

/** AdamW with clipping and branch mixing, for gradients of a loss that is scaled or not. */
export function adamW(options: {
  readonly clip: number;
  readonly lossScale?: LossScale | null;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly decay?: number;
}): Optimiser {
  const { clip, lossScale = null, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 0 } = options;
  const links = chain(
    clipByGlobalNorm(clip),
    scaleByAdam({ beta1, beta2, epsilon }),
    addDecayedWeights(decay),
    mixBranches(),
    scaleByRate(),
  );
  return lossScale ? withLossScale(links, lossScale) : links;
}

/** An optimiser for gradients of a scaled loss: they come in without the scale, which is kept beside its own state. */
export function withLossScale(links: Optimiser, lossScale: LossScale): Optimiser {
  return { ...links, lossScale, state: (classes) => ({ ...links.state(classes), ...lossScale.state }) };
}

/** Whether all gradients are finite numbers, bool[], by their norm. */
export function isFiniteNorm(gradNorm: Tensor): Tensor {
  return lt(gradNorm, 3e38);
}

/** `next` where the gradient norm is a finite number, else `old`: a step with overflowing gradients changes nothing. */
export function keepIfFinite(gradNorm: Tensor, next: Tensor, old: Tensor): Tensor {
  return where(broadcastTo(isFiniteNorm(gradNorm), next.shape), next, old);
}
