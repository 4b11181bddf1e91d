/** The text of a data file: UTF-8, as it is or packed by gzip. @module */
import { gunzipSync } from "node:zlib";
import { DataError } from "../errors.ts";

/** Longest text that is read at once, in bytes: what one JavaScript string is sure to hold. */
const LONGEST = 2 ** 29 - 24;

/**
 * Read a text; one that is packed by gzip, which its first two bytes say, is unpacked. A byte order mark is left out.
 * Throws DataError naming the file, and the line where one can be named.
 */
export function readText(file: string): string {
  let bytes: Uint8Array;
  try {
    bytes = Deno.readFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new DataError(`${file}: not found; give a file of rows: JSON lines, JSON, CSV or TSV.`, { file });
    }
    throw error;
  }
  const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? unpack(bytes, file) : bytes;
  if (plain.length > LONGEST) throw tooLong(file);
  try {
    return utf8().decode(plain);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new DataError(`${file}:${badLine(plain)}: not UTF-8; write the file as UTF-8 text.`, { file });
  }
}

function utf8(): TextDecoder {
  return new TextDecoder("utf-8", { fatal: true });
}

function unpack(bytes: Uint8Array, file: string): Uint8Array {
  try {
    return gunzipSync(bytes, { maxOutputLength: LONGEST });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (error instanceof RangeError) throw tooLong(file);
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
