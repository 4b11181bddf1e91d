/** The table of a study on GLUE. @module */
import { GLUE_TASKS, type GlueTaskName, METHODS } from "../../train/mod.ts";
import type { GlueStudy, Maker } from "./options.ts";
import type { RunRecord } from "./runs.ts";

/** Names of the tasks as the benchmark writes them. */
const TITLES: Readonly<Record<GlueTaskName, string>> = {
  cola: "CoLA",
  sst2: "SST-2",
  mrpc: "MRPC",
  stsb: "STS-B",
  qqp: "QQP",
  mnli: "MNLI",
  qnli: "QNLI",
  rte: "RTE",
  wnli: "WNLI",
};

/** Mean and, of two values or more, the deviation of a single one (n − 1). */
export function meanAndDeviation(
  values: readonly number[],
): { readonly mean: number; readonly deviation: number | null } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  if (values.length < 2) return { mean, deviation: null };
  const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)) };
}

/** A score in hundredths: `81.2 ± 1.3`, with the number of seeds where not all are there. */
function scoreCell(scores: readonly number[], seeds: number): string {
  if (scores.length === 0) return "–";
  const { mean, deviation } = meanAndDeviation(scores);
  const spread = deviation === null ? "" : ` ± ${(100 * deviation).toFixed(1)}`;
  return `${(100 * mean).toFixed(1)}${spread}${scores.length < seeds ? ` (${scores.length})` : ""}`;
}

function mean(values: readonly number[]): number {
  return meanAndDeviation(values).mean;
}

/** The table and what it was made with, in markdown. */
export function glueTable(study: GlueStudy, records: readonly RunRecord[]): string {
  const { tasks, seeds } = study;
  const makers: readonly Maker[] = ["Gyre", "PEFT"];
  const scored = tasks.map((t) => `${TITLES[t]} (${GLUE_TASKS[t].metrics.join("/")})`);
  const head = ["method", "by", "trained", ...scored, "ms a step", "peak MiB"];
  const rows = METHODS.filter((m) => study.methods.includes(m)).flatMap((method) =>
    makers.flatMap((maker) => {
      const own = records.filter((r) => r.maker === maker && r.method === method);
      if (own.length === 0) return [];
      const peaks = own.flatMap((r) => r.peakBytes ?? []);
      // Means over the tasks, each of them counted once.
      const perTask = tasks.map((t) => own.filter((r) => r.task === t)).filter((list) => list.length > 0);
      return [[
        method,
        maker,
        own[0]!.trainable.toLocaleString("en"),
        ...tasks.map((t) => scoreCell(own.filter((r) => r.task === t).map((r) => r.score), seeds.length)),
        perTask.length < tasks.length
          ? "–"
          : (1000 * mean(perTask.map((list) => mean(list.map((r) => r.secondsPerStep))))).toFixed(0),
        peaks.length === 0 ? "–" : (Math.max(...peaks) / 2 ** 20).toFixed(0),
      ]];
    })
  );
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [
    describe(study),
    "",
    line(head),
    line(head.map((_, i) => i < 2 ? "---" : "---:")),
    ...rows.map(line),
  ].join("\n");
}

function describe(study: GlueStudy): string {
  const { rows, evalRows, steps, batch, seq, rank, seeds, device } = study;
  const name = study.model.replace(/\/$/, "").split("/").slice(-2).join("/");
  return `\`${name}\`, ${device}; ${steps} steps of ${batch} rows out of ${
    rows.toLocaleString("en")
  } of each training ` +
    `file, at most ${seq} tokens; scores in hundredths on up to ${evalRows} rows of each dev file, evenly spread, mean and deviation ` +
    `over ${seeds.length} seeds (in parentheses, of how many seeds where not all are there). Rank and reflections ${rank}, AdamW, cosine, no dropout; the head is trained whole. ` +
    "Times are means over the tasks, without the first step; memory is the most that a process of any of the runs had.";
}
