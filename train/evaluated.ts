/** Numbers of an evaluation: what they are called in `metrics.jsonl` and TensorBoard, and how people read them. @module */
import type { Numbers } from "./evaluation/task.ts";

/** What a model did on held-out rows and tasks. */
export interface Evaluated {
  /** Mean loss per trained token, or per row of a task of GLUE; null without held-out rows. */
  readonly loss: number | null;
  /** Share of exact matches; null or absent where nothing was answered. */
  readonly exact?: number | null;
  /** Of encoders: the task's metrics by name. */
  readonly metrics?: Readonly<Record<string, number>>;
  /** Of tasks of `--eval`: their metrics, as `evaluate.ts` names them, by the tasks' names. */
  readonly tasks?: Readonly<Record<string, Numbers>>;
}

/** An evaluation in a run. */
export interface EvaluationReport {
  /** Steps done; 0: before the first one. */
  readonly step: number;
  /** Seconds that the steps took so far, evaluations left out. */
  readonly seconds?: number;
  readonly found: Evaluated;
}

/** Numbers of the held-out rows by name. */
export function heldOutNumbers({ loss, exact = null, metrics = {} }: Evaluated): Record<string, number> {
  return {
    ...(loss === null ? {} : { loss }),
    ...(exact === null ? {} : { exact_match: exact }),
    ...metrics,
  };
}

/** All numbers by the names that TensorBoard shows: it groups them by what stands before the slash. */
export function evaluationScalars(found: Evaluated | null): Record<string, number> {
  if (!found) return {};
  const held = Object.entries(heldOutNumbers(found)).map(([name, n]) => [`held_out/${name}`, n] as const);
  const tasks = Object.entries(found.tasks ?? {}).flatMap(([task, numbers]) =>
    Object.entries(numbers).flatMap(([name, n]) =>
      n === null ? [] : [[`${task.replace("/", "_")}/${name}`, n] as const]
    )
  );
  return Object.fromEntries([...held, ...tasks]);
}

/** The number of a task that says most: its first. */
export function mainMetric(numbers: Numbers): readonly [name: string, value: number | null] | null {
  return Object.entries(numbers)[0] ?? null;
}

/** A line for each task: all its metrics before and after. */
export function showTasks(before: Evaluated, after: Evaluated): string[] {
  const digits = (n: number | null | undefined): string =>
    n === null || n === undefined ? "–" : Number.isInteger(n) ? String(n) : n.toPrecision(5);
  return Object.entries(after.tasks ?? {}).map(([task, numbers]) => {
    const was = before.tasks?.[task] ?? {};
    const each = Object.entries(numbers).map(([name, n]) =>
      was[name] === n ? `${name} ${digits(n)}` : `${name} ${digits(was[name])} → ${digits(n)}`
    );
    return `${task}: ${each.join(", ")}`;
  });
}

/** `held-out loss 0.5123, accuracy 0.8000; gsm8k exact_match 0.2500`. */
export function showEvaluated(found: Evaluated): string {
  const digits = (n: number | null): string => n === null ? "–" : n.toFixed(4);
  const held = Object.entries(heldOutNumbers(found)).map(([name, n]) => `${name} ${digits(n)}`).join(", ");
  const tasks = Object.entries(found.tasks ?? {}).flatMap(([task, numbers]) => {
    const main = mainMetric(numbers);
    return main ? [`${main[0] === task ? "" : `${task} `}${main[0]} ${digits(main[1])}`] : [];
  });
  return [...(held === "" ? [] : [`held-out ${held}`]), ...tasks].join("; ");
}
