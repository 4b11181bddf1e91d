/** Files and directories that appear whole or not at all. @module */
import { WriteError } from "./errors.ts";

/**
 * Write `parts` one after the other to a temporary file beside `path`, then rename it: a reader, or a crash half-way,
 * finds the old file or the new one. Throws what the file system throws; the temporary file is then removed.
 */
export function writeAtomically(path: string, parts: Iterable<Uint8Array>): void {
  const temporary = partialName(path);
  try {
    writeAll(temporary, parts);
    Deno.renameSync(temporary, path);
  } catch (error) {
    if (exists(temporary)) Deno.removeSync(temporary);
    throw error;
  }
}

/** A name beside `path` for what is not complete yet; {@linkcode removeLeftovers} knows it. */
export function partialName(path: string): string {
  return `${path.replace(/\/+$/, "")}.${mark()}.partial`;
}

function mark(): string {
  return crypto.randomUUID().slice(0, 8);
}

/** Write all bytes to an open file. Throws WriteError naming `path`. */
export function writeBytes(file: Deno.FsFile, bytes: Uint8Array, path: string): void {
  try {
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
  } catch (error) {
    throw refusedWrite(error, path);
  }
}

/** What the system says when there is no room: no space left, a quota that is used up, a file that is too large. */
const FULL = /\(os error (28|122|27)\)/;
/** The directory or the file system takes nothing. */
const CLOSED = /\(os error (13|1|30)\)/;

/** A refusal of the file system as a WriteError with what to do; other errors as they are. */
export function refusedWrite(error: unknown, path: string): unknown {
  if (error instanceof WriteError) return error;
  const message = error instanceof Error ? error.message : "";
  if (FULL.test(message)) {
    return new WriteError(
      `${path}: there is no space left for it (${message}); free some and run again, training with --resume: what was ` +
        "there before is whole.",
      { path },
    );
  }
  if (!CLOSED.test(message)) return error;
  return new WriteError(`${path}: cannot be written (${message}); give a directory that takes files.`, {
    path,
  });
}

function writeAll(path: string, parts: Iterable<Uint8Array>): void {
  try {
    writeParts(path, parts);
  } catch (error) {
    throw refusedWrite(error, path);
  }
}

function writeParts(path: string, parts: Iterable<Uint8Array>): void {
  using file = Deno.openSync(path, { write: true, createNew: true });
  for (const part of parts) writeBytes(file, part, path);
  file.syncDataSync();
}

/** {@linkcode writeAtomically} of one text. */
export function writeTextAtomically(path: string, text: string): void {
  writeAtomically(path, [new TextEncoder().encode(text)]);
}

/**
 * Fill a directory under a temporary name beside `dir`, then rename it: it appears whole or not at all. What is in `dir`
 * already is replaced where `replace` says so; else only an empty directory is, and the file system's error is thrown.
 */
export function writeWhole(dir: string, fill: (temporary: string) => void, replace = false): void {
  const temporary = partialName(dir);
  Deno.mkdirSync(temporary, { recursive: true });
  try {
    fill(temporary);
    moveInto(temporary, dir, replace);
  } catch (error) {
    Deno.removeSync(temporary, { recursive: true });
    throw error;
  }
}

/** Rename a complete directory to `dir`, on the disk when this returns; see {@linkcode writeWhole} for `replace`. */
export function moveInto(from: string, dir: string, replace: boolean): void {
  syncDirectory(from);
  if (replace && exists(dir) && !isEmptyDirectory(dir)) {
    // A directory that is not empty cannot be renamed onto; between the two renames both are there under other names.
    const old = `${dir.replace(/\/+$/, "")}.${mark()}.replaced`;
    Deno.renameSync(dir, old);
    Deno.renameSync(from, dir);
    syncDirectory(parentOf(dir));
    Deno.removeSync(old, { recursive: true });
  } else {
    // Renaming onto an empty directory replaces it.
    Deno.renameSync(from, dir);
    syncDirectory(parentOf(dir));
  }
}

/** Remove a directory so that no part of it is ever found under its name. */
export function removeWhole(dir: string): void {
  const old = `${dir}.${mark()}.replaced`;
  Deno.renameSync(dir, old);
  Deno.removeSync(old, { recursive: true });
}

/** Remove what an end at a bad moment left in `dir` of the functions above. */
export function removeLeftovers(dir: string): void {
  if (!exists(dir)) return;
  for (const { name } of [...Deno.readDirSync(dir)]) {
    if (/\.[0-9a-f]{8}\.(partial|replaced)$/.test(name)) {
      Deno.removeSync(`${dir}/${name}`, { recursive: true });
    }
  }
}

/** Have the names in a directory on the disk. */
function syncDirectory(path: string): void {
  // Windows opens no directories, and has no such call.
  if (Deno.build.os === "windows") return;
  using dir = Deno.openSync(path);
  dir.syncSync();
}

/** The directory that a path is in. */
export function parentOf(path: string): string {
  const up = path.replace(/\/*[^/]+\/*$/, "");
  return up === "" ? (path.startsWith("/") ? "/" : ".") : up;
}

/** Whether there is something at `path`. */
export function exists(path: string): boolean {
  return infoOf(path) !== null;
}

/** Whether there is a file at `path`, links followed. */
export function isFile(path: string): boolean {
  return infoOf(path)?.isFile ?? false;
}

/** What is at `path`; null where nothing is, also since something in the path is no directory. */
function infoOf(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return null;
    throw error;
  }
}

/** Whether `path`, which is there, is a directory without anything in it. */
export function isEmptyDirectory(path: string): boolean {
  return Deno.statSync(path).isDirectory && Deno.readDirSync(path)[Symbol.iterator]().next().done === true;
}
