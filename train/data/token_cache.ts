/**
 * Token caches: examples in a directory, each read when it is asked for.
 *
 * `rows` holds them one after the other: the CRC-32 of what follows, begun with the example's number; the length of the
 * prompt, in ids; a word for each id, 2·id + 1 where it is learnt and 2·id elsewhere, of 16 bits where they hold every id,
 * else of 32; and a JSON text of the number of its file, where it stood there, its prompt and its answer. `index` has 12
 * bytes for each: where it begins, and twice the number of its ids, plus 1 where there is an answer. `cache.json` says
 * what the rows are of, and the SHA-256 of the index and of itself. Numbers are little-endian.
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { exists, writeBytes, writeTextAtomically } from "../atomic_file.ts";
import type { Example } from "../data.ts";
import { DataError, UserError } from "../errors.ts";
import { readJson } from "../json_file.ts";
import type { Examples } from "./examples.ts";
import { namedTogether } from "./row_files.ts";
import { rowDigest } from "./row_digest.ts";

/** Of the layout described above, and of what rows become. */
export const CACHE_FORMAT = 1;

const ROWS = "rows", INDEX = "index", STATE = "cache.json";
/** Bytes of an example in the index, and of what stands before its words. */
const ENTRY = 12, HEAD = 8;

/** What the examples of a cache are, beside themselves. */
export interface CacheFacts {
  /** What they were made from, whatever decides what they are. */
  readonly key: string;
  /** One more than the largest id. */
  readonly vocabSize: number;
}

/** What `cache.json` says. */
interface CacheState extends CacheFacts {
  readonly format: number;
  readonly rows: number;
  readonly bytes: number;
  readonly truncated: number;
  readonly dropped: number;
  readonly longestAsked: number | null;
  /** SHA-256 of the index, and the digest of the rows. */
  readonly index: string;
  readonly digest: string;
}

/** Examples that are being written. */
export interface CacheWriter extends Disposable {
  readonly add: (example: Example) => void;
  /** Have everything on the disk; the directory is then whole. Returns its bytes. */
  readonly finish: (counts: { readonly truncated: number; readonly dropped: number }) => number;
}

/** Write a cache into an empty directory, of rows of `files`. Throws WriteError. */
export function createCache(
  dir: string,
  files: readonly string[],
  { key, vocabSize }: CacheFacts,
): CacheWriter {
  using parts = new DisposableStack();
  const indexHash = createHash("sha256");
  const rows = parts.use(new Sink(`${dir}/${ROWS}`)),
    index = parts.use(new Sink(`${dir}/${INDEX}`, indexHash));
  const digest = rowDigest(), width = widthOf(vocabSize), encoder = new TextEncoder();
  const entry = new DataView(new ArrayBuffer(ENTRY)), entryBytes = new Uint8Array(entry.buffer);
  // Written over by each short example: millions of small arrays would be left to the collector, which is in no hurry.
  const shared = new Uint8Array(2 ** 16);
  let count = 0, current = 0, longestAsked: number | null = null;
  const opened = parts.move();
  return {
    add: (example) => {
      const { ids, trained, promptLength, prompt, answer, where = files[current]! } = example;
      // Examples come file after file.
      while (current + 1 < files.length && !isIn(where, files[current]!)) current++;
      const place = where.slice(files[current]!.length);
      const notes = JSON.stringify([current, place, prompt, answer ?? null]);
      const before = HEAD + ids.length * width, most = before + 3 * notes.length;
      const room = most <= shared.length ? shared : new Uint8Array(most);
      const words = wordsIn(room.buffer, width, ids.length);
      ids.forEach((id, t) => words[t] = 2 * id + (trained[t] ? 1 : 0));
      const record = room.subarray(0, before + encoder.encodeInto(notes, room.subarray(before)).written);
      const head = new DataView(room.buffer);
      head.setUint32(4, promptLength, true);
      head.setUint32(0, crc32(record.subarray(4), count++), true);
      if (answer !== undefined) longestAsked = Math.max(longestAsked ?? 0, promptLength);
      entry.setFloat64(0, rows.bytes, true);
      entry.setUint32(8, 2 * ids.length + (answer === undefined ? 0 : 1), true);
      index.write(entryBytes);
      rows.write(record);
      digest.add(example);
    },
    finish: (counts) => {
      rows.sync();
      index.sync();
      const state: CacheState = {
        ...{ format: CACHE_FORMAT, key, vocabSize, rows: count, bytes: rows.bytes, longestAsked, ...counts },
        ...{ index: indexHash.digest("hex"), digest: digest.value() },
      };
      const text = JSON.stringify({ sha256: sha256(JSON.stringify(state)), state }, null, 1);
      writeTextAtomically(`${dir}/${STATE}`, `${text}\n`);
      return rows.bytes + index.bytes;
    },
    [Symbol.dispose]: () => opened.dispose(),
  };
}

/** A cache that is not as it was written. */
export class CacheDamage extends UserError {
  override readonly name = "CacheDamage";
}

/** Examples of a cache, and what became of the rows that are not there. */
export interface OpenCache extends Disposable {
  readonly examples: Examples;
  readonly truncated: number;
  readonly dropped: number;
  /** Digest of the rows. */
  readonly digest: string;
  readonly bytes: number;
}

/**
 * Open a cache of rows of `files`. Its index is gone through and checked, and 4 bytes of it an example are kept; where an
 * example lies is looked up, and the example checked, when it is read. Throws CacheDamage where it is not whole or of
 * something else. An example that is not as it was written ends what reads it with a DataError, and the cache is then
 * marked as damaged.
 */
export function openCache(dir: string, files: readonly string[], facts: CacheFacts): OpenCache {
  const state = readState(`${dir}/${STATE}`, facts);
  using parts = new DisposableStack();
  const index = parts.use(openPart(`${dir}/${INDEX}`, state.rows * ENTRY)), counts = readCounts(index, state);
  const rows = parts.use(openPart(`${dir}/${ROWS}`, state.bytes)), width = widthOf(facts.vocabSize);
  const entry = new DataView(new ArrayBuffer(ENTRY + 8));
  /** Where an example begins and ends; null where the index has changed its size. */
  const placeOf = (i: number): readonly [number, number] | null => {
    const isLast = i + 1 === state.rows, bytes = new Uint8Array(entry.buffer, 0, isLast ? ENTRY : ENTRY + 8);
    if (!readAt(index, i * ENTRY, bytes)) return null;
    return [entry.getFloat64(0, true), isLast ? state.bytes : entry.getFloat64(ENTRY, true)];
  };
  const idsAt = (i: number): number => counts[i]! >>> 1;
  const answeredAt = (i: number): boolean => counts[i]! % 2 === 1;
  const damaged = (i: number): DataError => {
    // So that it is made again when somebody asks for it next.
    if (exists(`${dir}/${STATE}`)) Deno.removeSync(`${dir}/${STATE}`);
    return new DataError(
      `${dir}: example ${i + 1} is not as it was written, so the token cache of ${
        namedTogether(files)
      } is damaged; start again, with ` +
        "--resume where there is a checkpoint: it is then made anew.",
      { dir },
    );
  };
  const at = (i: number): Example | undefined => {
    if (!(i >= 0 && i < state.rows)) return undefined;
    const count = idsAt(i), [start, end] = placeOf(i) ?? [0, 0];
    if (!(start >= 0 && end - start >= HEAD + count * width && end <= state.bytes)) throw damaged(i);
    const record = new Uint8Array(end - start), head = new DataView(record.buffer);
    if (!readAt(rows, start, record)) throw damaged(i);
    if (head.getUint32(0, true) !== crc32(record.subarray(4), i)) throw damaged(i);
    const words = wordsIn(record.buffer, width, count);
    const ids = Array.from(words, (word) => word >>> 1),
      trained = Array.from(words, (word) => word % 2 === 1);
    const notes = notesIn(record.subarray(HEAD + words.byteLength));
    const file = files[notes?.file ?? -1];
    if (!notes || file === undefined || ids.some((id) => id >= facts.vocabSize)) throw damaged(i);
    const { place, prompt, answer } = notes;
    return {
      ...{ ids, trained, promptLength: head.getUint32(4, true), prompt, where: file + place },
      ...(answeredAt(i) && answer !== null ? { answer } : {}),
    };
  };
  const opened = parts.move();
  const { truncated, dropped, digest, bytes, longestAsked } = state;
  return {
    examples: { length: state.rows, at, outline: { idsAt, answeredAt, longestAsked } },
    ...{ truncated, dropped, digest, bytes: bytes + state.rows * ENTRY },
    [Symbol.dispose]: () => opened.dispose(),
  };
}

/** Whether an example that stands at `where` is of a file. */
function isIn(where: string, file: string): boolean {
  return where.startsWith(file) && !/^[^:]/.test(where.slice(file.length));
}

interface Notes {
  readonly file: number;
  readonly place: string;
  readonly prompt: string;
  readonly answer: string | null;
}

/** What is noted of an example; null where it is none. */
function notesIn(bytes: Uint8Array): Notes | null {
  try {
    const [file, place, prompt, answer] = JSON.parse(new TextDecoder().decode(bytes));
    const texts = [place, prompt, answer ?? ""].every((text) => typeof text === "string");
    return texts && typeof file === "number" ? { file, place, prompt, answer } : null;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return null;
    throw error;
  }
}

function readState(path: string, { key, vocabSize }: CacheFacts): CacheState {
  let json: unknown;
  try {
    json = readJson(path, DataError, "");
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    throw new CacheDamage(`${STATE} cannot be read`);
  }
  const { sha256: digest, state } = Object(json) as { readonly sha256?: unknown; readonly state?: unknown };
  if (typeof state !== "object" || state === null || digest !== sha256(JSON.stringify(state))) {
    throw new CacheDamage(`the SHA-256 of ${STATE} is not that of what it says`);
  }
  // Its digest says that it is as it was written.
  const found = state as CacheState;
  if (found.format === CACHE_FORMAT && found.key === key && found.vocabSize === vocabSize) return found;
  throw new CacheDamage("it is of other rows, or of another Gyre");
}

/** Examples of the index that are looked at at a time. */
const ENTRIES = 2 ** 16;

/** What the index says of each example besides its place; it is checked on the way. Throws CacheDamage. */
function readCounts(index: Deno.FsFile, { rows, index: expected }: CacheState): Uint32Array {
  const counts = new Uint32Array(rows), digest = createHash("sha256");
  for (let at = 0; at < rows; at += ENTRIES) {
    const part = new DataView(new ArrayBuffer(ENTRY * Math.min(ENTRIES, rows - at)));
    const bytes = new Uint8Array(part.buffer);
    if (!readAt(index, at * ENTRY, bytes)) break;
    digest.update(bytes);
    for (let i = 0; i * ENTRY < bytes.length; i++) counts[at + i] = part.getUint32(i * ENTRY + 8, true);
  }
  if (digest.digest("hex") === expected) return counts;
  throw new CacheDamage(`the SHA-256 of ${INDEX} is not the one that was written`);
}

function openPart(path: string, bytes: number): Deno.FsFile {
  const name = path.replace(/.*\//, "");
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path);
  } catch (error) {
    throw new CacheDamage(`${name} cannot be opened (${error instanceof Error ? error.message : error})`);
  }
  const { size, isFile } = file.statSync();
  if (isFile && size === bytes) return file;
  file.close();
  throw new CacheDamage(`${name} has ${size} bytes, and ${bytes} were written`);
}

/** Fill `bytes` from a place in a file; false where the file ends before. */
function readAt(file: Deno.FsFile, start: number, bytes: Uint8Array): boolean {
  file.seekSync(start, Deno.SeekMode.Start);
  for (let at = 0; at < bytes.length;) {
    const n = file.readSync(bytes.subarray(at));
    if (n === null) return false;
    at += n;
  }
  return true;
}

/** Bytes of a word that holds twice an id, plus 1. */
function widthOf(vocabSize: number): 2 | 4 {
  return 2 * vocabSize <= 2 ** 16 ? 2 : 4;
}

function wordsIn(record: ArrayBuffer, width: 2 | 4, count: number): Uint16Array | Uint32Array {
  return width === 2 ? new Uint16Array(record, HEAD, count) : new Uint32Array(record, HEAD, count);
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** A file that is written in large pieces. */
class Sink implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #buffer = new Uint8Array(2 ** 20);
  #used = 0;
  /** Bytes so far. */
  bytes = 0;

  constructor(readonly path: string, readonly hash?: Hash) {
    this.#file = Deno.openSync(path, { write: true, createNew: true });
  }

  write(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    if (this.#used + bytes.length > this.#buffer.length) this.#flush();
    if (bytes.length > this.#buffer.length) this.#put(bytes);
    else {
      this.#buffer.set(bytes, this.#used);
      this.#used += bytes.length;
    }
  }

  /** Have everything on the disk. */
  sync(): void {
    this.#flush();
    this.#file.syncDataSync();
  }

  #flush(): void {
    this.#put(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }

  #put(bytes: Uint8Array): void {
    this.hash?.update(bytes);
    writeBytes(this.#file, bytes, this.path);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
