/** Rows of a data file: JSON lines of four kinds, checked. @module */
import { DataError } from "./errors.ts";
import type { Message } from "./tokenizer.ts";

/** What a row asks to learn. */
export type Row =
  /** Learn `completion` after `prompt`. */
  | { readonly kind: "prompt"; readonly prompt: string; readonly completion: string }
  /** Learn the whole text. */
  | { readonly kind: "text"; readonly text: string }
  /** Learn the assistant's messages. */
  | { readonly kind: "chat"; readonly messages: readonly Message[] };

/** A row and where it stands, `file:line`. */
export interface PlacedRow {
  readonly row: Row;
  readonly where: string;
}

/** The kinds of rows, by their keys. A question and its answer are a prompt and its completion, a line break between. */
const KINDS: readonly { readonly keys: readonly string[]; readonly read: (fields: Fields) => Row }[] = [
  {
    keys: ["question", "answer"],
    read: (f) => ({ kind: "prompt", prompt: `${f.text("question")}\n`, completion: f.text("answer") }),
  },
  {
    keys: ["prompt", "completion"],
    read: (f) => ({ kind: "prompt", prompt: f.text("prompt"), completion: f.text("completion") }),
  },
  { keys: ["text"], read: (f) => ({ kind: "text", text: f.text("text") }) },
  { keys: ["messages"], read: (f) => ({ kind: "chat", messages: f.messages("messages") }) },
];

const EXPECTED = KINDS.map(({ keys }) => `{${keys.map((k) => `"${k}"`).join(", ")}}`).join(", ");

interface Fields {
  readonly text: (key: string) => string;
  readonly messages: (key: string) => readonly Message[];
}

/** Understand one row. Throws DataError naming `where` and what is wrong: unknown or missing keys, values of other types. */
export function parseRow(json: unknown, where: string): Row {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new DataError(`${where}: expected a JSON object, one of ${EXPECTED}.`, { where });
  }
  const record = json as Readonly<Record<string, unknown>>;
  const found = Object.keys(record);
  const kind = KINDS.find(({ keys }) =>
    keys.length === found.length && keys.every((k) => Object.hasOwn(record, k))
  );
  if (!kind) {
    const shown = `{${found.map((k) => JSON.stringify(k)).join(", ")}}`;
    const near = KINDS.find(({ keys }) => keys.every((k) => Object.hasOwn(record, k)));
    const extra = near
      ? found.filter((k) => !near.keys.includes(k)).map((k) => JSON.stringify(k)).join(", ")
      : "";
    const advice = near ? `remove ${extra}` : `expected one of ${EXPECTED}`;
    throw new DataError(`${where}: the row's keys are ${shown}; ${advice}.`, { where, keys: found });
  }
  const bad = (key: string, expected: string) =>
    new DataError(`${where}: ${key} is ${shorten(record[key])}; expected ${expected}.`, { where, key });
  return kind.read({
    text: (key) => {
      const value = record[key];
      if (typeof value === "string") return value;
      throw bad(key, "a text");
    },
    messages: (key) => {
      const value = record[key];
      if (Array.isArray(value) && value.length > 0 && value.every(isMessage)) return value;
      throw bad(key, `a list of {"role", "content"} of texts`);
    },
  });
}

function isMessage(x: unknown): x is Message {
  if (typeof x !== "object" || x === null) return false;
  const { role, content } = x as Readonly<Record<string, unknown>>;
  return typeof role === "string" && typeof content === "string";
}

function shorten(value: unknown): string {
  const text = JSON.stringify(value) ?? "absent";
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** Understand a JSON-lines text; empty lines are passed over. Throws DataError naming `file:line`, or an empty file. */
export function parseRows(text: string, file: string): PlacedRow[] {
  const rows: PlacedRow[] = [];
  text.replace(/^\uFEFF/, "").split(/\r?\n/).forEach((line, i) => {
    if (line.trim() === "") return;
    const where = `${file}:${i + 1}`;
    let json: unknown;
    try {
      json = JSON.parse(line);
    } catch (error) {
      throw new DataError(
        `${where}: not JSON (${(error as Error).message}); each line must be one JSON object.`,
        { where },
      );
    }
    rows.push({ row: parseRow(json, where), where });
  });
  if (rows.length === 0) {
    throw new DataError(`${file}: has no rows; expected one JSON object a line: ${EXPECTED}.`, { file });
  }
  return rows;
}
