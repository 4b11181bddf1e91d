/**
 * Loss scales: cotangents stored in f16 are multiplied by a number that gradients are divided by at the end, so that
 * small ones are held. Dynamic as in mixed precision training (arXiv:1710.03740, §3.2), the rule of PyTorch's
 * `GradScaler`: half after a step whose gradients are not finite, double after many that were. @module
 */
import { type Aval, aval, fill, type Tensor } from "../core/ir/mod.ts";
import { add, lt, maximum, minimum, mul, where } from "../ops/mod.ts";

/** Numbers of the rule: where it starts, its bounds, by what it goes up and down, and the good steps before it goes up. */
export interface LossScaleRule {
  readonly initial: number;
  readonly least: number;
  readonly most: number;
  readonly factor: number;
  readonly interval: number;
}

/**
 * The rule of runs. Scales are relative to the sum of a batch's losses, whose cotangents are of order one: `GradScaler`
 * starts at 2¹⁶ of the mean, which is the same for 2¹⁶ tokens. Below `least` such cotangents would be no normal numbers
 * of f16, and above `most` no numbers of it at all.
 */
export const LOSS_SCALE: LossScaleRule = {
  ...{ initial: 1, least: 2 ** -14, most: 2 ** 15, factor: 2, interval: 2000 },
};

/** State of a scale: tensors f32[] by name, beside an optimiser's. */
export type LossScaleState = Readonly<Record<string, Tensor>>;

/** How losses are scaled. */
export interface LossScale {
  readonly state: Readonly<Record<string, { readonly aval: Aval; readonly initial: number }>>;
  /** The scale of a step, f32[]. */
  readonly scale: (state: LossScaleState) => Tensor;
  /** The state after a step whose gradients are all finite where `isFinite`, bool[], is true. */
  readonly next: (state: LossScaleState, isFinite: Tensor) => LossScaleState;
}

/** Names of what a dynamic scale keeps: the scale, and the steps in a row that were good. */
const SCALE = "loss_scale", GOOD = "loss_scale_good_steps";

/** A scale that follows a rule. */
export function dynamicLossScale(
  { initial, least, most, factor, interval }: LossScaleRule = LOSS_SCALE,
): LossScale {
  const scalar = (initial: number) => ({ aval: aval([]), initial });
  return {
    state: { [SCALE]: scalar(initial), [GOOD]: scalar(0) },
    scale: (state) => state[SCALE]!,
    next: (state, isFinite) => {
      const scale = state[SCALE]!, good = add(state[GOOD]!, 1), more = lt(good, interval);
      const up = where(more, scale, minimum(mul(scale, factor), most));
      return {
        [SCALE]: where(isFinite, up, maximum(mul(scale, 1 / factor), least)),
        [GOOD]: where(isFinite, where(more, good, 0), 0),
      };
    },
  };
}

/** The same scale for all steps. */
export function fixedLossScale(scale: number): LossScale {
  return { state: {}, scale: () => fill(scale), next: () => ({}) };
}

/** What a run asks for: nothing where cotangents are stored in f32. */
export interface LossScaleOptions {
  readonly dtype: "f32" | "f16";
  /** Null: dynamic with f16, none with f32. */
  readonly lossScale: "dynamic" | number | null;
}

/** The scale that a run asks for; null where it has none, and its graph is that of f32. */
export function lossScaleOf({ dtype, lossScale }: LossScaleOptions): LossScale | null {
  if (dtype === "f32") return null;
  return lossScale === "dynamic" || lossScale === null ? dynamicLossScale() : fixedLossScale(lossScale);
}
