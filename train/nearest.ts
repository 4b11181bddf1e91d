/** Suggestions for misspelt words. @module */

/** The word most like `found`, or null when none is near: at most a third of the letters may differ, or two. */
export function nearest(found: string, words: readonly string[]): string | null {
  let best: string | null = null, least = Infinity;
  for (const word of words) {
    const distance = editDistance(found, word);
    if (distance < least) [best, least] = [word, distance];
  }
  return least <= Math.max(2, Math.floor(found.length / 3)) && least < found.length ? best : null;
}

/** Fewest insertions, deletions and replacements of letters that turn `a` into `b`. Cost |a|·|b|. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
