/** The runs of a comparison: rates where they are to be chosen, then times, then scores. @module */
import { type Done, sumOf } from "./pool.ts";
import type { Prepared } from "./prepared.ts";
import { chosenRates, ratesOf } from "./rates.ts";
import { readRecords } from "./records.ts";
import { type RatesFor, scoreAll } from "./score.ts";
import { taskNamed } from "./suites.ts";
import { timeAll } from "./time.ts";
import { missingTrials, trialsIn, tuneAll } from "./tune.ts";

/** The rates of each method as things stand: what was chosen by trying counts where that is asked for. */
export function ratesFor({ options, model, root }: Prepared): RatesFor {
  const { rates, tune, out } = options;
  const tuned = tune.length === 0
    ? new Map()
    : chosenRates(trialsIn(readRecords(out, ["Gyre"])), (task) => taskNamed(task)!.kind);
  return (method, kind) => ratesOf({ rates, tuned, model, root }, method, kind);
}

/** Make the runs that are missing; resolves with what is left when they are made, or the time is over. Rejects with UserError. */
export async function runMissing(prepared: Prepared): Promise<Done> {
  const { makers, tune, methods } = prepared.options, done: Done[] = [];
  let ready = prepared;
  if (tune.length > 0) {
    done.push(await tuneAll(prepared));
    // A method whose rate is not chosen yet would have to be run again once it is.
    const untried = new Set(missingTrials(prepared).map(({ method }) => method));
    ready = {
      ...prepared,
      options: { ...prepared.options, methods: methods.filter((m) => !untried.has(m)) },
    };
  }
  const rates = ratesFor(ready);
  // Times before scores, while nothing else runs.
  for (const maker of makers) done.push(await timeAll(ready, maker, rates));
  return sumOf([...done, ...await Promise.all(makers.map((maker) => scoreAll(ready, maker, rates)))]);
}
