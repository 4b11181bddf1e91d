/** Parts of lists. @module */

/** At most `most` items at even distances. */
export function spread<T>(items: readonly T[], most: number): T[] {
  const count = Math.min(most, items.length);
  return Array.from({ length: count }, (_, i) => items[Math.floor(i * items.length / count)]!);
}
