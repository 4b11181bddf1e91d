/** Sequences of symbols that two texts share. @module */

/** Words of a text: what white space separates, as Python's `str.split` sees it. */
export function words(text: string): string[] {
  return text.split(WHITE_SPACE).filter((word) => word !== "");
}

// JavaScript's \s differs in control characters and the byte order mark.
// deno-lint-ignore no-control-regex
const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

/** How many n-grams two sequences have, and how many they share, each as often as it stands in both. */
export interface Overlap {
  readonly hypothesis: number;
  readonly reference: number;
  readonly shared: number;
}

/** Overlap of the n-grams of two sequences of symbols, none of which holds a zero character. */
export function overlap(hypothesis: readonly string[], reference: readonly string[], n: number): Overlap {
  const left = counts(reference, n);
  let shared = 0;
  for (let i = 0; i + n <= hypothesis.length; i++) {
    const gram = hypothesis.slice(i, i + n).join("\0"), more = left.get(gram) ?? 0;
    if (more === 0) continue;
    shared++;
    left.set(gram, more - 1);
  }
  const size = (list: readonly string[]): number => Math.max(0, list.length - n + 1);
  return { hypothesis: size(hypothesis), reference: size(reference), shared };
}

function counts(symbols: readonly string[], n: number): Map<string, number> {
  const found = new Map<string, number>();
  for (let i = 0; i + n <= symbols.length; i++) {
    const gram = symbols.slice(i, i + n).join("\0");
    found.set(gram, (found.get(gram) ?? 0) + 1);
  }
  return found;
}

/** Throws RangeError for lists of different lengths, and for empty ones. */
export function requireTranslations(hypotheses: readonly unknown[], references: readonly unknown[]): void {
  if (hypotheses.length === references.length && references.length > 0) return;
  throw new RangeError(
    `A translation score needs a reference for each of at least one text: ${hypotheses.length} texts, ${references.length} references.`,
  );
}
