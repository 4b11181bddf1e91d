/** Many layers from few. @module */
import type { RunBytes } from "../count_run.ts";
import type { StepNeeds } from "./measure.ts";

/**
 * Needs at `layers` layers from those at two smaller numbers: every layer more costs the same. Of intermediates this is
 * near but not exact, since buffers of one layer serve another. The largest buffer is that of the larger model.
 */
export function extrapolate(
  few: StepNeeds,
  more: StepNeeds,
  [fewer, several]: readonly [number, number],
  layers: number,
): StepNeeds {
  const at = (a: number, b: number): number => b + (b - a) / (several - fewer) * (layers - several);
  const keys = [
    "weights",
    "trained",
    "optimiser",
    "temporaries",
    "total",
    "trainable",
    "kernels",
    "operations",
    "traffic",
    "seconds",
  ] as const;
  const numbers = Object.fromEntries(keys.map((key) => [key, at(few[key], more[key])])) as Record<
    typeof keys[number],
    number
  >;
  const names = Object.keys(more.intermediates);
  return {
    ...numbers,
    largest: more.largest,
    intermediates: Object.fromEntries(
      names.map((name) => [name, Math.max(0, at(few.intermediates[name] ?? 0, more.intermediates[name]!))]),
    ),
  };
}

/** What a run needs at `layers` layers from what two smaller ones need: every layer more costs the same. */
export function extrapolateRun(
  few: RunBytes,
  more: RunBytes,
  [fewer, several]: readonly [number, number],
  layers: number,
): RunBytes {
  const at = (of: (r: RunBytes) => number): number =>
    of(more) + (of(more) - of(few)) / (several - fewer) * (layers - several);
  const step = { ...more.step };
  for (const key of ["weights", "trained", "optimiser", "temporaries", "total"] as const) {
    step[key] = at((r) => r.step[key]);
  }
  const start = at((r) => r.start), staying = at((r) => r.staying), steps = at((r) => r.steps);
  const evaluations = at((r) => r.evaluations), tasks = at((r) => r.tasks), answers = at((r) => r.answers);
  const together = staying + evaluations + tasks + answers + steps;
  return { step, start, staying, evaluations, tasks, answers, steps, peak: Math.max(start, together) };
}
