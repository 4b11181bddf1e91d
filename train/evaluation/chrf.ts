/** chrF and chrF++: F-scores of character and word n-grams. doi:10.18653/v1/W15-3049, doi:10.18653/v1/W17-4770. @module */
import { type Overlap, overlap, requireTranslations, words } from "./ngrams.ts";

/** What makes a chrF. */
export interface ChrfOptions {
  /** Longest n-grams of characters. */
  readonly characters?: number;
  /** Longest n-grams of words: 0 is chrF, 2 chrF++. */
  readonly words?: number;
  /** Weight of recall beside precision. */
  readonly beta?: number;
}

/**
 * chrF++ of a corpus, 0 to 100: counts of all texts are added up, then precision and recall are averaged over the orders
 * that occur on both sides (6 of characters without white space, 2 of words with punctuation cut off at one end), and
 * F_β taken of the averages, β = 2. Throws RangeError for lists of different lengths or without texts.
 */
export function chrf(
  hypotheses: readonly string[],
  references: readonly string[],
  { characters = 6, words: wordOrder = 2, beta = 2 }: ChrfOptions = {},
): number {
  requireTranslations(hypotheses, references);
  const totals = Array.from(
    { length: characters + wordOrder },
    () => ({ hypothesis: 0, reference: 0, shared: 0 }),
  );
  const add = (order: number, { hypothesis, reference, shared }: Overlap): void => {
    const total = totals[order]!;
    // A reference too short for an order says nothing about it.
    if (reference > 0) total.hypothesis += hypothesis;
    total.reference += reference;
    total.shared += shared;
  };
  hypotheses.forEach((hypothesis, i) => {
    const reference = references[i]!;
    const [a, b] = [hypothesis, reference].map((text) => [...words(text).join("")]) as [string[], string[]];
    for (let n = 1; n <= characters; n++) add(n - 1, overlap(a, b, n));
    const [c, d] = [hypothesis, reference].map(cutWords) as [string[], string[]];
    for (let n = 1; n <= wordOrder; n++) add(characters + n - 1, overlap(c, d, n));
  });
  const counted = totals.filter((t) => t.hypothesis > 0 && t.reference > 0);
  if (counted.length === 0) return 0;
  const average = (part: (t: Overlap) => number): number =>
    counted.reduce((sum, t) => sum + part(t), 0) / counted.length;
  const precision = average((t) => t.shared / t.hypothesis), recall = average((t) => t.shared / t.reference);
  const weight = beta * beta;
  return precision + recall === 0
    ? 0
    : 100 * (1 + weight) * precision * recall / (weight * precision + recall);
}

const PUNCTUATION = new Set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~");

/** Words, of which a mark at the end, or else at the beginning, is a word of its own. */
function cutWords(text: string): string[] {
  return words(text).flatMap((word) => {
    const symbols = [...word];
    if (symbols.length === 1) return [word];
    if (PUNCTUATION.has(symbols.at(-1)!)) return [symbols.slice(0, -1).join(""), symbols.at(-1)!];
    return PUNCTUATION.has(symbols[0]!) ? [symbols[0]!, symbols.slice(1).join("")] : [word];
  });
}
