/** One process at a time makes a cache. @module */
import { exists, parentOf } from "../atomic_file.ts";

/** How {@linkcode holdLock} waits. */
export interface LockHooks {
  readonly say: (line: string) => void;
  readonly stopped?: () => boolean;
  /** What to throw where the system refuses, and where waiting is interrupted. */
  readonly refused: (error: unknown) => unknown;
  readonly interrupted: () => Error;
}

/** Milliseconds between two looks at a lock. */
const LOOK_EVERY = 200;

/** Hold the lock of a cache, which the system takes back however the process ends; waits while another holds it. */
export async function holdLock(
  dir: string,
  { say, stopped = () => false, refused, interrupted }: LockHooks,
): Promise<Disposable> {
  for (let told = false;;) {
    let lock: Disposable | null;
    try {
      lock = tryLock(dir);
    } catch (error) {
      throw refused(error);
    }
    if (lock) return lock;
    if (!told) say(`${dir}: another process is writing it; waiting`);
    told = true;
    await new Promise((resume) => setTimeout(resume, LOOK_EVERY));
    if (stopped()) throw interrupted();
  }
}

function tryLock(dir: string): Disposable | null {
  const path = `${dir}.lock`;
  const file = Deno.openSync(path, { read: true, write: true, create: true });
  // It may have been removed by its holder after it was opened here: then it is nobody's lock.
  if (!file.tryLockSync(true) || !exists(path) || Deno.statSync(path).ino !== file.statSync().ino) {
    file.close();
    return null;
  }
  return {
    [Symbol.dispose]: () => {
      // Removed while it is held: whoever comes next makes one of its own.
      Deno.removeSync(path);
      file.close();
    },
  };
}

/** What is not complete yet, or no longer wanted, beside the caches. */
const PARTIAL = /^(.*)\.[0-9a-f]{8}\.(partial|replaced)$/;

/** Remove what processes that were killed left beside `dir`, whose lock is held; others' locks are tried. */
export function sweepPartials(dir: string): void {
  const parent = parentOf(dir);
  for (const { name } of [...Deno.readDirSync(parent)]) {
    const base = PARTIAL.exec(name)?.[1];
    if (base === undefined) continue;
    using lock = `${parent}/${base}` === dir ? { [Symbol.dispose]: () => {} } : tryLock(`${parent}/${base}`);
    if (lock) Deno.removeSync(`${parent}/${name}`, { recursive: true });
  }
}
