/** What results were made with, in words. @module */
import { type MethodName, METHODS } from "../../train/mod.ts";
import type { PaperRecord, ScoreRecord, Settings, TimeRecord, TuneRecord } from "./records.ts";
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

/** What was not as it was asked for; empty where all was. */
export function notesText(records: readonly PaperRecord[]): string {
  const noted = records.flatMap((r) =>
    r.kind === "score" && r.note !== undefined ? [`${r.maker}'s ${r.method}: ${r.note}.`] : []
  );
  return [...new Set(noted)].join(" ");
}

/** The learning rates of the scored runs, and what they were chosen among; empty where there are none. */
export function ratesText(records: readonly PaperRecord[]): string {
  const scored = records.filter((r): r is ScoreRecord => r.kind === "score");
  if (scored.length === 0) return "";
  const list = METHODS.flatMap((method) => {
    const own = new Set(scored.filter((r) => r.method === method).map((r) => showRates(r.settings)));
    return own.size === 0 ? [] : [`${method} ${[...own].join(" and ")}`];
  });
  const both = new Set(scored.map((r) => r.maker)).size > 1 ? ", for both makers" : "";
  const tried = records.filter((r): r is TuneRecord => r.kind === "tune");
  return `Learning rates (of orthogonal parameters after the stroke)${both}: ${list.join("; ")}.` +
    (tried.length === 0 ? "" : ` ${choiceText(scored, tried)}`);
}

function showRates({ lr, orthogonalLr }: Settings): string {
  return `${lr} / ${orthogonalLr}`;
}

/** How rates were chosen, and which methods might have done better with others. */
function choiceText(scored: readonly ScoreRecord[], tried: readonly TuneRecord[]): string {
  const on = [...new Set(tried.map((r) => titleOf(r.task)))];
  const triedOf = (method: MethodName): string[] => {
    const own = tried.filter((r) => r.method === method).map((r) => r.settings);
    const rising = own.toSorted((a, b) =>
      Number(a["lr"]) - Number(b["lr"]) || Number(a["orthogonalLr"]) - Number(b["orthogonalLr"])
    );
    return [...new Set(rising.map(showRates))];
  };
  const atEnd = (end: number): MethodName[] =>
    METHODS.filter((method) => {
      const all = triedOf(method), last = all.at(end);
      return all.length > 1 && scored.some((r) => r.method === method && showRates(r.settings) === last);
    });
  const ends = [["greatest", atEnd(-1)], ["least", atEnd(0)]] as const;
  const edges = ends.flatMap(([end, methods]) =>
    methods.length === 0 ? [] : [`the ${end} for ${methods.join(", ")}`]
  );
  return `They were chosen with Gyre among ${
    triedOf(tried[0]!.method).length
  } of each method by the loss on a fifth of ` +
    `the rows to learn of ${on.join(", ")}, which were held out for that` +
    `${edges.length === 0 ? "" : `; it was ${edges.join(", and ")}`}.`;
}
