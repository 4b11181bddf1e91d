/** Learning rates, chosen on rows that are held out of those to learn. @module */
import { writeHeldOut } from "./files.ts";
import { doAll } from "./pool.ts";
import { nameOf, type Prepared, runsOf, say, settingsOf } from "./prepared.ts";
import { type Rates, triedRates, usualRates } from "./rates.ts";
import { addRecord, type PaperRecord, readRecords, type RunChoice, type TuneRecord } from "./records.ts";
import type { PaperTask } from "./suites.ts";

interface Trial extends RunChoice {
  readonly own: PaperTask;
  readonly rates: Rates;
}

/**
 * Try the rates that were not tried yet, with Gyre and the first seed; resolves with how many are left. Rejects with
 * UserError.
 */
export async function tuneAll(prepared: Prepared): Promise<number> {
  const { options, tasks, files, late } = prepared, { out, jobs, methods, tune, tuneTasks } = options;
  const asked = tasks.filter((task) => tuneTasks?.includes(task.name) ?? true);
  const heldOut = new Map(asked.map((task) => [task.name, writeHeldOut(task, files.get(task.name)!)]));
  const known = trialsIn(readRecords(out, ["Gyre"]));
  const missing = methods.flatMap((method) =>
    asked.flatMap((own): Trial[] =>
      triedRates(usualRates(prepared, method, own.kind), method, tune)
        .map((rates) => ({ maker: "Gyre", task: own.name, method, seed: 0, own, rates }))
    )
  ).filter((trial) => !known.some((k) => isSame(prepared, k, trial)));
  const runs = runsOf(prepared, "Gyre"), name = (trial: Trial): string => `rates of ${nameOf(trial)}`;
  if (missing.length > 0) say(`rates to try: ${missing.length} runs of Gyre`);
  return await doAll(missing, {
    ...{ runs, jobs, late, key: (trial) => trial.method, name, say },
    make: async (process, trial) => {
      const { own, rates, maker, task, method, seed } = trial;
      const { processor, heldOut: loss } = await runs.make(process, {
        ...{ task: own, files: heldOut.get(task)!, method, seed, rates, purpose: "loss" },
      });
      const settings = settingsOf(prepared, own, method, rates);
      addRecord(out, { kind: "tune", maker, task, method, seed, rates, settings, processor, loss });
      say(`${name(trial)}: ${rates.lr} / ${rates.orthogonalLr}: loss ${loss?.toFixed(4) ?? "not finite"}`);
    },
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
