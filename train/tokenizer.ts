/** Text to token ids and back, as a model's `tokenizer.json` says; chats through its template. @module */
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { createHash } from "node:crypto";
import {
  type BoundedTemplate,
  boundedTemplate,
  JinjaLimitError,
  limitsFor,
} from "./chat_template/bounded.ts";
import { TokenizerError } from "./errors.ts";
import { fastEncoder } from "./fast_bpe.ts";
import { readJson } from "./json_file.ts";
import { wildness } from "./tame_expression.ts";

/** A message of a chat. */
export interface Message {
  /** `system`, `user`, `assistant`, or what else the template knows. */
  readonly role: string;
  readonly content: string;
}

/** A model's tokenizer. */
export interface Tokenizer {
  /** Token ids. With `special` (the default) the tokenizer adds its own, usually the token that begins a text. */
  readonly encode: (text: string, options?: { readonly special?: boolean }) => number[];
  /** Text of token ids, special tokens left out unless `special` asks for them. */
  readonly decode: (ids: readonly number[], options?: { readonly special?: boolean }) => string;
  readonly bosId: number | null;
  /** The token that ends an answer. */
  readonly eosId: number;
  readonly vocabSize: number;
  /** Token ids of {@linkcode renderChat}'s text. */
  readonly encodeChat: (text: string) => number[];
  /**
   * Text of a chat in the model's own form; with `prompt`, up to where the assistant's next message begins. Throws
   * TokenizerError when the template refuses the messages.
   */
  readonly renderChat: (messages: readonly Message[], prompt?: boolean) => string;
  /** SHA-256 of what it was made from. */
  readonly fingerprint: () => string;
}

/** Chats of models without a template: `role: content` lines, the assistant's ended by the model's end token. */
export const PLAIN_TEMPLATE = [
  "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}",
  "{{ message['role'] + ': ' + message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}",
  "{% endfor %}{% if add_generation_prompt %}{{ '\\nassistant:' }}{% endif %}",
].join("");

/** What {@linkcode tokenizerOf} reads. */
export interface TokenizerFiles {
  /** `tokenizer.json`. */
  readonly tokenizer: unknown;
  /** `tokenizer_config.json`: `bos_token`, `eos_token`, `chat_template`. */
  readonly config: unknown;
  /** `chat_template.jinja`, where there is one; it wins over the configuration's. */
  readonly template?: string;
}

/** Build a tokenizer from its files' contents; `source` names them in errors. Throws TokenizerError. */
export function tokenizerOf({ tokenizer, config, template }: TokenizerFiles, source: string): Tokenizer {
  const fields = asRecord(config);
  if (!asRecord(tokenizer)?.["model"] || !fields) {
    throw new TokenizerError(
      `${source}: tokenizer.json must hold a "model", tokenizer_config.json an object; copy both from where the model came from.`,
      { source },
    );
  }
  requireTame(tokenizer, source);
  const inner = build(tokenizer as object, fields, source);
  const vocabSize = sizeOfVocabulary(inner, source);
  const special = (field: string): string | null => {
    const value = fields[field];
    const text = asRecord(value)?.["content"] ?? value;
    return typeof text === "string" ? text : null;
  };
  const idOf = (field: string): number | null => {
    const text = special(field);
    if (text === null) return null;
    const id = inner.token_to_id(text);
    if (id !== undefined) return id;
    throw new TokenizerError(
      `${source}: ${field} is ${JSON.stringify(text)}, which is no token of tokenizer.json.`,
      {
        source,
        field,
      },
    );
  };
  const eosId = idOf("eos_token");
  if (eosId === null) {
    throw new TokenizerError(
      `${source}: tokenizer_config.json names no eos_token; answers need a token to end with.`,
      {
        source,
        field: "eos_token",
      },
    );
  }
  const fast = usable(source, () => fastEncoder(inner));
  const encode = (text: string, special: boolean): number[] => {
    const ids = usable(
      source,
      () => fast?.(text, special) ?? inner.encode(text, { add_special_tokens: special }).ids,
    );
    // A vocabulary without a token for unknown text leaves holes.
    if (ids.every((id) => Number.isInteger(id) && id >= 0 && id < vocabSize)) return ids;
    throw new TokenizerError(
      `${source}: tokenizer.json has no token for a part of ${
        JSON.stringify(text.slice(0, 60))
      }; copy the whole file again.`,
      { source },
    );
  };
  const chat = template ?? templateIn(fields["chat_template"]);
  const render = compile(chat ?? PLAIN_TEMPLATE, source);
  return {
    encode: (text, options) => encode(text, options?.special ?? true),
    decode: (ids, options) =>
      ids.length === 0
        ? ""
        : usable(source, () => inner.decode([...ids], { skip_special_tokens: !(options?.special ?? false) })),
    bosId: idOf("bos_token"),
    eosId,
    vocabSize,
    // A model's own template writes the token that begins a text itself.
    encodeChat: (text) => encode(text, chat === null),
    renderChat: (messages, prompt = false) =>
      render(messages, {
        add_generation_prompt: prompt,
        bos_token: special("bos_token") ?? "",
        eos_token: special("eos_token") ?? "",
      }),
    fingerprint: () =>
      createHash("sha256").update(JSON.stringify([tokenizer, config, template ?? null])).digest("hex"),
  };
}

/** Read the tokenizer of a model directory. Throws TokenizerError. */
export function loadTokenizer(dir: string): Tokenizer {
  const missing = "a model directory needs it, copy it from where the model came from";
  const template = textIfThere(`${dir}/chat_template.jinja`);
  return tokenizerOf({
    tokenizer: readJson(`${dir}/tokenizer.json`, TokenizerError, missing),
    config: readJson(`${dir}/tokenizer_config.json`, TokenizerError, missing),
    ...(template === null ? {} : { template }),
  }, dir);
}

function asRecord(x: unknown): Readonly<Record<string, unknown>> | null {
  return typeof x === "object" && x !== null && !Array.isArray(x) ? x as Record<string, unknown> : null;
}

/** The tokenizer that `tokenizer.json` describes; `source` names it in errors. Throws TokenizerError. */
export function build(tokenizer: object, config: object, source: string): HuggingFaceTokenizer {
  return usable(source, () => new HuggingFaceTokenizer(tokenizer, config));
}

/** What `use` gives; what it throws is blamed on the file, since the library trusts it. */
function usable<T>(source: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    throw new TokenizerError(`${source}: tokenizer.json cannot be used (${oneLine(error)}).`, { source });
  }
}

/** Ids that a model must have rows for: one more than the largest. Throws TokenizerError for ids that are none. */
function sizeOfVocabulary(inner: HuggingFaceTokenizer, source: string): number {
  let size = 0;
  for (const [token, id] of usable(source, () => inner.get_vocab(true))) {
    if (!Number.isSafeInteger(id) || id < 0) {
      throw new TokenizerError(
        `${source}: tokenizer.json gives ${JSON.stringify(token)} the id ${
          JSON.stringify(id)
        }; expected a whole number from 0 on.`,
        { source, token },
      );
    }
    size = Math.max(size, id + 1);
  }
  return size;
}

/** Refuse expressions that could run without end on the right text. */
function requireTame(tokenizer: unknown, source: string): void {
  const unvisited: unknown[] = ["normalizer", "pre_tokenizer", "decoder", "post_processor"].map((part) =>
    asRecord(tokenizer)?.[part]
  );
  while (unvisited.length > 0) {
    const at = unvisited.pop();
    if (typeof at !== "object" || at === null) continue;
    const { Regex: regex } = at as { readonly Regex?: unknown };
    const why = typeof regex === "string" ? wildness(regex) : null;
    if (why !== null) {
      throw new TokenizerError(
        `${source}: an expression of tokenizer.json could run without end: ${why}: ${regex}`,
        { source, regex },
      );
    }
    for (const part of Object.values(at)) unvisited.push(part);
  }
}

/** A template, or the one named "default" in a list of templates. */
function templateIn(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  const named = value.map(asRecord).find((entry) => entry?.["name"] === "default");
  return typeof named?.["template"] === "string" ? named["template"] : null;
}

/** Reads a template; what it gives renders messages. */
function compile(
  text: string,
  source: string,
): (messages: readonly Message[], values: Record<string, unknown>) => string {
  let template: BoundedTemplate;
  try {
    template = boundedTemplate(text);
  } catch (error) {
    throw new TokenizerError(`${source}: the chat template cannot be read (${oneLine(error)}).`, { source });
  }
  return (messages, values) => {
    // Each message takes some steps, whatever its length.
    const size = messages.reduce((n, m) => n + m.role.length + m.content.length + 16, 0);
    try {
      return template({ ...values, messages }, limitsFor(size));
    } catch (error) {
      if (error instanceof JinjaLimitError) {
        throw new TokenizerError(
          `${source}: the chat template goes on without end or fills the memory and was stopped: ${error.message}; put another chat_template.jinja into the directory, or give rows that need no template (--format prompt, question or text).`,
          { source },
        );
      }
      throw new TokenizerError(`${source}: the chat template refuses these messages (${oneLine(error)}).`, {
        source,
      });
    }
  };
}

function oneLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split("\n")[0]!;
}

function textIfThere(path: string): string | null {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
