/** Going through files of rows once, to write their tokens: whole, or not at all. @module */
import { showBytes } from "../../core/mod.ts";
import { exists, moveInto, parentOf, partialName } from "../atomic_file.ts";
import { requireExamples } from "../data.ts";
import { UserError, WriteError } from "../errors.ts";
import { showDuration } from "../report.ts";
import { holdLock, sweepPartials } from "./cache_lock.ts";
import type { FittedRows } from "./fitted_rows.ts";
import { namedTogether } from "./row_files.ts";
import { type CacheFacts, createCache } from "./token_cache.ts";

/** How a cache is made. */
export interface MakingHooks {
  readonly say: (line: string) => void;
  readonly stopped?: () => boolean;
  /** Whether another process has made it. */
  readonly isMade: () => boolean;
}

/** Milliseconds between looks at whether somebody wants it to stop. */
const WAIT_EVERY = 0;
/** Milliseconds between lines of progress, and the share of the files. */
const TELL_EVERY = 10_000, TELL_SHARE = 0.05;

/** Make the cache `dir` of rows that have not been read yet, `size` bytes of files. Throws DataError, WriteError and UserError. */
export async function makeCache(
  dir: string,
  rows: FittedRows,
  size: number,
  facts: CacheFacts,
  hooks: MakingHooks,
) {
  const { files, options: { seq } } = rows,
    { say, stopped = () => false } = hooks,
    name = namedTogether(files);
  const kept = <T>(write: () => T): T => {
    try {
      return write();
    } catch (error) {
      throw refusedCache(error, dir, files);
    }
  };
  const interrupted = (): UserError =>
    new UserError(`interrupted while the tokens of ${name} were written: nothing is kept.`);
  kept(() => Deno.mkdirSync(parentOf(dir), { recursive: true }));
  using _lock = await holdLock(dir, { ...hooks, refused: (e) => refusedCache(e, dir, files), interrupted });
  if (hooks.isMade()) return;
  sweepPartials(dir);
  say(`${name}: ${showBytes(size)}; not held in memory: tokens are written once, to ${dir}`);
  const partial = partialName(dir), tell = teller(name, size, say), start = performance.now();
  kept(() => Deno.mkdirSync(partial));
  try {
    using writer = kept(() => createCache(partial, files, facts));
    let waited = start;
    for await (const part of rows.parts()) {
      for (const example of part) kept(() => writer.add(example));
      if (performance.now() - waited < WAIT_EVERY) continue;
      // Reading may not wait: let signals in, but not after each part, since a timer takes as long as some of them.
      await new Promise((resume) => setImmediate(resume));
      waited = performance.now();
      if (stopped()) throw interrupted();
      tell(rows.read);
    }
    requireExamples(
      { examples: { length: rows.count, at: () => undefined }, dropped: rows.dropped },
      name,
      seq,
    );
    const bytes = kept(() => writer.finish({ truncated: rows.truncated, dropped: rows.dropped }));
    kept(() => moveInto(partial, dir, true));
    const seconds = (performance.now() - start) / 1000, speed = (size / seconds / 1e6).toFixed(1);
    say(`${name}: ${showBytes(bytes)} of tokens written in ${showDuration(seconds)} (${speed} MB/s)`);
  } catch (error) {
    if (exists(partial)) Deno.removeSync(partial, { recursive: true });
    throw error;
  }
}

/** Tells now and then how far the reading is. */
function teller(name: string, size: number, say: (line: string) => void): (read: number) => void {
  const start = performance.now();
  let told = start, toldShare = 0;
  return (read) => {
    const now = performance.now(), share = read / size, seconds = (now - start) / 1000;
    if (now - told < TELL_EVERY || share - toldShare < TELL_SHARE) return;
    [told, toldShare] = [now, share];
    const left = showDuration(seconds / share - seconds);
    say(
      `${name}: ${Math.floor(100 * share)} % read, ${(read / seconds / 1e6).toFixed(1)} MB/s, ${left} left`,
    );
  };
}

/** What the system refused to do for a cache, with what helps; other errors as they are. */
export function refusedCache(error: unknown, dir: string, files: readonly string[]): unknown {
  const why = error instanceof Error ? /[^(]*\(os error \d+\)/.exec(error.message)?.[0].trim() : undefined;
  if (why === undefined) return error;
  return new WriteError(
    `${dir}: the tokens of ${
      namedTogether(files)
    } cannot be written there (${why}); free some space, or give another ` +
      "directory with --token-cache.",
    { dir },
  );
}
