/** Learning rates, chosen on rows that are held out of those to learn. @module */
import { writeHeldOut } from "./files.ts";
import { doAll, type Done } from "./pool.ts";
import { countOf, nameOf, type Prepared, runsOf, settingsOf } from "./prepared.ts";
import { type Rates, triedRates, usualRates } from "./rates.ts";
import { addRecord, type PaperRecord, readRecords, type RunChoice, type TuneRecord } from "./records.ts";
import type { PaperTask } from "./suites.ts";

interface Trial extends RunChoice {
  readonly own: PaperTask;
  readonly rates: Rates;
}

/** The rates that were not tried yet, with the first seed. */
export function missingTrials(prepared: Prepared): Trial[] {
  const { options: { out, methods, tune } } = prepared, known = trialsIn(readRecords(out, ["Gyre"]));
  return methods.flatMap((method) =>
    tunedTasks(prepared).flatMap((own): Trial[] =>
      triedRates(usualRates(prepared, method, own.kind), method, tune)
        .map((rates) => ({ maker: "Gyre", task: own.name, method, seed: 0, own, rates }))
    )
  ).filter((trial) => !known.some((k) => isSame(prepared, k, trial)));
}

function tunedTasks({ tasks, options: { tuneTasks } }: Prepared): readonly PaperTask[] {
  return tasks.filter((task) => tuneTasks?.includes(task.name) ?? true);
}

/** Try the rates that were not tried yet, with Gyre; resolves with what is left. Rejects with UserError. */
export async function tuneAll(prepared: Prepared): Promise<Done> {
  const { options: { out, jobs }, files, late, narrator } = prepared, missing = missingTrials(prepared);
  const heldOut = new Map(
    tunedTasks(prepared).map((task) => [task.name, writeHeldOut(task, files.get(task.name)!)]),
  );
  const runs = runsOf(prepared, "Gyre"), name = (trial: Trial): string => `rates of ${nameOf(trial)}`;
  if (missing.length > 0 && !late()) {
    narrator.say(`rates to try: ${missing.length} runs of Gyre, ${jobs} at a time`);
  }
  const tally = countOf(missing.length);
  return await doAll(missing, {
    ...{ runs, jobs, late, narrator, name, kind: ({ method }) => `rates of ${method}`, turn: () => 0 },
    make: async (process, trial) => {
      const { own, rates, maker, task, method, seed } = trial;
      const { processor, heldOut: loss } = await runs.make(process, {
        ...{ task: own, files: heldOut.get(task)!, method, seed, rates, purpose: "loss" },
      });
      const settings = settingsOf(prepared, own, method, rates);
      addRecord(out, { kind: "tune", maker, task, method, seed, rates, settings, processor, loss });
      narrator.say(
        `${name(trial)}: ${rates.lr} / ${rates.orthogonalLr}: loss ${
          loss?.toFixed(4) ?? "not finite"
        } ${tally()}`,
      );
      return true;
    },
    failed: ({ own, rates, ...choice }, reason) =>
      addRecord(out, {
        ...{
          kind: "failed",
          of: "tune",
          ...choice,
          settings: settingsOf(prepared, own, choice.method, rates),
        },
        reason,
      }),
  });
}

/** The rates among results that were tried. */
export function trialsIn(records: readonly PaperRecord[]): TuneRecord[] {
  return records.filter((r): r is TuneRecord => r.kind === "tune");
}

function isSame(prepared: Prepared, known: TuneRecord, { task, method, rates, own }: Trial): boolean {
  if (known.task !== task || known.method !== method) return false;
  const settings = settingsOf(prepared, own, method, rates);
  return Object.entries(settings).every(([key, value]) => known.settings[key] === value);
}
