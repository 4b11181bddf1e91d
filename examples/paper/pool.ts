/** Work for processes that run side by side. @module */
import { UserError } from "../../train/mod.ts";
import type { RunMaker } from "./makers.ts";
import type { Narrator } from "./narrator.ts";
import type { Talker } from "./talker.ts";

/** Failures of one kind, none of which went well, after which it is left alone. */
const MOST_OF_A_KIND = 2;
/** Failures before anything went well, after which all is left: what is wrong is wrong with all. */
const MOST_AT_FIRST = 4;

/** What there is to do, and how. */
export interface Pool<T> {
  readonly runs: Pick<RunMaker, "start">;
  readonly jobs: number;
  /** Begin nothing more. */
  readonly late: () => boolean;
  /** Items of a kind share kernels: a process takes them one after another. */
  readonly kind: (item: T) => string;
  /** Items of a lower turn are begun first. */
  readonly turn: (item: T) => number;
  readonly name: (item: T) => string;
  /** Resolves with whether the process may make another one. */
  readonly make: (process: Talker, item: T) => Promise<boolean>;
  /** Told of an item that could not be made. */
  readonly failed: (item: T, reason: string) => void;
  readonly narrator: Narrator;
}

/** What became of the work. */
export interface Done {
  /** Items that are not done, the failed ones included. */
  readonly left: number;
  readonly failed: number;
}

/** What did not come about, of several. */
export function sumOf(list: readonly Done[]): Done {
  const sum = (of: keyof Done): number => list.reduce((n, done) => n + done[of], 0);
  return { left: sum("left"), failed: sum("failed") };
}

/** Do all items by turns. An item that fails is told of and left, and so are kinds of which none goes well. */
export async function doAll<T>(all: readonly T[], pool: Pool<T>): Promise<Done> {
  const { runs, late, kind, turn, name, make, narrator: { say, during } } = pool;
  let waiting = [...all], failed = 0, done = 0;
  const well = new Set<string>(), failures = new Map<string, number>(), busy = new Map<string, number>();
  const take = (last: string | null): T | undefined => {
    if (late() || (done === 0 && failed >= MOST_AT_FIRST)) return undefined;
    const first = Math.min(...waiting.map(turn)), next = waiting.filter((item) => turn(item) === first);
    const item = next.find((other) => kind(other) === last) ??
      next.find((other) => !busy.get(kind(other))) ?? next[0];
    waiting = waiting.filter((other) => other !== item);
    return item;
  };
  const count = (of: Map<string, number>, key: string, more: number): number => {
    const sum = (of.get(key) ?? 0) + more;
    of.set(key, sum);
    return sum;
  };
  const fail = (item: T, reason: string): void => {
    failed++;
    say(`${name(item)} FAILED: ${reason}`);
    pool.failed(item, reason);
    const own = kind(item);
    if (count(failures, own, 1) < MOST_OF_A_KIND || well.has(own)) return;
    const given = waiting.filter((other) => kind(other) === own);
    waiting = waiting.filter((other) => kind(other) !== own);
    leftAlone += given.length;
    if (given.length > 0) say(`${own}: ${given.length} further runs are left, since none of it goes well`);
  };
  let leftAlone = 0;
  const work = async (): Promise<void> => {
    let process: Talker | null = null, last: string | null = null;
    const end = async (): Promise<void> => {
      await process?.[Symbol.asyncDispose]();
      process = null;
    };
    try {
      for (let item = take(last); item !== undefined; item = take(last)) {
        const own = item;
        last = kind(own);
        count(busy, last, 1);
        try {
          const talker: Talker = process ??= runs.start();
          const again = await during(name(own), talker.lastSaid, () => make(talker, own));
          done++;
          well.add(last);
          if (!again) await end();
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          fail(own, error.message);
          await end();
        } finally {
          count(busy, last, -1);
        }
      }
    } finally {
      await end();
    }
  };
  await Promise.all(Array.from({ length: Math.min(pool.jobs, all.length) }, work));
  if (done === 0 && failed >= MOST_AT_FIRST && waiting.length > 0) {
    say(`${waiting.length} further runs are left, since none goes well`);
  }
  return { left: waiting.length + leftAlone + failed, failed };
}
