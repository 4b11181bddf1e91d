/** Scores of translations against those of sacrebleu (tests/fixtures/make_evaluation.py). @module */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { bleu } from "../train/evaluation/bleu.ts";
import { chrf } from "../train/evaluation/chrf.ts";
import { overlap, words } from "../train/evaluation/ngrams.ts";
import { loadPieces } from "../train/evaluation/pieces.ts";
import { tokenize13a } from "../train/evaluation/tokenize_13a.ts";
import { TokenizerError } from "../train/errors.ts";
import { root } from "./evaluation_examinee.ts";

interface Recorded {
  readonly versions: Readonly<Record<string, string>>;
  readonly cases: readonly {
    readonly name: string;
    readonly hypotheses: readonly string[];
    readonly references: readonly string[];
    readonly chrf: number;
    readonly "chrf++": number;
    readonly bleu: number;
    readonly tokens: readonly (readonly string[])[];
    readonly spbleu: Readonly<Record<"bpe" | "unigram", number>>;
    readonly pieces: Readonly<Record<"bpe" | "unigram", readonly (readonly string[])[]>>;
  }[];
}

const FIXTURES = `${root}tests/fixtures/evaluation`;
const { cases, versions } = JSON.parse(Deno.readTextFileSync(`${FIXTURES}/translations.json`)) as Recorded;

Deno.test(`evaluation: chrF, chrF++ and BLEU are those of sacrebleu ${versions["sacrebleu"]}`, () => {
  assert(cases.some((c) => c.bleu > 20 && c.bleu < 60) && cases.some((c) => c.bleu === 0));
  for (const { name, hypotheses, references, bleu: expected, tokens, ...recorded } of cases) {
    const near = (found: number, value: number) => assertAlmostEquals(found, value, 1e-9, name);
    near(chrf(hypotheses, references, { words: 0 }), recorded.chrf);
    near(chrf(hypotheses, references), recorded["chrf++"]);
    assertEquals(hypotheses.map(tokenize13a), tokens.map((t) => t.filter((x) => x !== "")), name);
    near(bleu(hypotheses.map(tokenize13a), references.map(tokenize13a)), expected);
  }
});

for (
  const [kind, file] of [["bpe", `${root}examples/base/tokenizer.json`], [
    "unigram",
    `${FIXTURES}/unigram.json`,
  ]] as const
) {
  Deno.test(`evaluation: spBLEU over ${kind} pieces is sacrebleu's BLEU of the pieces`, () => {
    const cut = loadPieces(file);
    for (const { name, hypotheses, references, pieces, spbleu } of cases) {
      assertEquals(hypotheses.map(cut), pieces[kind].map((p) => [...p]), name);
      assertAlmostEquals(bleu(hypotheses.map(cut), references.map(cut)), spbleu[kind], 1e-9, name);
    }
  });
}

Deno.test("evaluation: scores of translations are 100 for the references themselves, and in bounds", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", " ", ".", "é", "😀"), maxLength: 20 });
  fc.assert(fc.property(fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 4 }), (pairs) => {
    const [a, b] = [0, 1].map((i) => pairs.map((p) => p[i]!)) as [string[], string[]];
    for (const score of [chrf(a, b), bleu(a.map(words), b.map(words))]) {
      assert(score >= 0 && score <= 100 + 1e-9);
    }
    if (a.some((t) => words(t).length > 0)) assertAlmostEquals(chrf(a, a), 100, 1e-9);
    if (a.some((t) => words(t).length > 3)) assertAlmostEquals(bleu(a.map(words), a.map(words)), 100, 1e-9);
    const symbols = [...a.join("")], other = [...b.join("")];
    assertEquals(overlap(symbols, other, 2).shared, overlap(other, symbols, 2).shared);
  }));
  for (const score of [chrf, (x: string[], y: string[]) => bleu(x.map(words), y.map(words))]) {
    assertThrows(() => score([], []), RangeError, "at least one text");
    assertThrows(() => score(["a"], ["a", "b"]), RangeError, "1 texts, 2 references");
  }
});

Deno.test("evaluation: a file that is no tokenizer is refused by name", () => {
  assertThrows(() => loadPieces(`${root}nowhere.json`), TokenizerError, "nowhere.json: not found");
  assertThrows(() => loadPieces(`${root}deno.json`), TokenizerError, "deno.json: cannot be used");
});
