/** The numbers that a run came to, and its curves before they are drawn. @module */
import { showBytes } from "../../core/mod.ts";
import { known, type Point, smooth, thin } from "./curves.ts";
import { type Html, markup } from "./html.ts";
import { asFields, type Fields, finite, type MetricsRow, type RunRecord } from "./record.ts";

/** Points of a drawn line. */
export const MOST_POINTS = 400;

/** A column of the metrics over the steps. */
export function column(rows: readonly MetricsRow[], of: (row: MetricsRow) => number | null): Point[] {
  return known(rows.map((row) => ({ x: row.step, y: of(row) })));
}

/** The loss smoothed over a fortieth of the run, at least three steps. */
export function smoothLoss(rows: readonly MetricsRow[]): Point[] {
  const all = column(rows, (r) => r.loss);
  return thin(smooth(all, Math.max(3, all.length / 40)), MOST_POINTS);
}

/** Held-out losses as far as they were measured: before the first step, between steps, after the last. */
export function heldOut({ rows, evaluations, result }: RunRecord): Point[] {
  const found = known(evaluations.map(({ step, heldOut }) => ({ x: step, y: heldOut["loss"] ?? null })));
  if (found.length > 0) return found;
  // Earlier versions said them at the end alone.
  return known([
    { x: 0, y: finite(result["eval_before"]) },
    { x: rows.at(-1)?.step ?? 0, y: finite(result["eval_after"]) },
  ]);
}

/** A number of a page: four digits. */
export function shortly(value: number | null): string {
  if (value === null) return "–";
  const size = Math.abs(value);
  if (size >= 1e4) return Math.round(value).toLocaleString("en");
  return size !== 0 && size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** A share as per cent. */
export function percent(value: number | null): string {
  return value === null ? "–" : `${(100 * value).toFixed(1)}\u00a0%`;
}

/** What a run came to, as names and texts; what was not measured is left out. */
export function keyFigures({ rows, result }: RunRecord): readonly (readonly [name: string, shown: string])[] {
  const of = (name: string): number | null => finite(result[name]);
  const both = (name: string, show: (x: number | null) => string): string | null =>
    of(`${name}_before`) === null ? null : `${show(of(`${name}_before`))} → ${show(of(`${name}_after`))}`;
  const first = rows[0]?.loss ?? null, peak = of("peak_bytes"), trainable = of("trainable");
  const last = of("loss_after") ?? smoothLoss(rows).at(-1)?.y ?? null;
  const speed = of("tokens_per_s") ?? rows.at(-1)?.tokensPerSecond ?? null;
  const all: readonly (readonly [string, string | null])[] = [
    ["held-out loss", both("eval", shortly)],
    ["held-out exact match", both("exact", percent)],
    ...taskMetrics(result),
    ...askedMetrics(result),
    ["best step, whose state is left", of("best_step") === null ? null : String(of("best_step"))],
    ["training loss", first === null ? null : `${shortly(first)} → ${shortly(last)}`],
    ["steps", rows.length === 0 ? null : String(rows.at(-1)!.step)],
    ["tokens per second", speed === null ? null : shortly(Math.round(speed))],
    ["most device memory", peak === null ? null : showBytes(peak)],
    ["trainable parameters", trainable === null ? null : trainable.toLocaleString("en")],
  ];
  return all.flatMap(([name, shown]) => shown === null ? [] : [[name, shown] as const]);
}

/** Metrics of a task, before and after. */
function taskMetrics(result: Fields): (readonly [name: string, shown: string])[] {
  const before = asFields(result["metrics_before"]), after = asFields(result["metrics_after"]);
  return Object.keys(after).map((name) => {
    const was = finite(before[name]), now = shortly(finite(after[name]));
    return [`held-out ${name}`, was === null ? now : `${shortly(was)} → ${now}`] as const;
  });
}

/** The main metrics of the tasks of `--eval`, before and after. */
function askedMetrics(result: Fields): (readonly [name: string, shown: string])[] {
  const before = asFields(result["tasks_before"]), after = asFields(result["tasks_after"]);
  return Object.keys(after).flatMap((task) => {
    const [main] = Object.entries(asFields(after[task]));
    if (!main) return [];
    const was = finite(asFields(before[task])[main[0]]), now = shortly(finite(main[1]));
    const name = main[0] === task ? task : `${task} ${main[0].replaceAll("_", " ")}`;
    return [[name, was === null ? now : `${shortly(was)} → ${now}`] as const];
  });
}

/** The key figures as tiles. */
export function tiles(run: RunRecord): Html {
  const each = keyFigures(run).map(([name, shown]) =>
    markup`<div class="tile"><b>${shown}</b><span class="soft small">${name}</span></div>`
  );
  return markup`<div class="tiles">${each}</div>`;
}
