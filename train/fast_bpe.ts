/**
 * Byte-pair encoding (arXiv:1508.07909) in less time than the library's tokenizers take, which go from texts to tokens
 * and from these to ids, and do the same work again for each word of each text. What comes out is the same; texts that
 * it could be another for are left to the library. @module
 */
import { BPE, ByteLevelPreTokenizer, SequencePreTokenizer, type Tokenizer } from "@huggingface/tokenizers";
import { WordTable } from "./word_table.ts";

/** Ids of a text, with or without the special tokens around it; null: the library must say. */
export type FastEncode = (text: string, special: boolean) => number[] | null;

/** Longest word that is remembered as a whole, in UTF-16 units. */
const REMEMBERED = 32;

/** Most characters that are merged by going through all their pairs again after each merge; more go to the library's queue. */
const FEW = 64;

/** The encoder of a tokenizer; null where it is of another kind. */
export function fastEncoder(inner: Tokenizer): FastEncode | null {
  const { model, normalizer } = inner;
  if (!(model instanceof BPE) || model.end_of_word_suffix || model.continuing_subword_suffix) return null;
  // The library keeps these from its types.
  const { remove_space, do_lowercase_and_remove_accent } = inner as unknown as Readonly<
    Record<string, unknown>
  >;
  const frames = [false, true].map((special) => frameOf(inner, model, special));
  if (remove_space || do_lowercase_and_remove_accent || frames.includes(null)) return null;
  const added = [...inner.get_added_tokens_decoder().values()];
  const names = new Set(
    added.flatMap(({ content, normalized }) =>
      normalized && normalizer ? [content, normalizer(content)] : [content]
    ),
  );
  names.delete("");
  const special = names.size === 0 ? null : new RegExp([...names].map(RegExp.escape).join("|"));
  const { split, spell } = wordsOf(inner);
  const merges = mergesOf(model);
  const idsOf = (word: string): readonly number[] | null => {
    const tokens = inVocabulary(merges.apply(word), model);
    const ids = tokens.map((token) => names.has(token) ? undefined : model.tokens_to_ids.get(token));
    // Unknown tokens may have to be joined over the ends of words.
    const known = ids.every((id) => id !== undefined && !(model.fuse_unk && id === model.unk_token_id));
    return known ? ids as number[] : null;
  };
  const wholeIds = (word: string): readonly number[] | null => {
    const id = model.ignore_merges ? model.tokens_to_ids.get(word) : undefined;
    return id === undefined || names.has(word) ? idsOf(word) : [id];
  };
  const words = new WordTable((word) => wholeIds(spell(word))), parts = new WordTable(idsOf);
  return (text, withSpecial) => {
    const normal = text === "" || !normalizer ? text : normalizer(text);
    if (special && (special.test(text) || (normal !== text && special.test(normal)))) return null;
    const { before, after } = frames[withSpecial ? 1 : 0]!;
    const ids = [...before];
    for (const word of normal === "" ? [] : split(normal)) {
      if (word.length <= REMEMBERED) {
        if (!words.append(word, 0, word.length, ids)) return null;
        continue;
      }
      const spelled = spell(word);
      if (model.ignore_merges && model.tokens_to_ids.has(spelled)) {
        const whole = wholeIds(spelled);
        if (!whole) return null;
        ids.push(...whole);
      } else if (!merges.cut(spelled, (from, to) => parts.append(spelled, from, to, ids))) return null;
    }
    ids.push(...after);
    return ids;
  };
}

/** What stands before and after a text's own ids; null where that depends on the text. */
function frameOf({ post_processor }: Tokenizer, { tokens_to_ids }: BPE, special: boolean) {
  const probe = "\0probe";
  const tokens = post_processor ? post_processor([probe], null, special).tokens : [probe];
  const at = tokens.indexOf(probe), ids = tokens.map((token) => tokens_to_ids.get(token));
  if (at < 0 || tokens.lastIndexOf(probe) !== at) return null;
  if (ids.some((id, i) => id === undefined && i !== at)) return null;
  return { before: ids.slice(0, at) as number[], after: ids.slice(at + 1) as number[] };
}

/** How a text is cut into words, and how a word is spelled for the merges. */
function wordsOf(
  { pre_tokenizer: before }: Tokenizer,
): { readonly split: (text: string) => string[]; readonly spell: (word: string) => string } {
  const asIs = (word: string): string => word;
  if (before === null) return { split: (text) => [text], spell: asIs };
  const stages = before instanceof SequencePreTokenizer
    ? before.tokenizers.filter((t) => t !== null)
    : [before];
  const last = stages.at(-1);
  // Bytes are spelled word by word where nothing comes after them: then only once for each word.
  const early = stages.slice(0, -1);
  if (!(last instanceof ByteLevelPreTokenizer) || early.some((t) => t instanceof ByteLevelPreTokenizer)) {
    return { split: (text) => before(text, { section_index: 0 }), spell: asIs };
  }
  const spaced = (text: string): string => last.add_prefix_space && !text.startsWith(" ") ? ` ${text}` : text;
  const cut = (text: string): string[] =>
    last.use_regex ? spaced(text).match(last.pattern) ?? [] : [spaced(text)];
  return {
    split: (text) =>
      early.reduce<string[]>((words, stage) => stage.pre_tokenize(words, { section_index: 0 }), [text])
        .flatMap(cut),
    spell: (word) => {
      let spelled = "";
      for (const byte of last.text_encoder.encode(word)) spelled += last.byte_encoder[byte];
      return spelled;
    },
  };
}

interface Merges {
  /** The tokens of a word. */
  readonly apply: (word: string) => string[];
  /** Cut a word where no merge can reach over; false as soon as `take` says so of a part. */
  readonly cut: (word: string, take: (from: number, to: number) => boolean) => boolean;
}

function mergesOf(model: BPE): Merges {
  const ranks = new Map<string, Map<string, number>>(), neighbours = new Neighbours();
  model.merges.forEach(([left, right, ...more], rank) => {
    if (typeof left !== "string" || typeof right !== "string" || more.length > 0) return;
    if (!ranks.has(left)) ranks.set(left, new Map());
    ranks.get(left)!.set(right, rank);
    neighbours.add(left.charCodeAt(left.length - 1), right.charCodeAt(0));
  });
  return {
    // The pair of the lowest rank first, of equal ones the leftmost.
    apply: (word) => {
      const tokens = Array.from(word);
      if (tokens.length > FEW) return model.bpe(word);
      for (;;) {
        let best = Infinity, at = -1;
        for (let i = 0; i + 1 < tokens.length; i++) {
          const rank = ranks.get(tokens[i]!)?.get(tokens[i + 1]!);
          if (rank !== undefined && rank < best) [best, at] = [rank, i];
        }
        if (at < 0) return tokens;
        tokens.splice(at, 2, tokens[at]! + tokens[at + 1]!);
      }
    },
    cut: (word, take) => {
      let from = 0;
      for (let at = 1; at < word.length; at++) {
        if (neighbours.has(word.charCodeAt(at - 1), word.charCodeAt(at))) continue;
        if (!take(from, at)) return false;
        from = at;
      }
      return take(from, word.length);
    },
  };
}

/** Tokens that the vocabulary has; in the place of others their bytes, or the token for what is unknown. */
function inVocabulary(tokens: readonly string[], model: BPE): readonly string[] {
  return tokens.flatMap((token) => {
    if (model.tokens_to_ids.has(token)) return token;
    const bytes = model.byte_fallback
      ? Array.from(
        new TextEncoder().encode(token),
        (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
      )
      : [];
    if (bytes.length > 0 && bytes.every((byte) => model.tokens_to_ids.has(byte))) return bytes;
    return model.unk_token ?? [];
  });
}

/** Pairs of UTF-16 units that a merge joins, or that are halves of one character. */
class Neighbours {
  readonly #ascii = new Uint8Array(2 ** 14);
  readonly #others = new Set<number>();

  add(left: number, right: number): void {
    if (left < 128 && right < 128) this.#ascii[left * 128 + right] = 1;
    else this.#others.add(left * 2 ** 16 + right);
  }

  has(left: number, right: number): boolean {
    if (left < 128 && right < 128) return this.#ascii[left * 128 + right] === 1;
    const halves = (left & 0xfc00) === 0xd800 && (right & 0xfc00) === 0xdc00;
    return halves || this.#others.has(left * 2 ** 16 + right);
  }
}
