/** The scored runs of a comparison. @module */
import type { MethodName } from "../../train/mod.ts";
import type { Made, RunMaker } from "./makers.ts";
import type { Maker } from "./options.ts";
import { doAll, type Done } from "./pool.ts";
import { choicesOf, countOf, nameOf, type Prepared, runsOf, settingsOf } from "./prepared.ts";
import type { Rates } from "./rates.ts";
import {
  addRecord,
  type PaperRecord,
  readRecords,
  recordOf,
  type RunChoice,
  type ScoreRecord,
  type Settings,
} from "./records.ts";
import type { PaperTask } from "./suites.ts";
import type { Talker } from "./talker.ts";

/** The rates of a method for tasks of a kind. */
export type RatesFor = (method: MethodName, kind: PaperTask["kind"]) => Rates;

/** The scored runs that no record is there of. Throws UserError for a record of other settings. */
export function missingScores(
  prepared: Prepared,
  maker: Maker,
  known: readonly PaperRecord[],
  rates: RatesFor,
): RunChoice[] {
  const { options, tasks } = prepared;
  return choicesOf(options, tasks, maker).filter((choice) => {
    const task = tasks.find((t) => t.name === choice.task)!;
    const settings = settingsOf(prepared, task, choice.method, rates(choice.method, task.kind));
    return !recordOf<ScoreRecord>(known, { kind: "score", ...choice, settings });
  });
}

/** Make those of a maker that are missing; resolves with what is left. Rejects with UserError. */
export async function scoreAll(prepared: Prepared, maker: Maker, rates: RatesFor): Promise<Done> {
  const { options: { out, jobs }, late, narrator } = prepared, runs = runsOf(prepared, maker);
  const missing = missingScores(prepared, maker, readRecords(out, [maker]), rates);
  if (missing.length > 0 && !late()) {
    narrator.say(`${maker}: ${missing.length} runs to score, ${jobs} at a time`);
  }
  const settings = (choice: RunChoice): Settings => {
    const task = prepared.tasks.find((t) => t.name === choice.task)!;
    return settingsOf(prepared, task, choice.method, rates(choice.method, task.kind));
  };
  const tally = countOf(missing.length);
  return await doAll(missing, {
    ...{ runs, jobs, late, narrator, name: nameOf },
    kind: ({ method }) => `${maker} ${method}`,
    turn: ({ seed }) => seed,
    make: async (process, choice) => {
      const record = await scoreOf(prepared, runs, process, choice, rates), { score, wall } = record;
      addRecord(out, record);
      narrator.say(
        `${nameOf(choice)}: ${score === null ? "not finite" : score.toFixed(4)}, ${
          wall.toFixed(1)
        } s ${tally()}`,
      );
      return true;
    },
    failed: (choice, reason) =>
      addRecord(out, { kind: "failed", of: "score", ...choice, settings: settings(choice), reason }),
  });
}

async function scoreOf(
  prepared: Prepared,
  runs: RunMaker,
  process: Talker,
  choice: RunChoice,
  ratesFor: RatesFor,
): Promise<ScoreRecord> {
  const { method, seed } = choice, begun = performance.now();
  const task = prepared.tasks.find((t) => t.name === choice.task)!, files = prepared.files.get(task.name)!;
  const rates = ratesFor(method, task.kind);
  const made: Made = await runs.make(process, { task, files, method, seed, rates, purpose: "score" });
  const { processor, metrics, score, trainable, loss, note } = made,
    wall = (performance.now() - begun) / 1000;
  const settings = settingsOf(prepared, task, method, rates);
  return {
    kind: "score",
    ...choice,
    settings,
    processor,
    metrics,
    score,
    trainable,
    loss,
    wall,
    ...(note && { note }),
  };
}
