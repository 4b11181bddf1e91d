/** Rows of a data file: JSON lines, JSON arrays, CSV or TSV, of several formats, checked. @module */
import { type Format, FORMAT_NAMES, type FormatName, FORMATS, showKeys } from "./data/formats.ts";
import { jsonItemReader, jsonLineReader } from "./data/json_records.ts";
import { csvReader, tsvReader } from "./data/table_records.ts";
import { type PlacedValue, requireShort, type ValueReader } from "./data/value_reader.ts";
import { DataError } from "./errors.ts";
import type { Message } from "./tokenizer.ts";

export { FORMAT_NAMES, type FormatName } from "./data/formats.ts";

/** What a row asks to learn. */
export type Row =
  /** Learn `completion` after `prompt`. */
  | { readonly kind: "prompt"; readonly prompt: string; readonly completion: string }
  /** Learn the whole text. */
  | { readonly kind: "text"; readonly text: string }
  /** Learn the assistant's messages. */
  | { readonly kind: "chat"; readonly messages: readonly Message[] };

/** A row and where it stands: `file:line`, in a JSON array with the number of the item. */
export interface PlacedRow {
  readonly row: Row;
  readonly where: string;
}

const EXPECTED = FORMAT_NAMES.map((name) => {
  const all = FORMATS.filter((f) => f.name === name);
  return showKeys(all[0]!.keys) + (all.length > 1 ? " and the like" : "");
}).join(", ");

/**
 * Understand one row. With "auto" its fields say of what format it is, and there may be no further ones; of a row of a
 * given format, further fields are passed over. Throws DataError naming `where` and what is wrong: unknown or missing
 * keys, values of other types.
 */
export function parseRow(json: unknown, where: string, format: FormatName | "auto" = "auto"): Row {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new DataError(`${where}: expected a JSON object, one of ${EXPECTED}.`, { where });
  }
  const record = json as Readonly<Record<string, unknown>>;
  const found = format === "auto" ? recognise(record, where) : forced(record, where, format);
  const bad = (key: string, expected: string) =>
    new DataError(`${where}: ${key} is ${shorten(record[key])}; expected ${expected}.`, { where, key });
  const text = (key: string): string => {
    const value = record[key];
    if (typeof value === "string") return value;
    throw bad(key, "a text");
  };
  return found.read({
    text,
    optional: (key) => Object.hasOwn(record, key) ? text(key) : "",
    label: (key) => {
      const value = record[key];
      const label = ["string", "number", "boolean"].includes(typeof value) ? String(value) : "";
      if (label.trim() !== "") return label;
      throw bad(key, "a label: a text, a number or a truth value");
    },
    messages: (key, role, content) => {
      const value = record[key];
      const messages = Array.isArray(value) ? value.map((x) => messageOf(x, role, content)) : [];
      if (messages.length > 0 && messages.every((m) => m !== null)) return messages;
      throw bad(key, `a list of ${showKeys([role, content])} of texts`);
    },
  });
}

/** The format whose fields these are, no more and no less. */
function recognise(record: Readonly<Record<string, unknown>>, where: string): Format {
  const found = Object.keys(record);
  const strangers = ({ keys, optional = [], ignored = [] }: Format): string[] =>
    found.filter((k) => ![keys, optional, ignored].some((known) => known.includes(k)));
  const near = fitting(record).sort((a, b) => strangers(a).length - strangers(b).length)[0];
  const extra = near ? strangers(near) : [];
  if (near && extra.length === 0) return near;
  const advice = near
    ? `remove ${extra.map((k) => JSON.stringify(k)).join(", ")}, or give --format ${near.name}`
    : `expected one of ${EXPECTED}`;
  throw new DataError(`${where}: the row's keys are ${showKeys(found)}; ${advice}.`, { where, keys: found });
}

function forced(record: Readonly<Record<string, unknown>>, where: string, format: FormatName): Format {
  const found = fitting(record).find((f) => f.name === format);
  if (found) return found;
  const wanted = FORMATS.filter((f) => f.name === format).map((f) => showKeys(f.keys));
  const keys = Object.keys(record);
  throw new DataError(
    `${where}: the row's keys are ${showKeys(keys)}; --format ${format} needs ${wanted.join(" or ")}.`,
    { where, keys },
  );
}

/** The formats all of whose fields a record has. */
function fitting(record: Readonly<Record<string, unknown>>): Format[] {
  return FORMATS.filter(({ keys }) => keys.every((k) => Object.hasOwn(record, k)));
}

function messageOf(x: unknown, role: string, content: string): Message | null {
  if (typeof x !== "object" || x === null) return null;
  const { [role]: who, [content]: what } = x as Readonly<Record<string, unknown>>;
  return typeof who === "string" && typeof what === "string" ? { role: who, content: what } : null;
}

function shorten(value: unknown): string {
  const text = JSON.stringify(value) ?? "absent";
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/**
 * Understand the text of a data file. Its name says how rows stand in it: `.csv`, `.tsv`, `.jsonl`, each also with
 * `.gz`; in other files an opening bracket begins a JSON array, anything else JSON lines. Throws DataError naming
 * `file:line`, or an empty file.
 */
export function parseRows(text: string, file: string, format: FormatName | "auto" = "auto"): PlacedRow[] {
  return requireRows(rowsOf(valuesOf(text.replace(/^\uFEFF/, ""), file), format), file);
}

/** Understand values of a data file. Throws DataError. */
export function rowsOf(values: readonly PlacedValue[], format: FormatName | "auto" = "auto"): PlacedRow[] {
  return values.map(({ json, where }) => ({ row: parseRow(json, where, format), where }));
}

/** The rows of a whole file, or what becomes of them. Throws DataError where there are none. */
export function requireRows<T extends { readonly length: number }>(rows: T, file: string): T {
  if (rows.length > 0) return rows;
  throw new DataError(`${file}: has no rows; expected rows of ${EXPECTED}.`, { file });
}

/** The objects of a data file, not yet understood; see {@linkcode parseRows}. */
export function valuesOf(text: string, file: string): PlacedValue[] {
  return valueReader(file)(text, true);
}

/** The same of a text that comes in parts. */
export function valueReader(file: string): ValueReader {
  const ending = /\.([^./]*)$/.exec(file.toLowerCase().replace(/\.gz$/, ""))?.[1];
  switch (ending) {
    case "csv":
      return csvReader(file);
    case "tsv":
      return tsvReader(file);
    case "jsonl":
    case "ndjson":
      return jsonLineReader(file);
  }
  // The first character that is no space says which it is.
  let reader: ValueReader | null = null, before = "";
  return (part, last) => {
    if (reader) return reader(part, last);
    before += part;
    const first = /\S/.exec(before)?.[0];
    requireShort(before, () => file);
    if (first === undefined && !last) return [];
    reader = first === "[" ? jsonItemReader(file) : jsonLineReader(file);
    return reader(before, last);
  };
}
