/** Fast byte-pair encoding: whatever the tokenizer and the text, the ids are those of the library, or it says nothing. @module */
import { assert, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { Tokenizer } from "@huggingface/tokenizers";
import { fastEncoder } from "../train/fast_bpe.ts";
import { sharedTexts } from "./shared_texts.ts";
import { root } from "./runs.ts";

type Json = Record<string, unknown>;

/** The ids of the library; undefined stands for a token that is not in the vocabulary. */
function slow(inner: Tokenizer, text: string, special: boolean): readonly (number | undefined)[] {
  return inner.encode(text, { add_special_tokens: special }).ids;
}

/** Characters that merges and texts are made of: some that bytes spell, some of several units. */
const CHARACTERS = ["a", "b", "c", "▁", "Ġ", " ", "1", ".", "é", "\u{1F600}", "\n", "A", "\uD83D"];

const byteLevel = (use_regex: boolean, add_prefix_space = false): Json => ({
  type: "ByteLevel",
  ...{ use_regex, add_prefix_space, trim_offsets: true },
});
const split: Json = {
  type: "Split",
  ...{ pattern: { Regex: " ?[a-z]+|[0-9]| +" }, behavior: "Isolated", invert: false },
};
const PRE: readonly (Json | null)[] = [
  null,
  byteLevel(true),
  byteLevel(false, true),
  { type: "Sequence", pretokenizers: [split, byteLevel(false)] },
  { type: "Sequence", pretokenizers: [byteLevel(true), split] },
  { type: "Metaspace", replacement: "▁", prepend_scheme: "first" },
  { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel(true, true)] },
  split,
];
const NORMALIZERS: readonly (Json | null)[] = [
  null,
  { type: "Lowercase" },
  { type: "NFD" },
  {
    type: "Sequence",
    normalizers: [{ type: "Prepend", prepend: "▁" }, {
      type: "Replace",
      pattern: { String: " " },
      content: "▁",
    }],
  },
];
const special = { SpecialToken: { id: "<s>", type_id: 0 } }, sequence = { Sequence: { id: "A", type_id: 0 } };
const POST: readonly (Json | null)[] = [
  null,
  byteLevel(true),
  { type: "TemplateProcessing", single: [special, sequence, special], pair: [sequence], special_tokens: {} },
  { type: "TemplateProcessing", single: [sequence, sequence], pair: [sequence], special_tokens: {} },
  { type: "RobertaProcessing", sep: ["<s>", 0], cls: ["<s>", 0] },
];

/** A vocabulary grown by merges that earlier tokens allow, as training does; some merges lead out of it. */
const vocabularies = fc.tuple(
  fc.subarray(CHARACTERS, { minLength: 3 }),
  fc.array(fc.tuple(fc.nat(), fc.nat(), fc.integer({ min: 0, max: 9 })), { maxLength: 30 }),
  fc.boolean(),
).map(([characters, picks, bytes]) => {
  const tokens = ["<unk>", "<s>", ...characters.map((c) => c === " " ? "Ġ" : c)];
  if (bytes) { for (const hex of ["C3", "A9", "F0", "9F", "98", "80", "0A"]) tokens.push(`<0x${hex}>`); }
  const merges: [string, string][] = [];
  for (const [l, r, kept] of picks) {
    const left = tokens[2 + l % (tokens.length - 2)]!, right = tokens[2 + r % (tokens.length - 2)]!;
    merges.push([left, right]);
    if (kept > 0) tokens.push(left + right);
  }
  return { vocab: Object.fromEntries([...new Set(tokens)].map((t, i) => [t, i])), merges };
});

const tokenizers = fc.record({
  ...{ words: vocabularies, pre: fc.constantFrom(...PRE), norm: fc.constantFrom(...NORMALIZERS) },
  ...{ post: fc.constantFrom(...POST), unk: fc.constantFrom(null, "<unk>"), fuse: fc.boolean() },
  ...{ fallback: fc.boolean(), ignore: fc.boolean(), added: fc.subarray(["ab", " c", "A", "<s>"]) },
  ...{ normalized: fc.boolean(), lstrip: fc.boolean() },
}).map(({ words, pre, norm, post, unk, fuse, fallback, ignore, added, normalized, lstrip }) =>
  new Tokenizer({
    ...{ normalizer: norm, pre_tokenizer: pre, post_processor: post, decoder: null },
    added_tokens: added.map((content, i) => ({ content, id: 500 + i, normalized, lstrip, special: false })),
    model: {
      ...{
        type: "BPE",
        ...words,
        unk_token: unk,
        fuse_unk: fuse,
        byte_fallback: fallback,
        ignore_merges: ignore,
      },
    },
  }, {})
);

const text = fc.array(fc.constantFrom(...CHARACTERS, "ab", "aaa", "abcabc"), { maxLength: 60 }).map((parts) =>
  parts.join("")
);

Deno.test("fast BPE: ids are the library's, for tokenizers of all kinds and any text", () => {
  let said = 0, silent = 0;
  fc.assert(
    fc.property(
      tokenizers,
      fc.array(text, { minLength: 1, maxLength: 6 }),
      fc.boolean(),
      (inner, texts, special) => {
        const fast = fastEncoder(inner);
        // Twice: words are remembered.
        for (const t of [...texts, ...texts]) {
          const ids = fast?.(t, special) ?? null;
          if (ids) assertEquals(ids, slow(inner, t, special), JSON.stringify(t));
          if (ids) said++;
          else silent++;
        }
      },
    ),
    { numRuns: 1000 },
  );
  assert(said > silent / 2, `${said} texts were encoded and ${silent} left to the library`);
});

Deno.test("fast BPE: more words than are remembered", () => {
  const inner = new Tokenizer(
    JSON.parse(Deno.readTextFileSync(`${root}/examples/base/tokenizer.json`)),
    JSON.parse(Deno.readTextFileSync(`${root}/examples/base/tokenizer_config.json`)),
  );
  const fast = fastEncoder(inner)!;
  const word = (i: number): string =>
    ` ${[...i.toString(36)].map((c) => String.fromCharCode(97 + parseInt(c, 36) % 26)).join("")}`;
  const many = Array.from({ length: 150_000 }, (_, i) => word(i * 7919)).join("");
  assert(fast(many, true)!.length > 150_000);
  const few = many.slice(-3000);
  assertEquals(fast(few, true), slow(inner, few, true));
});

const real = sharedTexts();
Deno.test({
  name: "fast BPE: ids of real texts in many languages are the library's",
  ignore: real === null,
  fn: () => {
    let said = 0, lines = 0;
    for (const dir of real!.tokenizers) {
      const [tokenizer, config] = ["tokenizer.json", "tokenizer_config.json"].map((name) =>
        JSON.parse(Deno.readTextFileSync(`${dir}/${name}`))
      );
      const inner = new Tokenizer(tokenizer, config), fast = fastEncoder(inner)!;
      for (const file of real!.texts) {
        for (const line of Deno.readTextFileSync(file).split("\n").slice(0, 60)) {
          const ids = fast(line, true);
          if (ids) assertEquals(ids, slow(inner, line, true), `${dir}: ${line}`);
          if (ids) said++;
          lines++;
        }
      }
    }
    assert(lines > 1000 && said > 0.95 * lines, `${said} of ${lines} lines were encoded`);
  },
});
