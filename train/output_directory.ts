/** Directories to write into: whether they take files, and whether somebody else's are in them. @module */
import { exists, parentOf } from "./atomic_file.ts";
import { UserError } from "./errors.ts";

/** What shells, schedulers and systems put beside what a program writes; what an end at a bad moment left of our own. */
const HARMLESS = /^\.|\.(log|out|err)$|\.[0-9a-f]{8}\.(partial|replaced)$/i;

/**
 * Refuse to write `what`, such as "a run", into a directory with files that `isOwn` does not know by name. Throws
 * UserError that names the first.
 */
export function refuseStrangers(out: string, what: string, isOwn: (name: string) => boolean): void {
  if (!exists(out) || !Deno.statSync(out).isDirectory) return;
  const names = [...Deno.readDirSync(out)].map(({ name }) => name).sort();
  const found = names.find((name) => !HARMLESS.test(name) && !isOwn(name));
  if (found === undefined) return;
  throw new UserError(
    `--out ${out}: ${within(out, found)} is there, and not of ${what}; give a new or empty directory.`,
    { out, found },
  );
}

/** Refuse anything at `out` but an empty directory. Throws UserError that names what is there. */
export function refuseFull(out: string): void {
  if (!exists(out)) return;
  const [first] = Deno.statSync(out).isDirectory ? [...Deno.readDirSync(out)].sort(byName) : [null];
  if (first === undefined) return;
  const found = first === null ? out : within(out, first.name);
  throw new UserError(`--out ${out}: ${found} is there already; give a new or empty directory.`, {
    out,
    found,
  });
}

const byName = (a: Deno.DirEntry, b: Deno.DirEntry): number => a.name < b.name ? -1 : 1;

function within(dir: string, name: string): string {
  return `${dir.replace(/\/+$/, "")}/${name}`;
}

/** Have the file system's error now, not when there is something to lose, where nothing can be written in `dir`. */
export function tryWriting(dir: string): void {
  // Trying is the only way to know; what was made to try is taken away.
  const made: string[] = [];
  for (let at = dir; !exists(at); at = parentOf(at)) made.push(at);
  Deno.mkdirSync(dir, { recursive: true });
  Deno.removeSync(Deno.makeTempDirSync({ dir, prefix: ".gyre-" }));
  for (const at of made) Deno.removeSync(at);
}
