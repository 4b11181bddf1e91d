/** Work for processes that run side by side. @module */
import { UserError } from "../../train/mod.ts";
import type { RunMaker } from "./makers.ts";
import type { Talker } from "./talker.ts";

/** Runs that may fail before the comparison is given up: what is wrong is wrong with all of them. */
const TOO_MANY_FAILURES = 4;

/** What there is to do, and how. */
export interface Pool<T> {
  readonly runs: RunMaker;
  readonly jobs: number;
  /** Begin nothing more. */
  readonly late: () => boolean;
  /** Items with one key share kernels: a process takes them one after another. */
  readonly key: (item: T) => string;
  readonly name: (item: T) => string;
  readonly make: (process: Talker, item: T) => Promise<void>;
  readonly say: (line: string) => void;
}

/**
 * Do all items, in their order as far as processes go; resolves with how many are left. An item that fails is told of and
 * left. Rejects with UserError where several do.
 */
export async function doAll<T>(all: readonly T[], pool: Pool<T>): Promise<number> {
  const { runs, jobs, late, key, name, make, say } = pool, waiting = [...all];
  let failures = 0;
  const work = async (): Promise<void> => {
    let process: Talker | null = null, last: string | null = null;
    try {
      while (!late() && failures < TOO_MANY_FAILURES) {
        const [item] = waiting.splice(Math.max(0, waiting.findIndex((other) => key(other) === last)), 1);
        if (item === undefined) return;
        last = key(item);
        try {
          process ??= runs.start();
          await make(process, item);
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          failures++;
          say(`${name(item)}: ${error.message}`);
          await process?.[Symbol.asyncDispose]();
          process = null;
        }
      }
    } finally {
      await process?.[Symbol.asyncDispose]();
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, all.length) }, work));
  if (failures >= TOO_MANY_FAILURES) throw new UserError(`${failures} runs could not be made.`);
  return waiting.length + failures;
}
