/** The tables of a comparison, made of its results alone. @module */
import { METHODS } from "../../train/mod.ts";
import { type Stat, statOf } from "../study/summary.ts";
import type { Maker } from "./options.ts";
import type { PaperRecord, ScoreRecord, Settings, TimeRecord } from "./records.ts";
import { taskNamed } from "./suites.ts";

/** A row: what a maker's method came to. */
export interface MethodRow {
  readonly method: string;
  readonly maker: Maker;
  readonly trainable: number | null;
  /** By task: over seeds; null where there is none. */
  readonly scores: readonly (Stat | null)[];
  /** By task: runs whose numbers were not finite any more. */
  readonly diverged: readonly number[];
  /** Mean over the tasks; null unless all are there. */
  readonly average: number | null;
  readonly time: TimeRecord | null;
}

const MAKERS: readonly Maker[] = ["Gyre", "PEFT"];

/** Names of the tasks that results have. */
export function tasksIn(records: readonly PaperRecord[]): string[] {
  return [...new Set(records.flatMap((r) => r.kind === "score" ? [r.task] : []))];
}

/** Rows of the table, in the order of the methods, makers beside each other. */
export function methodRows(records: readonly PaperRecord[]): MethodRow[] {
  const tasks = tasksIn(records);
  return METHODS.flatMap((method) =>
    MAKERS.flatMap((maker): MethodRow[] => {
      const own = records.filter((r) => r.maker === maker && r.method === method);
      if (own.length === 0) return [];
      const scored = own.filter((r): r is ScoreRecord => r.kind === "score");
      const perTask = tasks.map((task) => scored.filter((r) => r.task === task));
      const scores = perTask.map((list) => statOf(list.flatMap((r) => r.score ?? [])));
      const means = scores.flatMap((stat) => stat?.mean ?? []);
      return [{
        method,
        maker,
        // Heads differ between tasks.
        trainable: Math.max(...scored.flatMap((r) => r.trainable ?? []), 0) || null,
        scores,
        diverged: perTask.map((list) => list.filter((r) => r.score === null).length),
        average: tasks.length > 0 && means.length === tasks.length ? statOf(means)!.mean : null,
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
  const tasks = tasksIn(records), rows = methodRows(records);
  const seeds = Math.max(0, ...records.flatMap((r) => r.kind === "score" ? [r.seed + 1] : []));
  const titles = tasks.map((name) => taskNamed(name)?.title ?? name);
  const head = [
    ...["method", "by", "trained", ...titles],
    ...(tasks.length > 1 ? ["mean"] : []),
    ...["ms a step", "÷ full", "peak MiB", "÷ full"],
  ];
  const full = (maker: Maker): TimeRecord | null =>
    rows.find((row) => row.maker === maker && row.method === "full")?.time ?? null;
  const cells = rows.map((row) => {
    const { time } = row, reference = full(row.maker);
    const bytes = time && bytesOf(time), most = reference && bytesOf(reference);
    return [
      ...[row.method, row.maker, row.trainable?.toLocaleString("en") ?? "–"],
      ...row.scores.map((stat, i) => scoreCell(stat, row.diverged[i]!, seeds)),
      ...(tasks.length > 1 ? [row.average === null ? "–" : (100 * row.average).toFixed(1)] : []),
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
  ].join("\n");
}

/** A score in hundredths: `81.2 ± 1.3`, with the number of seeds where not all are there. */
function scoreCell(stat: Stat | null, diverged: number, seeds: number): string {
  const lost = diverged > 0 ? ` (${diverged} not finite)` : "";
  if (stat === null) return diverged > 0 ? "not finite" : "–";
  const { mean, sd, n } = stat;
  const spread = n < 2 ? "" : ` ± ${(100 * sd).toFixed(1)}`;
  return `${(100 * mean).toFixed(1)}${spread}${n + diverged < seeds ? ` (${n})` : ""}${lost}`;
}

function milliseconds(seconds: number): string {
  const ms = 1000 * seconds;
  return ms.toFixed(ms < 100 ? 1 : 0);
}

function ratio(x: number): string {
  return `${x.toFixed(2)}×`;
}

/** Different values of a setting, in the order in which they occur. */
function valuesOf(settings: readonly Settings[], name: string): (string | number)[] {
  return [...new Set(settings.flatMap((s) => s[name] ?? []))];
}

/** What results were made with, in words. */
export function describe(records: readonly PaperRecord[]): string {
  const scored = records.filter((r): r is ScoreRecord => r.kind === "score");
  const timed = records.filter((r): r is TimeRecord => r.kind === "time");
  const count = (n: string | number | undefined): string => Number(n).toLocaleString("en");
  const models = valuesOf(records.map((r) => r.settings), "model").map((m) => String(m).split(" ")[0]);
  const processors = [...new Set(records.map((r) => `${r.processor} (${r.maker})`))].sort();
  const budgets = tasksIn(records).map((task) => {
    const { settings } = scored.find((r) => r.task === task)!;
    const { steps, batch, seq } = settings;
    return `${
      (taskNamed(task)?.title ?? task).replace(/ \(.*/, "")
    } ${steps} steps of ${batch} rows, at most ${seq} tokens`;
  });
  const seeds = new Set(scored.map((r) => r.seed)).size;
  const [one] = scored, [alone] = timed;
  const parts = [
    `Model: ${models.join(", ")}. Processor: ${processors.join(", ")}.`,
    one &&
    `Budgets: ${budgets.join("; ")}; out of ${
        count(one.settings["rows"])
      } rows of each training file at most. Scores in ` +
      `hundredths on up to ${
        count(one.settings["evalRows"])
      } rows, mean ± sample standard deviation over ${seeds} seeds. ` +
      `Rank and reflections ${one.settings["rank"]}, AdamW, cosine, no dropout.`,
    alone &&
    `Time and memory: each method alone, ${alone.settings["batch"]} rows of ${
        alone.settings["length"]
      } tokens, over the ` +
      `second half of ${alone.settings["steps"]} steps; ${
        alone.deviceBytes === null
          ? "peak of the process"
          : "peak of what is allocated on the device while training"
      }.`,
  ];
  return parts.filter((part) => part !== undefined).join("\n\n");
}
