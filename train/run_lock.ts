/** One process at a time trains into a directory. @module */
import * as Effect from "effect/Effect";
import type * as Scope from "effect/Scope";
import { exists, isEmptyDirectory, parentOf } from "./atomic_file.ts";
import { UserError } from "./errors.ts";

/** Locked while a run writes into its directory; the system takes the lock back when the process ends, however it does. */
const LOCK_FILE = ".run.lock";

/** Hold `out`, made if need be, until the scope ends. Fails with UserError where another process holds it. */
export function lockOutput(out: string): Effect.Effect<void, UserError, Scope.Scope> {
  return Effect.asVoid(Effect.acquireRelease(
    Effect.try({
      try: () => acquire(out),
      catch: (error) =>
        error instanceof UserError ? error : new UserError(
          `--out ${out}: cannot be written to (${(error as Error).message}); give another directory.`,
        ),
    }),
    (release) => Effect.sync(release),
  ));
}

function acquire(out: string): () => void {
  const made: string[] = [];
  for (let dir = out; !exists(dir); dir = parentOf(dir)) made.push(dir);
  Deno.mkdirSync(out, { recursive: true });
  const path = `${out}/${LOCK_FILE}`;
  const file = Deno.openSync(path, { read: true, write: true, create: true });
  if (!file.tryLockSync(true)) {
    file.close();
    const holder = Deno.readTextFileSync(path).trim();
    throw new UserError(
      `--out ${out}: process ${holder} is training into it; wait for it, stop it, or give another directory.`,
      { out, holder },
    );
  }
  file.truncateSync();
  file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
  return () => {
    // Removed while it is held: whoever comes next makes one of its own.
    Deno.removeSync(path);
    file.close();
    // A run that came to nothing leaves nothing.
    for (const dir of made) if (isEmptyDirectory(dir)) Deno.removeSync(dir);
  };
}
