/** What a model is asked to go on from: a text, or rows of a JSON-lines file. @module */
import { DataError, TokenizerError } from "./errors.ts";
import { parseRow, type Row } from "./rows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A prompt as the model sees it. */
export interface Prompt {
  readonly text: string;
  readonly ids: readonly number[];
}

/** The prompt of a plain text. */
export function promptOf(text: string, { encode, eosId }: Tokenizer): Prompt {
  const ids = encode(text);
  // Some tokenizers end texts themselves.
  return { text, ids: ids.at(-1) === eosId ? ids.slice(0, -1) : ids };
}

/**
 * Prompts of a JSON-lines text: rows of training, whose answers are passed over, or `{"prompt"}`, or `{"question"}`. A
 * chat asks for the assistant's message that comes last, or next. Throws DataError naming `file:line`.
 */
export function parsePrompts(text: string, file: string, tokenizer: Tokenizer): Prompt[] {
  const prompts = text.replace(/^\uFEFF/, "").split(/\r?\n/).flatMap((line, i) =>
    line.trim() === "" ? [] : [promptOfLine(line, `${file}:${i + 1}`, tokenizer)]
  );
  if (prompts.length > 0) return prompts;
  throw new DataError(`${file}: has no rows; expected one JSON object a line: {"prompt"} or {"messages"}.`, {
    file,
  });
}

function promptOfLine(line: string, where: string, tokenizer: Tokenizer): Prompt {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw new DataError(
      `${where}: not JSON (${(error as Error).message}); each line must be one JSON object.`,
      { where },
    );
  }
  try {
    return promptOfRow(parseRow(withAnswer(json), where), tokenizer);
  } catch (error) {
    if (error instanceof TokenizerError) throw new DataError(`${where}: ${error.message}`, { where });
    throw error;
  }
}

/** A row that lacks its answer, with an empty one. */
function withAnswer(json: unknown): unknown {
  if (typeof json !== "object" || json === null || Object.keys(json).length !== 1) return json;
  if (Object.hasOwn(json, "prompt")) return { ...json, completion: "" };
  return Object.hasOwn(json, "question") ? { ...json, answer: "" } : json;
}

function promptOfRow(row: Row, tokenizer: Tokenizer): Prompt {
  if (row.kind === "prompt") return promptOf(row.prompt, tokenizer);
  if (row.kind === "text") return promptOf(row.text, tokenizer);
  const { messages } = row;
  const asked = messages.at(-1)!.role === "assistant" ? messages.slice(0, -1) : messages;
  const text = tokenizer.renderChat(asked, true);
  return { text, ids: tokenizer.encodeChat(text) };
}
