/** What results were made with, in words. @module */
import type { PaperRecord, ScoreRecord, Settings, TimeRecord } from "./records.ts";
import { taskNamed } from "./suites.ts";

/** Paragraphs of markdown above a table: model, processors, budgets, how time and memory were measured. */
export function describe(records: readonly PaperRecord[]): string {
  const scored = records.filter((r): r is ScoreRecord => r.kind === "score");
  const [timed] = records.filter((r): r is TimeRecord => r.kind === "time");
  const made = records.filter((r) => r.kind !== "failed");
  const models = valuesOf(records.map((r) => r.settings), "model").map((m) =>
    `${m}`.replace(/ [0-9a-f]{10}$/, "")
  );
  const processors = [...new Set(made.map((r) => `${r.processor} (${r.maker})`))].sort();
  return [
    `Model: ${models.join(", ")}. Processor: ${processors.join(", ")}.`,
    ...(scored.length > 0 ? [budgetsOf(scored)] : []),
    ...(timed ? [timingOf(timed)] : []),
  ].join("\n\n");
}

/** Different values of a setting, in the order in which they occur. */
function valuesOf(settings: readonly Settings[], name: string): (string | number)[] {
  return [...new Set(settings.flatMap((s) => s[name] ?? []))];
}

function titleOf(task: string): string {
  return taskNamed(task)?.title ?? task;
}

function count(n: string | number | undefined): string {
  return Number(n).toLocaleString("en");
}

function budgetsOf(scored: readonly ScoreRecord[]): string {
  const settings = scored.map((r) => r.settings), [one] = settings as [Settings];
  const tasks = Map.groupBy(scored, (r) => r.task), seeds = new Set(scored.map((r) => r.seed)).size;
  const byBudget = Map.groupBy([...tasks], ([, own]) => {
    const { steps, batch, seq, evalRows } = own[0]!.settings;
    return `${count(steps)} steps of ${batch} rows, at most ${seq} tokens, measured on at most ${
      count(evalRows)
    } rows`;
  });
  const budgets = [...byBudget].map(([budget, own]) =>
    `${own.map(([task]) => titleOf(task)).join(", ")}: ${budget}`
  );
  const heads = valuesOf(settings, "head").map((head) => `; adapters train ${head} whole`);
  return `${budgets.join("; ")} of each file; learnt from at most ${
    count(one["rows"])
  } rows of each training file. ` +
    `Shares in hundredths; ${
      seeds === 1 ? "one seed" : `mean ± sample standard deviation over ${seeds} seeds`
    }. ` +
    `Rank and reflections ${one["rank"]}, AdamW, cosine, no dropout${heads.join("")}.`;
}

function timingOf({ settings: { batch, length, task, steps }, deviceBytes }: TimeRecord): string {
  const peak = deviceBytes === null
    ? "peak of the process"
    : "peak of what is allocated on the device while training";
  return `Time and memory: each method alone, ${batch} rows of ${length} tokens of ${
    titleOf(`${task}`)
  }, over the ` +
    `second half of ${steps} steps; ${peak}.`;
}
