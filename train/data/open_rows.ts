/** The rows of a run: in memory where they fit, else in a token cache, from which each is read when it is asked for. @module */
import { createHash } from "node:crypto";
import { showBytes } from "../../core/mod.ts";
import { exists } from "../atomic_file.ts";
import { type Dataset, type Example, requireExamples } from "../data.ts";
import { UserError } from "../errors.ts";
import { cacheDirectory } from "../plan_store.ts";
import type { Tokenizer } from "../tokenizer.ts";
import type { Examples } from "./examples.ts";
import { FittedRows, type FittingOptions } from "./fitted_rows.ts";
import { makeCache, refusedCache } from "./make_cache.ts";
import { digestRows } from "./row_digest.ts";
import { namedTogether, rowFiles } from "./row_files.ts";
import { isParquet } from "./row_parts.ts";
import { isGzip, LONGEST, openData } from "./text_file.ts";
import { CACHE_FORMAT, CacheDamage, type CacheFacts, openCache } from "./token_cache.ts";

/** When rows are read from a token cache. */
export const STREAMS = ["auto", "always", "never"] as const;

/** What {@linkcode openRows} does. */
export interface RowOptions extends FittingOptions {
  /** "auto": for files above {@linkcode LARGE}. */
  readonly stream: typeof STREAMS[number];
  /** Directory of the token caches; null: in the user's cache directory. */
  readonly tokenCache: string | null;
  /** Nothing is written: of files without a cache the first rows stand for all. */
  readonly dryRun: boolean;
}

/** How {@linkcode openRows} tells of what it does, and is stopped. */
export interface RowHooks {
  readonly say: (line: string) => void;
  readonly stopped?: () => boolean;
}

/** Rows of files. */
export interface OpenRows<E extends Examples = Examples> extends Omit<Dataset, "examples">, Disposable {
  readonly examples: E;
  /** Digest of the rows. */
  readonly digest: string;
  /** The share of the files that was read: 1, or below where the first rows stand for all. */
  readonly share: number;
}

/** Bytes above which files are not read into memory: texts, or packed (gzip, parquet). */
export const LARGE = { text: 2 ** 26, packed: 2 ** 24 } as const;

/** Rows that stand for all in a dry run. */
const SAMPLED = 5000;

/** Open files of rows; see rowFiles for `names`. Throws DataError, WriteError and UserError. */
export async function openRows(
  names: string,
  tokenizer: Tokenizer,
  options: RowOptions,
  hooks: RowHooks,
): Promise<OpenRows> {
  const files = rowFiles(names), { say } = hooks;
  if (!areLarge(files, options.stream)) return await readIntoMemory(files, tokenizer, options, Infinity, say);
  const facts = factsOf(files, tokenizer, options), dir = placeOf(files, facts, options.tokenCache);
  const found = openIfWhole(dir, files, facts, say);
  if (found) say(`${namedTogether(files)}: tokens from ${dir} (${showBytes(found.bytes)})`);
  else if (options.dryRun) return await readIntoMemory(files, tokenizer, options, SAMPLED, say);
  else {
    // Whoever was waited for may have made it.
    const isMade = (): boolean => {
      using made = openIfWhole(dir, files, facts, () => {});
      return made !== null;
    };
    await makeCache(dir, new FittedRows(files, tokenizer, options), sizeOf(files), facts, {
      ...hooks,
      isMade,
    });
  }
  const opened = found ?? openCache(dir, files, facts);
  return { ...opened, share: 1, [Symbol.dispose]: () => opened[Symbol.dispose]() };
}

function sizeOf(files: readonly string[]): number {
  return files.reduce((n, file) => n + Deno.statSync(file).size, 0);
}

/** Whether files are read from a token cache. */
function areLarge(files: readonly string[], stream: RowOptions["stream"]): boolean {
  if (stream === "never") return false;
  let share = 0;
  for (const file of files) {
    using from = openData(file);
    const { size, isFile } = from.statSync(), head = new Uint8Array(2);
    if (isFile) {
      from.readSync(head);
      share += size / (isParquet(file) || isGzip(head) ? LARGE.packed : LARGE.text);
    } else if (stream === "always") {
      throw new UserError(
        `--stream always: ${file} is a pipe, which cannot be told from another; save it as a file.`,
      );
    }
  }
  return stream === "always" || share > 1;
}

/** What decides what the examples of files are. */
function factsOf(
  files: readonly string[],
  { fingerprint, vocabSize }: Tokenizer,
  { seq, format }: RowOptions,
): CacheFacts {
  const sources = files.map((file) => {
    const { size, mtime, ctime, dev, ino } = Deno.statSync(file);
    return [Deno.realPathSync(file), size, mtime?.getTime(), ctime?.getTime(), dev, ino];
  });
  const key = JSON.stringify([CACHE_FORMAT, sources, fingerprint(), seq, format]);
  return { key: createHash("sha256").update(key).digest("hex"), vocabSize };
}

/** Where the cache of files lies. */
function placeOf(files: readonly string[], { key }: CacheFacts, given: string | null): string {
  const name = files[0]!.replace(/.*[/\\]/, "").replace(/[^\w.-]/g, "_").slice(-40);
  const own = cacheDirectory((variable) => Deno.env.get(variable));
  if (given === null && own === null) {
    throw new UserError(
      "GYRE_CACHE, XDG_CACHE_HOME, HOME and USERPROFILE are not set: give --token-cache DIR.",
    );
  }
  return `${given ?? `${own}/tokens`}/${name}-${key.slice(0, 16)}`;
}

function openIfWhole(dir: string, files: readonly string[], facts: CacheFacts, say: RowHooks["say"]) {
  try {
    return exists(dir) ? openCache(dir, files, facts) : null;
  } catch (error) {
    if (!(error instanceof CacheDamage)) throw refusedCache(error, dir, files);
    say(`${dir}: the token cache is damaged (${error.message}); it is made anew`);
    return null;
  }
}

/** The rows of files; from `enough` on those that come first stand for all. */
async function readIntoMemory(
  files: readonly string[],
  tokenizer: Tokenizer,
  options: RowOptions,
  enough: number,
  say: RowHooks["say"],
): Promise<OpenRows> {
  const rows = new FittedRows(files, tokenizer, options, enough === Infinity ? { most: LONGEST } : {});
  const examples: Example[] = [];
  let whole = true;
  for await (const part of rows.parts()) {
    for (const example of part) examples.push(example);
    whole = examples.length < enough;
    if (!whole) break;
  }
  const { truncated, dropped, read } = rows, name = namedTogether(files);
  const share = whole ? 1 : Math.min(1, read / sizeOf(files));
  if (share < 1) {
    say(
      `${name}: ${
        showBytes(sizeOf(files))
      }, of which a run makes a token cache; these figures are of the first ` +
        `${examples.length + dropped} rows, about ${(100 * share).toPrecision(2)} % of it`,
    );
  }
  const data = requireExamples({ examples, truncated, dropped }, name, options.seq);
  return { ...data, digest: digestRows(examples), share, [Symbol.dispose]: () => {} };
}
