/** The runs of a comparison: rates where they are to be chosen, then times, then scores. @module */
import type { Prepared } from "./prepared.ts";
import { chosenRates, ratesOf } from "./rates.ts";
import { readRecords } from "./records.ts";
import { type RatesFor, scoreAll } from "./score.ts";
import { taskNamed } from "./suites.ts";
import { timeAll } from "./time.ts";
import { trialsIn, tuneAll } from "./tune.ts";

/** The rates of each method as things stand: what was chosen by trying counts where that is asked for. */
export function ratesFor({ options, model, root }: Prepared): RatesFor {
  const { rates, tune, out } = options;
  const tuned = tune.length === 0
    ? new Map()
    : chosenRates(trialsIn(readRecords(out, ["Gyre"])), (task) => taskNamed(task)!.kind);
  return (method, kind) => ratesOf({ rates, tuned, model, root }, method, kind);
}

/** Make the runs that are missing; resolves with how many are left when the time is over. Rejects with UserError. */
export async function runMissing(prepared: Prepared): Promise<number> {
  const { makers, tune } = prepared.options;
  if (tune.length > 0) {
    // Without its rate no run can be made.
    const left = await tuneAll(prepared);
    if (left > 0) return left;
  }
  const rates = ratesFor(prepared);
  let left = 0;
  // Times before scores, while nothing else runs.
  for (const maker of makers) left += await timeAll(prepared, maker, rates);
  const more = await Promise.all(makers.map((maker) => scoreAll(prepared, maker, rates)));
  return more.reduce((a, b) => a + b, left);
}
