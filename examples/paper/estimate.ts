/** What a comparison has still to do, and about how long it takes. @module */
import * as Effect from "effect/Effect";
import {
  classifyDryRun,
  type DryRun,
  dryRun,
  type DryRunHooks,
  parseCommandLine,
  showTable,
  UserError,
} from "../../train/mod.ts";
import { argvOf, trainFlags } from "./gyre.ts";
import type { Asked } from "./makers.ts";
import type { Maker } from "./options.ts";
import { choicesOf, commonOf, type Prepared, tasksFor } from "./prepared.ts";
import { readRecords, type RunChoice, type ScoreRecord } from "./records.ts";
import { ratesFor } from "./run.ts";
import { missingScores } from "./score.ts";
import type { PaperTask } from "./suites.ts";
import { missingTrials } from "./tune.ts";

/** The runs of a task by a maker. */
export interface Estimate {
  readonly maker: Maker;
  /** Its name, and what the runs are for where they make no score. */
  readonly task: string;
  readonly runs: number;
  readonly left: number;
  /** All that are left, one after another; null where nothing is known of any. */
  readonly seconds: number | null;
  /** What the time follows from. */
  readonly basis: string;
}

/**
 * What is left of each task: the time of a run from those that were made, of the same method where there is one; else from
 * two steps of the first method, which are taken for this. Rejects with UserError where a run could not be made.
 */
export async function estimate(prepared: Prepared): Promise<Estimate[]> {
  const { options, tasks } = prepared, found: Estimate[] = [];
  for (const maker of options.makers) {
    const known = readRecords(options.out, [maker]).filter((r): r is ScoreRecord => r.kind === "score");
    const missing = missingScores(prepared, maker, known, ratesFor(prepared));
    const trials = maker === "Gyre" && options.tune.length > 0 ? missingTrials(prepared) : [];
    for (const task of tasksFor(maker, tasks)) {
      const tried = trials.filter((trial) => trial.task === task.name);
      if (tried.length > 0) {
        const time = await timeOf(prepared, task, tried, known),
          runs = options.methods.length * options.tune.length;
        found.push({ maker, task: `${task.name}, rates`, runs, left: tried.length, ...time });
      }
      const left = missing.filter((choice) => choice.task === task.name);
      found.push({
        ...{ maker, task: task.name, runs: choicesOf(options, [task], maker).length, left: left.length },
        ...(left.length === 0 ? { seconds: 0, basis: "" } : await timeOf(prepared, task, left, known)),
      });
    }
  }
  return found;
}

async function timeOf(
  prepared: Prepared,
  task: PaperTask,
  left: readonly RunChoice[],
  known: readonly ScoreRecord[],
): Promise<Pick<Estimate, "seconds" | "basis">> {
  const own = known.filter((r) => r.task === task.name);
  if (own.length > 0) {
    const mean = (list: readonly ScoreRecord[]): number => list.reduce((n, r) => n + r.wall, 0) / list.length;
    const seconds = left.reduce((sum, { method }) => {
      const same = own.filter((r) => r.method === method);
      return sum + mean(same.length > 0 ? same : own);
    }, 0);
    return { seconds, basis: `${own.length} runs` };
  }
  const { maker, method } = left[0]!;
  if (maker !== "Gyre") return { seconds: null, basis: "no run yet" };
  const { seconds } = await measured(prepared, task, method);
  if (seconds === undefined) return { seconds: null, basis: "no run yet" };
  return { seconds: seconds * left.length, basis: `two steps of ${method}, without measuring` };
}

/** What `train.ts --dry-run` finds of a run. */
async function measured(prepared: Prepared, task: PaperTask, method: Asked["method"]): Promise<DryRun> {
  const { root, files } = prepared;
  const argv = argvOf(trainFlags(commonOf(prepared), {
    ...{ task, files: files.get(task.name)!, method, seed: 0, purpose: "time" },
    rates: ratesFor(prepared)(method, task.kind),
  }));
  const options = await parseCommandLine([...argv, "--dry-run"], { root, now: new Date() });
  const hooks: DryRunHooks = { say: () => {}, colour: false };
  const found = await Effect.runPromise(
    Effect.match((task.kind === "text" ? dryRun : classifyDryRun)(options, hooks), {
      onFailure: (error): DryRun | UserError => error,
      onSuccess: (value) => value,
    }),
  );
  if (found instanceof UserError) throw found;
  return found;
}

/** A table for people, and the time of all. */
export function showEstimates(list: readonly Estimate[], jobs: number): string {
  const rows = list.map(({ maker, task, runs, left, seconds, basis }) => [
    ...[task, maker, String(runs), String(left), seconds === null ? "unknown" : duration(seconds), basis],
  ]);
  const known = list.reduce((sum, e) => sum + (e.seconds ?? 0), 0);
  const more = list.some((e) => e.seconds === null) ? ", and those that are not known" : "";
  return `${showTable([["task", "by", "runs", "left", "time", "after"], ...rows])}\n` +
    `all one after another: ${duration(known)}${more}; --jobs ${jobs}` +
    (jobs > 1 ? `: at best ${duration(known / jobs)}` : "");
}

function duration(seconds: number): string {
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
