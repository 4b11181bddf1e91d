/** The text of a data file: UTF-8, as it is or packed by gzip. @module */
import { gunzipSync } from "node:zlib";
import { DataError } from "../errors.ts";
import { isPickle, PICKLE_ADVICE } from "../input_file.ts";

/** Longest text that is read at once, in bytes: what one JavaScript string is sure to hold. */
const LONGEST = 2 ** 29 - 24;

/** Most that a packed text may unpack to: times its own size, which texts stay far below, and bytes for short ones. */
const MOST_TIMES = 256, ALWAYS = 2 ** 24;

/**
 * Read a text; one that is packed by gzip, which its first two bytes say, is unpacked. A byte order mark is left out.
 * Pipes are read to their end. Throws DataError naming the file, and the line where one can be named.
 */
export function readText(file: string): string {
  const bytes = readBytes(file);
  const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? unpack(bytes, file) : bytes;
  if (plain.length > LONGEST) throw tooLong(file);
  try {
    return utf8().decode(plain);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new DataError(`${file}:${badLine(plain)}: not UTF-8; write the file as UTF-8 text.`, { file });
  }
}

/** All bytes of a file or a pipe, at most {@linkcode LONGEST}. Throws DataError. */
export function readBytes(file: string): Uint8Array<ArrayBuffer> {
  if (isPickle(file)) {
    throw new DataError(`${file}: ${PICKLE_ADVICE.replace("safetensors", "JSON lines")}.`, { file });
  }
  try {
    using from = Deno.openSync(file);
    const { size, isDirectory, isCharDevice, isBlockDevice } = from.statSync();
    if (isDirectory || isCharDevice || isBlockDevice) {
      throw new DataError(`${file}: is a ${isDirectory ? "directory" : "device"}; give a file of rows.`, {
        file,
      });
    }
    if (size > LONGEST) throw tooLong(file);
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for (let total = 0;;) {
      // What the size says, then what comes without a size.
      const part = new Uint8Array(Math.max(size - total, CHUNK)), n = from.readSync(part);
      if (n === null) return joined(parts, total);
      total += n;
      if (total > LONGEST) throw tooLong(file);
      parts.push(n === part.length ? part : part.slice(0, n));
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      throw new DataError(`${file}: not found; give a file of rows: JSON lines, JSON, CSV, TSV or parquet.`, {
        file,
      });
    }
    throw error;
  }
}

/** Bytes that are read at a time from what does not say how many it has. */
const CHUNK = 2 ** 16;

function joined(parts: readonly Uint8Array<ArrayBuffer>[], total: number): Uint8Array<ArrayBuffer> {
  if (parts.length === 1) return parts[0]!;
  const all = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function utf8(): TextDecoder {
  return new TextDecoder("utf-8", { fatal: true });
}

function unpack(bytes: Uint8Array, file: string): Uint8Array {
  const most = Math.min(LONGEST, Math.max(ALWAYS, MOST_TIMES * bytes.length));
  try {
    return gunzipSync(bytes, { maxOutputLength: most });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (error instanceof RangeError) {
      if (most === LONGEST) throw tooLong(file);
      throw new DataError(
        `${file}: unpacks to more than ${MOST_TIMES} times its ${bytes.length} bytes, as no text does; unpack it ` +
          "yourself if you trust it.",
        { file },
      );
    }
    throw new DataError(
      `${file}: not a whole gzip file (${error.message}); fetch or pack it again.`,
      { file },
    );
  }
}

function tooLong(file: string): DataError {
  return new DataError(`${file}: its text has more than ${LONGEST} bytes; cut it into several files.`, {
    file,
  });
}

/** Number of the first line that is not UTF-8, from 1. */
function badLine(bytes: Uint8Array): number {
  for (let line = 1, from = 0;; line++) {
    const end = bytes.indexOf(0x0a, from);
    try {
      utf8().decode(bytes.subarray(from, end < 0 ? bytes.length : end));
    } catch {
      return line;
    }
    if (end < 0) return line;
    from = end + 1;
  }
}
