/** Sentences and pairs of sentences as an encoder reads them, between the tokens that its family puts around them. @module */
import type { EncoderConfig, EncoderFamily } from "./encoder_config.ts";
import { TokenizerError } from "./errors.ts";
import { readJson } from "./json_file.ts";
import { build } from "./tokenizer.ts";

/** Token ids and the kind of each: 0 of the first sentence, 1 of the second where the family tells them apart. */
export interface EncodedSentences {
  readonly ids: readonly number[];
  readonly types: readonly number[];
}

/** An encoder's tokenizer. */
export interface SentenceTokenizer {
  /** One sentence, or two; of more than `most` tokens, special ones included, the sentences are cut, the longer one first. */
  readonly encode: (sentences: readonly string[], most: number) => EncodedSentences & {
    /** Whether something was cut. */
    readonly cut: boolean;
  };
  readonly decode: (ids: readonly number[], options?: { readonly special?: boolean }) => string;
  readonly vocabSize: number;
}

/** Tokens around sentences: the fields that name them, their usual names, and how often one ends the first of two. */
const AROUND: Readonly<
  Record<
    EncoderFamily,
    { readonly begin: string; readonly end: string; readonly between: number; readonly kinds: boolean }
  >
> = {
  bert: { begin: "[CLS]", end: "[SEP]", between: 1, kinds: true },
  roberta: { begin: "<s>", end: "</s>", between: 2, kinds: false },
};

/** Read the tokenizer of an encoder's directory: `tokenizer.json` and `tokenizer_config.json`. Throws TokenizerError. */
export function loadSentenceTokenizer(
  dir: string,
  { family }: Pick<EncoderConfig, "family">,
): SentenceTokenizer {
  const missing = "a model directory needs it, copy it from where the model came from";
  const tokenizer = readJson(`${dir}/tokenizer.json`, TokenizerError, missing);
  const config = readJson(`${dir}/tokenizer_config.json`, TokenizerError, missing);
  return sentenceTokenizerOf(tokenizer, config, family, dir);
}

/** {@linkcode loadSentenceTokenizer} from the files' contents; `source` names them in errors. */
export function sentenceTokenizerOf(
  tokenizer: unknown,
  config: unknown,
  family: EncoderFamily,
  source: string,
): SentenceTokenizer {
  const fields = Object(config) as Readonly<Record<string, unknown>>;
  const { model } = Object(tokenizer) as { readonly model?: unknown };
  if (typeof model !== "object" || model === null || typeof config !== "object") {
    throw new TokenizerError(
      `${source}: tokenizer.json must hold a "model", tokenizer_config.json an object; copy both from where the model came from.`,
      { source },
    );
  }
  const inner = build(tokenizer as object, fields, source);
  const { between, kinds, ...usual } = AROUND[family];
  const idOf = (field: string, name: string): number => {
    const value = fields[field] ?? name;
    const text = String((Object(value) as { readonly content?: unknown }).content ?? value);
    const id = inner.token_to_id(text);
    if (id !== undefined) return id;
    throw new TokenizerError(
      `${source}: ${field} is ${
        JSON.stringify(text)
      }, which is no token of tokenizer.json; use the files of one model.`,
      { source, field },
    );
  };
  const begin = idOf("cls_token", usual.begin), end = idOf("sep_token", usual.end);
  return {
    encode: (sentences, most) => {
      const parts = sentences.map((text) => inner.encode(text, { add_special_tokens: false }).ids);
      const [first = [], second] = parts;
      const room = most - (second ? 2 + between : 2);
      const [one, two] = lengthsWithin(first.length, second?.length ?? 0, room);
      const head = [begin, ...first.slice(0, one), end];
      const tail = second ? [...Array<number>(between - 1).fill(end), ...second.slice(0, two), end] : [];
      return {
        ids: [...head, ...tail],
        types: [...head.map(() => 0), ...tail.map(() => kinds ? 1 : 0)],
        cut: one < first.length || two < (second?.length ?? 0),
      };
    },
    decode: (ids, options) =>
      ids.length === 0 ? "" : inner.decode([...ids], { skip_special_tokens: !(options?.special ?? false) }),
    vocabSize: inner.get_vocab(true).size,
  };
}

/**
 * Lengths of two sentences cut to `room` tokens together: the longer one gives way down to the length of the other, then
 * both are halves, the longer one with the odd token, the second of two that are equal. As "longest first" of the fast
 * tokenizers of Hugging Face.
 */
export function lengthsWithin(first: number, second: number, room: number): readonly [number, number] {
  if (first + second <= room) return [first, second];
  const [short, long] = first > second ? [second, first] : [first, second];
  const half = Math.floor(room / 2);
  const [a, b] = short <= half ? [short, Math.min(long, room - short)] : [half, room - half];
  return first > second ? [b, a] : [a, b];
}
