/** Learning-rate schedules: pure functions from a step to a multiplier of the learning rate. @module */

/** Shape after the warm-up. */
export type ScheduleName = "cosine" | "linear" | "constant";

/** Share of the learning rate in (0, 1], by step, counted from 0. */
export type Schedule = (step: number) => number;

/** Multiplier by the share of the way from the end of the warm-up (0) to the end of training (1). */
const SHAPES: Readonly<Record<ScheduleName, (progress: number) => number>> = {
  cosine: (p) => (1 + Math.cos(Math.PI * p)) / 2,
  linear: (p) => 1 - p,
  constant: () => 1,
};

/**
 * Rise linearly to 1 over `warmup` steps (step 0 already moves: 1/warmup), then follow the named shape, which would
 * reach 0 at step `total`, one after the last. Steps beyond give 0, or 1 for `constant`.
 */
export function schedule(
  name: ScheduleName,
  { warmup, total }: { readonly warmup: number; readonly total: number },
): Schedule {
  const shape = SHAPES[name];
  return (step) => {
    if (step < warmup) return (step + 1) / warmup;
    return shape(Math.min(1, (step - warmup) / Math.max(1, total - warmup)));
  };
}

/** Steps of warm-up: a number below 1 is a share of all steps, others are steps; never more than all. */
export function warmupSteps(warmup: number, total: number): number {
  return Math.min(total, warmup < 1 ? Math.round(warmup * total) : Math.round(warmup));
}
