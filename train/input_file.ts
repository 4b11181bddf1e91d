/** Files that somebody gives: what may be opened at all, and formats that are refused by name. @module */
import type { UserError } from "./errors.ts";

/** A kind of UserError. */
export type ErrorKind = new (message: string, data: Readonly<Record<string, unknown>>) => UserError;

/** Endings of files that hold pickles: reading one can run any code. */
const PICKLES = [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"] as const;

/** Whether a file's name says that it is a pickle. */
export function isPickle(path: string): boolean {
  return PICKLES.some((ending) => path.toLowerCase().endsWith(ending));
}

/** What to do about a pickle. */
export const PICKLE_ADVICE =
  "is a pickle, which can run any code when it is read; load it where you trust it and save it as safetensors";

/** The name of a pickle in a directory; null where there is none, or no such directory. */
export function pickleIn(dir: string): string | null {
  try {
    return [...Deno.readDirSync(dir)].map((e) => e.name).sort().find(isPickle) ?? null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return null;
    throw error;
  }
}

/**
 * Check that a path, links followed, is a regular file, since others have no end or no content. Returns its size in
 * bytes. Throws `kind`, but NotFound where nothing is there.
 */
export function requireRegular(path: string, kind: ErrorKind): number {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) throw error;
    throw new kind(`${path}: cannot be read (${error instanceof Error ? error.message : String(error)}).`, {
      path,
    });
  }
  if (info.isFile) return info.size;
  throw new kind(
    `${path}: is ${info.isDirectory ? "a directory" : "a device or a pipe"}; expected a file.`,
    { path },
  );
}
