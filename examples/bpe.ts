/**
 * A byte-level BPE tokenizer learned from text and written in Hugging Face's `tokenizer.json` form.
 *
 * ```sh
 * deno run -A examples/bpe.ts --out examples/base
 * ```
 * Every byte is a token, so every text can be encoded; digits stay single tokens; no token crosses a word's edge.
 * Method: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016, algorithm 1.
 * @module
 */
import { helpOf, OptionError, parseFlags, runProgram, type TableOf } from "../train/mod.ts";
import { writeTextAtomically } from "../train/atomic_file.ts";
import { tryWriting } from "../train/output_directory.ts";
import { flag, optional, toggle } from "../train/parse_flags.ts";
import { text, whole } from "../train/readers.ts";
import { pretrainRows } from "./corpus.ts";

/** Two neighbouring tokens that become one. */
export type Merge = readonly [left: string, right: string];

/** The special tokens in the order of their ids, from 0. */
export const SPECIALS: readonly string[] = ["<unk>", "<s>", "</s>", "<pad>"];

/** The words that merges stay inside: a word, a digit, a run of other signs, or one white space. */
export const WORD_PATTERN = " ?[A-Za-z]+|[0-9]| ?[^A-Za-z0-9 \\t\\r\\n]+|[ \\t\\r\\n]";

/** Sign for each byte: itself where printable, else one of the code points from 256 on (the GPT-2 table). */
const BYTE_SIGNS: readonly string[] = byteSigns();

function byteSigns(): readonly string[] {
  let spare = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : spare++);
  });
}

function signsOf(word: string): readonly string[] {
  return Array.from(new TextEncoder().encode(word), (byte) => BYTE_SIGNS[byte]!);
}

function countWords(texts: Iterable<string>): ReadonlyMap<string, number> {
  const pattern = new RegExp(WORD_PATTERN, "gu");
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(pattern)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

interface Word {
  readonly count: number;
  readonly parts: readonly string[];
}

function mostFrequentPair(words: readonly Word[]): Merge | undefined {
  const counts = new Map<string, number>();
  for (const { count, parts } of words) {
    for (let i = 1; i < parts.length; i++) {
      const pair = `${parts[i - 1]} ${parts[i]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best: string | undefined;
  let most = 0;
  for (const [pair, count] of counts) {
    if (count > most || (count === most && best !== undefined && pair < best)) [best, most] = [pair, count];
  }
  if (best === undefined) return undefined;
  const [left, right] = best.split(" ");
  return [left!, right!];
}

function join(parts: readonly string[], [left, right]: Merge): readonly string[] {
  const joined: string[] = [];
  for (let i = 0; i < parts.length; i++) {
    const meets = parts[i] === left && parts[i + 1] === right;
    joined.push(meets ? left + right : parts[i]!);
    if (meets) i++;
  }
  return joined;
}

/**
 * The merges that fill a vocabulary of `vocabSize` entries (specials and 256 bytes included), most useful first; ties go
 * to the alphabetically first pair, so the outcome depends on the texts alone.
 *
 * Throws a RangeError when `vocabSize` leaves no room for the bytes, or when the texts have too few different words to
 * fill it. Cost: one pass over the texts, then merges × different words.
 */
export function trainBpe(texts: Iterable<string>, vocabSize: number): readonly Merge[] {
  const wanted = vocabSize - SPECIALS.length - 256;
  if (!(wanted >= 0)) {
    throw new RangeError(
      `A vocabulary of ${vocabSize} cannot hold the bytes: give at least ${256 + SPECIALS.length}`,
    );
  }
  let words: readonly Word[] = Array.from(
    countWords(texts),
    ([word, count]) => ({ count, parts: signsOf(word) }),
  );
  const merges: Merge[] = [];
  while (merges.length < wanted) {
    const best = mostFrequentPair(words);
    if (best === undefined) {
      const reached = vocabSize - wanted + merges.length;
      throw new RangeError(
        `The texts fill a vocabulary of only ${reached}: give at most that, not ${vocabSize}`,
      );
    }
    merges.push(best);
    words = words.map(({ count, parts }) => ({ count, parts: join(parts, best) }));
  }
  return merges;
}

/** The `tokenizer.json` of these merges: ids are the specials, the bytes, then one for each merge; `<s>` opens a text. */
export function tokenizerJson(merges: readonly Merge[]): Readonly<Record<string, unknown>> {
  const tokens = [...SPECIALS, ...BYTE_SIGNS, ...merges.map(([left, right]) => left + right)];
  const open = { SpecialToken: { id: "<s>", type_id: 0 } };
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIALS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: WORD_PATTERN }, behavior: "Isolated", invert: false },
        byteLevel,
      ],
    },
    post_processor: {
      type: "TemplateProcessing",
      single: [open, { Sequence: { id: "A", type_id: 0 } }],
      pair: [open, { Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 0 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [SPECIALS.indexOf("<s>")], tokens: ["<s>"] } },
    },
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<unk>",
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => `${left} ${right}`),
    },
  };
}

/** The `tokenizer_config.json` that goes with it, for a model that reads up to `length` tokens. */
export function tokenizerConfig(length: number): Readonly<Record<string, unknown>> {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: "<s>",
    eos_token: "</s>",
    unk_token: "<unk>",
    pad_token: "<pad>",
    clean_up_tokenization_spaces: false,
    model_max_length: length,
  };
}

function* texts(seed: number, chars: number): Generator<string> {
  for (const { text } of pretrainRows(seed, chars)) yield text;
}

interface BpeFlags {
  readonly out: string | null;
  readonly vocab: number;
  readonly seed: number;
  readonly chars: number;
  readonly help: boolean;
}

/** Special tokens and bytes; merges come on top. */
const LEAST_VOCAB = SPECIALS.length + 256;

const FLAGS: TableOf<BpeFlags, { readonly root: string }> = {
  out: optional("DIR", text, "needed", "directory for tokenizer.json and tokenizer_config.json"),
  vocab: flag("N", whole(LEAST_VOCAB), 512, "tokens"),
  chars: flag("N", whole(1), 1_000_000, "characters of generated text to learn from"),
  seed: flag("N", whole(0, 2 ** 32 - 1), 1, "decides the text"),
  help: toggle("show this text"),
};

/** {@linkcode trainBpe} for people: throws OptionError where the texts cannot fill the vocabulary. */
function mergesFor(vocab: number, texts: Iterable<string>): readonly Merge[] {
  try {
    return trainBpe(texts, vocab);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new OptionError(`--vocab ${vocab}: ${error.message}, or more --chars.`, { vocab });
  }
}

function main(args: readonly string[]): number {
  const { out, vocab, seed, chars, help } = parseFlags(FLAGS, args, { root: "" });
  if (help) {
    console.log(
      helpOf("Learn a tokenizer from generated text: deno run -A examples/bpe.ts --out DIR [flags]", FLAGS),
    );
    return 0;
  }
  if (out === null) throw new OptionError("There is no place for the tokenizer: give --out DIR.");
  tryWriting(out);
  const merges = mergesFor(vocab, texts(seed, chars));
  Deno.mkdirSync(out, { recursive: true });
  const files = { "tokenizer.json": tokenizerJson(merges), "tokenizer_config.json": tokenizerConfig(256) };
  for (const [name, value] of Object.entries(files)) {
    writeTextAtomically(`${out}/${name}`, `${JSON.stringify(value, null, 2)}\n`);
    console.log(`${out}/${name}`);
  }
  return 0;
}

if (import.meta.main) await runProgram((args) => Promise.resolve(args).then(main));
