/** Files that appear whole or not at all. @module */

/**
 * Write `parts` one after the other to a temporary file beside `path`, then rename it: a reader, or a crash half-way,
 * finds the old file or the new one. Throws what the file system throws; the temporary file is then removed.
 */
export function writeAtomically(path: string, parts: Iterable<Uint8Array>): void {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.partial`;
  try {
    writeAll(temporary, parts);
    Deno.renameSync(temporary, path);
  } catch (error) {
    try {
      Deno.removeSync(temporary);
    } catch (missing) {
      if (!(missing instanceof Deno.errors.NotFound)) throw missing;
    }
    throw error;
  }
}

function writeAll(path: string, parts: Iterable<Uint8Array>): void {
  using file = Deno.openSync(path, { write: true, createNew: true });
  for (const part of parts) {
    for (let at = 0; at < part.length;) at += file.writeSync(part.subarray(at));
  }
  file.syncDataSync();
}

/** {@linkcode writeAtomically} of one text. */
export function writeTextAtomically(path: string, text: string): void {
  writeAtomically(path, [new TextEncoder().encode(text)]);
}
