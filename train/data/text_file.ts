/** The text of a data file: UTF-8, as it is or packed by gzip, whole or in parts. @module */
import { pipeline, Readable } from "node:stream";
import { createGunzip, gunzipSync } from "node:zlib";
import { DataError } from "../errors.ts";
import { isPickle, PICKLE_ADVICE } from "../input_file.ts";
import { didYouMean } from "../nearby_path.ts";

/** Longest text that is held at once, in bytes: what one JavaScript string is sure to hold. */
export const LONGEST: number = 2 ** 29 - 24;

/** Most that a packed text may unpack to: times its own size, which texts stay far below, and bytes for short ones. */
const MOST_TIMES = 256, ALWAYS = 2 ** 24;

/**
 * Read a text; one that is packed by gzip, which its first two bytes say, is unpacked. A byte order mark is left out.
 * Pipes are read to their end. Throws DataError naming the file, and the line where one can be named.
 */
export function readText(file: string): string {
  const bytes = readBytes(file);
  const plain = isGzip(bytes) ? unpack(bytes, file) : bytes;
  if (plain.length > LONGEST) throw tooLong(file);
  return decode(plain, file, 1).replace(MARK, "");
}

/** All bytes of a file or a pipe, at most {@linkcode LONGEST}. Throws DataError. */
export function readBytes(file: string): Uint8Array<ArrayBuffer> {
  using from = openData(file);
  const { size } = from.statSync();
  if (size > LONGEST) throw tooLong(file);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let total = 0;;) {
    // What the size says, then what comes without a size.
    const part = new Uint8Array(Math.max(size - total, CHUNK)), n = from.readSync(part);
    if (n === null) return parts.length === 1 ? parts[0]! : joined(parts, total);
    total += n;
    if (total > LONGEST) throw tooLong(file);
    parts.push(n === part.length ? part : part.slice(0, n));
  }
}

/** Bytes that are read at a time from what does not say how many it has, and from what says that it has many. */
const CHUNK = 2 ** 16, LARGE_CHUNK = 2 ** 17;

/** What watches a file that is read in parts. */
export interface ReadingHooks {
  /** Told how many bytes of the file, packed or not, have been read. */
  readonly read?: (bytes: number) => void;
  /** Most bytes that the text may have; default: any number. */
  readonly most?: number;
}

/**
 * The same text in parts, for files of any size: a part ends anywhere between characters. Throws DataError as
 * {@linkcode readText}, when it comes to what is wrong.
 */
export async function* textParts(
  file: string,
  { read = () => {}, most = Infinity }: ReadingHooks = {},
): AsyncGenerator<string> {
  using from = openData(file);
  const bytes = bytesOf(from), first = await bytes.next();
  if (first.done) return;
  const all = startingWith(first.value, bytes);
  const plain = isGzip(first.value) ? unpackedParts(all, file, read) : counted(all, read);
  let rest: Uint8Array = new Uint8Array(), total = 0, line = 1;
  for await (const part of plain) {
    total += part.length;
    if (total > most) throw tooLong(file, "; give --stream always");
    const known = rest.length === 0 ? part : joined([rest, part], rest.length + part.length),
      end = wholeCharacters(known);
    const piece = known.subarray(0, end), text = decode(piece, file, line);
    yield total === part.length ? text.replace(MARK, "") : text;
    line += lineEnds(piece);
    rest = known.slice(end);
  }
  // A character that the file cuts short.
  if (rest.length > 0) decode(rest, file, line);
}

/** A byte order mark. */
const MARK = /^\uFEFF/;

async function* bytesOf(from: Deno.FsFile): AsyncGenerator<Uint8Array> {
  const { size } = from.statSync();
  for (let total = 0;;) {
    const part = new Uint8Array(Math.min(LARGE_CHUNK, Math.max(size - total, CHUNK)));
    let n = 0;
    // Two bytes say whether a file is packed: a pipe may give less at a time.
    for (let more: number | null = 0; n < 2 && more !== null; n += more ?? 0) {
      more = await from.read(part.subarray(n));
    }
    if (n === 0) return;
    total += n;
    yield part.subarray(0, n);
  }
}

async function* counted(parts: AsyncIterable<Uint8Array>, read: (bytes: number) => void) {
  let total = 0;
  for await (const part of parts) {
    read(total += part.length);
    yield part;
  }
}

async function* startingWith<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T> {
  yield first;
  yield* rest;
}

async function* unpackedParts(
  packed: AsyncIterable<Uint8Array>,
  file: string,
  read: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let taken = 0, total = 0;
  const gunzip = createGunzip({ chunkSize: LARGE_CHUNK });
  // What fails in reading ends the unpacking, where it is met. What was taken may be far ahead of what was unpacked.
  pipeline(Readable.from(counted(packed, (n) => taken = n), { highWaterMark: 1 }), gunzip, () => {});
  try {
    for await (const part of gunzip as AsyncIterable<Uint8Array>) {
      total += part.length;
      if (total > Math.max(ALWAYS, MOST_TIMES * taken)) throw isBomb(file, taken);
      read(gunzip.bytesWritten);
      yield part;
    }
  } catch (error) {
    throw error instanceof Error && "code" in error && String(error.code).startsWith("Z_")
      ? notGzip(file, error)
      : error;
  }
}

/** How many of the bytes are whole characters. */
function wholeCharacters(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if (byte < 0x80) break;
    if (byte < 0xc0) continue;
    const size = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return back < size ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

function lineEnds(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) count++;
  return count;
}

/** Open a file or a pipe of rows. Throws DataError. */
export function openData(file: string): Deno.FsFile {
  if (isPickle(file)) {
    throw new DataError(`${file}: ${PICKLE_ADVICE.replace("safetensors", "JSON lines")}.`, { file });
  }
  try {
    const from = Deno.openSync(file);
    const { isDirectory, isCharDevice, isBlockDevice } = from.statSync();
    if (!isDirectory && !isCharDevice && !isBlockDevice) return from;
    from.close();
    throw new DataError(`${file}: is a ${isDirectory ? "directory" : "device"}; give a file of rows.`, {
      file,
    });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      throw new DataError(
        `${file}: not found${didYouMean(file)}; give a file of rows: JSON lines, JSON, CSV, TSV or parquet.`,
        {
          file,
        },
      );
    }
    throw error;
  }
}

function joined(parts: readonly Uint8Array[], total: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Whether the first bytes of a file say that gzip packed it. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/** The text of bytes whose first are of line `line`. */
function decode(bytes: Uint8Array, file: string, line: number): string {
  try {
    return utf8().decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new DataError(`${file}:${line - 1 + badLine(bytes)}: not UTF-8; write the file as UTF-8 text.`, {
      file,
    });
  }
}

function utf8(): TextDecoder {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
}

function unpack(bytes: Uint8Array, file: string): Uint8Array {
  const most = Math.min(LONGEST, Math.max(ALWAYS, MOST_TIMES * bytes.length));
  try {
    return gunzipSync(bytes, { maxOutputLength: most });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (error instanceof RangeError) throw most === LONGEST ? tooLong(file) : isBomb(file, bytes.length);
    throw notGzip(file, error);
  }
}

function isBomb(file: string, size: number): DataError {
  return new DataError(
    `${file}: unpacks to more than ${MOST_TIMES} times its ${size} bytes, as no text does; unpack it yourself if you ` +
      "trust it.",
    { file },
  );
}

function notGzip(file: string, { message }: Error): DataError {
  return new DataError(`${file}: not a whole gzip file (${message}); fetch or pack it again.`, { file });
}

function tooLong(file: string, advice = "; cut it into several files"): DataError {
  return new DataError(`${file}: its text has more than ${LONGEST} bytes${advice}.`, { file });
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
