/** BLEU of a corpus over any tokens. doi:10.3115/1073083.1073135; spBLEU: arXiv:2106.03193, section 5. @module */
import { overlap, requireTranslations } from "./ngrams.ts";

/** Longest n-grams. */
const ORDER = 4;

/**
 * BLEU of a corpus, 0 to 100, of texts as lists of tokens: the brevity penalty times the geometric mean of the precisions
 * of 1- to 4-grams, counts of all texts added up. A precision without a match is smoothed as in mteval: the k-th such order
 * counts as 2⁻ᵏ of a match (doi:10.3115/v1/W14-3346, method 3); without any match at all, or without any 4-gram, it is 0.
 * Throws RangeError for lists of different lengths or without texts.
 *
 * Over the pieces of a SentencePiece model this is spBLEU.
 */
export function bleu(
  hypotheses: readonly (readonly string[])[],
  references: readonly (readonly string[])[],
): number {
  requireTranslations(hypotheses, references);
  const shared = new Array<number>(ORDER).fill(0), total = new Array<number>(ORDER).fill(0);
  let length = 0, expected = 0;
  hypotheses.forEach((hypothesis, i) => {
    const reference = references[i]!;
    length += hypothesis.length;
    expected += reference.length;
    for (let n = 1; n <= ORDER; n++) {
      const found = overlap(hypothesis, reference, n);
      shared[n - 1]! += found.shared;
      total[n - 1]! += found.hypothesis;
    }
  });
  if (shared.every((n) => n === 0) || total.some((n) => n === 0)) return 0;
  let smoothing = 1, logs = 0;
  shared.forEach((n, i) => {
    if (n === 0) smoothing /= 2;
    logs += Math.log((n === 0 ? smoothing : n) / total[i]!);
  });
  const brevity = length < expected ? Math.exp(1 - expected / length) : 1;
  return 100 * brevity * Math.exp(logs / ORDER);
}
