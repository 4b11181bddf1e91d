/**
 * Data: rows become examples of token ids, of which some are trained.
 *
 * A question is asked as `question + "\n"`, and learnt is `answer` and the end token; a prompt and its completion stand
 * together as they are. Of a text everything is learnt, of a chat the assistant's messages. @module
 */
import type { Examples } from "./data/examples.ts";
import { rowParts } from "./data/row_parts.ts";
import { LONGEST, readText } from "./data/text_file.ts";
import { DataError, TokenizerError } from "./errors.ts";
import { type FormatName, parseRows, type PlacedRow, type Row } from "./rows.ts";
import type { Message, Tokenizer } from "./tokenizer.ts";

/** One sequence. */
export interface Example {
  readonly ids: readonly number[];
  /** Whether a token is to be learnt, for each id. */
  readonly trained: readonly boolean[];
  /** Ids before this are the prompt: what generation is given. */
  readonly promptLength: number;
  readonly prompt: string;
  /** What stands after the last "####" of the completion, where there is one. */
  readonly answer?: string;
  /** Of a row for an encoder, which reads all ids: the kind of each, and the class or the number to predict. */
  readonly classified?: { readonly types: readonly number[]; readonly target: number };
  /** Where its row stands: `file:line`. */
  readonly where?: string;
}

/** Examples that fit, and what was lost to make them fit. */
export interface Dataset {
  readonly examples: readonly Example[];
  /** Examples cut at the end. */
  readonly truncated: number;
  /** Examples left out because cutting left nothing to learn. */
  readonly dropped: number;
}

/** The first `limit` rows of a file, parquet included; see parseRows for `format`. Throws DataError. */
export async function readRows(
  file: string,
  format: FormatName | "auto" = "auto",
  limit = Infinity,
): Promise<PlacedRow[]> {
  const rows: PlacedRow[] = [];
  for await (const part of rowParts(file, format, { most: LONGEST })) {
    for (const row of part) rows.push(row);
    if (rows.length >= limit) break;
  }
  return rows.slice(0, limit);
}

/** {@linkcode loadDataset}, of parquet files too. Throws DataError. */
export async function openDataset(
  file: string,
  tokenizer: Tokenizer,
  seq: number,
  format: FormatName | "auto" = "auto",
): Promise<Dataset> {
  return datasetOf(await readRows(file, format), file, tokenizer, seq);
}

/** Read a file of rows into examples of at most `seq` positions; see parseRows for `format`. Throws DataError. */
export function loadDataset(
  file: string,
  tokenizer: Tokenizer,
  seq: number,
  format: FormatName | "auto" = "auto",
): Dataset {
  return datasetOf(parseRows(readText(file), file, format), file, tokenizer, seq);
}

function datasetOf(rows: readonly PlacedRow[], file: string, tokenizer: Tokenizer, seq: number): Dataset {
  return requireExamples(fitExamples(rows.map((placed) => placedExample(placed, tokenizer)), seq), file, seq);
}

/** What became of a whole file. Throws DataError where nothing of it can be learnt. */
export function requireExamples<T extends Pick<Dataset, "dropped"> & { readonly examples: Examples }>(
  dataset: T,
  file: string,
  seq: number,
): T {
  if (dataset.examples.length > 0) return dataset;
  throw new DataError(
    `${file}: none of ${dataset.dropped} rows has a token to learn within --seq ${seq}; give a larger --seq.`,
    { file, seq },
  );
}

/** The example of a row, with where it stands. */
export function placedExample(placed: PlacedRow, tokenizer: Tokenizer): Example {
  return { ...exampleOf(placed, tokenizer), where: placed.where };
}

/** Make the example of a row. */
export function exampleOf({ row, where }: PlacedRow, tokenizer: Tokenizer): Example {
  try {
    return build(row, where, tokenizer);
  } catch (error) {
    if (error instanceof TokenizerError) throw new DataError(`${where}: ${error.message}`, { where });
    throw error;
  }
}

function build(row: Row, where: string, tokenizer: Tokenizer): Example {
  const { encode, eosId } = tokenizer;
  // Some tokenizers end texts themselves.
  const ended = (ids: number[]): number[] => ids.at(-1) === eosId ? ids : [...ids, eosId];
  if (row.kind === "chat") return chatExample(row.messages, where, tokenizer);
  if (row.kind === "text") {
    const ids = ended(encode(row.text));
    return { ids, trained: ids.map((_, i) => i > 0), promptLength: 1, prompt: "" };
  }
  const { prompt, completion } = row;
  // Prompt and completion are encoded together, so that tokens are those of the whole text. Where a token spans the
  // border, it belongs to the completion.
  const ids = ended(encode(prompt + completion));
  const promptLength = commonPrefix(encode(prompt), ids);
  const answer = completion.split("####").slice(1).at(-1)?.trim();
  return {
    ids,
    trained: ids.map((_, i) => i >= promptLength),
    promptLength,
    prompt,
    ...(answer === undefined ? {} : { answer }),
  };
}

function chatExample(messages: readonly Message[], where: string, tokenizer: Tokenizer): Example {
  const { renderChat, encodeChat } = tokenizer;
  const ids = encodeChat(renderChat(messages));
  const trained = ids.map(() => false);
  let promptLength = ids.length, prompt = "";
  messages.forEach(({ role }, i) => {
    if (role !== "assistant") return;
    const whole = renderChat(messages.slice(0, i + 1));
    const before = [true, false].map((asked) =>
      i === 0 && !asked ? "" : renderChat(messages.slice(0, i), asked)
    )
      .find((text) => whole.startsWith(text));
    if (before === undefined) {
      throw new DataError(
        `${where}: the chat template rewrites earlier messages, so the assistant's part of message ${
          i + 1
        } cannot be ` +
          `found; give rows of {"prompt", "completion"}.`,
        { where },
      );
    }
    const from = commonPrefix(encodeChat(before), ids), to = commonPrefix(encodeChat(whole), ids);
    trained.fill(true, from, to);
    promptLength = Math.min(promptLength, from);
    if (prompt === "") prompt = before;
  });
  return { ids, trained, promptLength, prompt };
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const end = Math.min(a.length, b.length);
  for (let i = 0; i < end; i++) if (a[i] !== b[i]) return i;
  return end;
}

/**
 * Cut examples to `seq` positions: `seq + 1` ids, because the last is only a target. Those with nothing left to learn are
 * left out; both are counted.
 */
export function fitExamples(examples: readonly Example[], seq: number): Dataset {
  const fitted = examples.map((example) => fitExample(example, seq));
  return {
    examples: fitted.flatMap(({ example }) => example ?? []),
    truncated: fitted.filter(({ example, cut }) => example && cut).length,
    dropped: fitted.filter(({ example }) => !example).length,
  };
}

/** One example, cut where it is longer than `seq` positions; null where then nothing is left to learn. */
export function fitExample(
  example: Example,
  seq: number,
): { readonly example: Example | null; readonly cut: boolean } {
  const cut = example.ids.length > seq + 1;
  const fitted = cut
    ? { ...example, ids: example.ids.slice(0, seq + 1), trained: example.trained.slice(0, seq + 1) }
    : example;
  // The first id has nothing before it to be learnt from.
  return { example: fitted.trained.some((t, i) => t && i > 0) ? fitted : null, cut };
}
