/** The tables of a comparison, made of its results alone. @module */
import { METHODS } from "../../train/mod.ts";
import { type Stat, statOf } from "../study/summary.ts";
import { describe, notesText, ratesText } from "./describe.ts";
import { failuresText } from "./failures.ts";
import type { Maker } from "./options.ts";
import type { PaperRecord, ScoreRecord, TimeRecord } from "./records.ts";
import { type Column, taskNamed } from "./suites.ts";

/** A row: what a maker's method came to. */
export interface MethodRow {
  readonly method: string;
  readonly maker: Maker;
  readonly trainable: number | null;
  /** By column: over seeds; null where there is none. */
  readonly scores: readonly (Stat | null)[];
  /** By column: runs whose numbers were not finite any more. */
  readonly diverged: readonly number[];
  /** Mean over the columns; null unless all are there and all are shares. */
  readonly average: number | null;
  readonly time: TimeRecord | null;
}

const MAKERS: readonly Maker[] = ["Gyre", "PEFT"];

/** A column of the table: a number of a task. */
export interface TaskColumn extends Column {
  readonly task: string;
}

/** Names of the tasks that results have. */
export function tasksIn(records: readonly PaperRecord[]): string[] {
  return [...new Set(records.flatMap((r) => r.kind === "score" ? [r.task] : []))];
}

/** The columns that results have, with the task in their titles. */
export function columnsIn(records: readonly PaperRecord[]): TaskColumn[] {
  return tasksIn(records).flatMap((name) => {
    const task = taskNamed(name),
      columns = task?.columns ?? [{ metric: "score", title: "score", share: true }];
    return columns.map((column) => ({
      ...column,
      task: name,
      title: `${task?.title ?? name} (${column.title})`,
    }));
  });
}

/** A record's number for a column; null where it has none. */
function valueOf({ metrics, score }: ScoreRecord, { metric }: Column): number | null {
  return metrics?.[metric] ?? (metric === "score" ? score : null);
}

/** Rows of the table, in the order of the methods, makers beside each other. */
export function methodRows(records: readonly PaperRecord[]): MethodRow[] {
  const columns = columnsIn(records);
  return METHODS.flatMap((method) =>
    MAKERS.flatMap((maker): MethodRow[] => {
      const own = records.filter((r) =>
        (r.kind === "score" || r.kind === "time") && r.maker === maker && r.method === method
      );
      if (own.length === 0) return [];
      const scored = own.filter((r): r is ScoreRecord => r.kind === "score");
      const perColumn = columns.map((column) => scored.filter((r) => r.task === column.task));
      const scores = perColumn.map((list, i) => statOf(list.flatMap((r) => valueOf(r, columns[i]!) ?? [])));
      const means = scores.flatMap((stat) => stat?.mean ?? []);
      const whole = means.length === columns.length && means.length > 0 && columns.every((c) => c.share);
      return [{
        method,
        maker,
        // Heads differ between tasks.
        trainable: Math.max(...scored.flatMap((r) => r.trainable ?? []), 0) || null,
        scores,
        diverged: perColumn.map((list) => list.filter((r) => r.metrics === null).length),
        average: whole ? statOf(means)!.mean : null,
        time: own.find((r): r is TimeRecord => r.kind === "time") ?? null,
      }];
    })
  );
}

const MIB = 2 ** 20;

/** Bytes that a time's record stands for: of the device, or of the process where that is the device. */
export function bytesOf({ deviceBytes, processBytes }: TimeRecord): number | null {
  return deviceBytes ?? processBytes;
}

/** The table and what it was made with, in markdown. */
export function paperTable(records: readonly PaperRecord[]): string {
  const columns = columnsIn(records), rows = methodRows(records);
  const seeds = Math.max(0, ...records.flatMap((r) => r.kind === "score" ? [r.seed + 1] : []));
  const averaged = columns.length > 1 && columns.every((c) => c.share);
  const head = [
    ...["method", "by", "trained", ...columns.map((c) => c.title)],
    ...(averaged ? ["mean"] : []),
    ...["ms a step", "÷ full", "peak MiB", "÷ full"],
  ];
  const full = (maker: Maker): TimeRecord | null =>
    rows.find((row) => row.maker === maker && row.method === "full")?.time ?? null;
  const cells = rows.map((row) => {
    const { time } = row, reference = full(row.maker);
    const bytes = time && bytesOf(time), most = reference && bytesOf(reference);
    return [
      ...[row.method, row.maker, row.trainable?.toLocaleString("en") ?? "–"],
      ...row.scores.map((stat, i) => scoreCell(stat, columns[i]!, row.diverged[i]!, seeds)),
      ...(averaged ? [row.average === null ? "–" : (100 * row.average).toFixed(1)] : []),
      time ? milliseconds(time.secondsPerStep) : "–",
      time && reference ? ratio(time.secondsPerStep / reference.secondsPerStep) : "–",
      bytes === null ? "–" : (bytes / MIB).toFixed(0),
      bytes === null || most === null ? "–" : ratio(bytes / most),
    ];
  });
  const line = (list: readonly string[]): string => `| ${list.join(" | ")} |`;
  return [
    describe(records),
    "",
    line(head),
    line(head.map((_, i) => i < 2 ? "---" : "---:")),
    ...cells.map(line),
    ...[ratesText(records), notesText(records), failuresText(records)].flatMap((text) =>
      text === "" ? [] : ["", text]
    ),
  ].join("\n");
}

/** A share in hundredths, `81.2 ± 1.3`, or a number as it is; with the number of seeds where not all are there. */
function scoreCell(stat: Stat | null, { share }: Column, diverged: number, seeds: number): string {
  const lost = diverged > 0 ? ` (${diverged} not finite)` : "";
  if (stat === null) return diverged > 0 ? "not finite" : "–";
  const { mean, sd, n } = stat;
  const show = (x: number): string => share ? (100 * x).toFixed(1) : x.toFixed(2);
  const spread = n < 2 ? "" : ` ± ${show(sd)}`;
  return `${show(mean)}${spread}${n + diverged < seeds ? ` (${n})` : ""}${lost}`;
}

function milliseconds(seconds: number): string {
  const ms = 1000 * seconds;
  return ms.toFixed(ms < 100 ? 1 : 0);
}

function ratio(x: number): string {
  return `${x.toFixed(2)}×`;
}
