/** Texts that end a generation. @module */

/**
 * A text up to the one of `stops` that is complete first, and whether there was one: what follows it later, perhaps a longer
 * stop that began before, changes nothing.
 */
export function cutAtStop(
  text: string,
  stops: readonly string[],
): { readonly text: string; readonly stopped: boolean } {
  const found = stops.map((s) => ({ start: text.indexOf(s), length: s.length }))
    .filter(({ start }) => start >= 0)
    .sort((a, b) => a.start + a.length - b.start - b.length || a.start - b.start);
  return found[0] ? { text: text.slice(0, found[0].start), stopped: true } : { text, stopped: false };
}

/**
 * How much of an unfinished text will stand whatever follows: not what may begin one of `stops`, nor a last character of
 * which some bytes are still to come.
 */
export function settledLength(text: string, stops: readonly string[]): number {
  const whole = text.replace(/\uFFFD+$/, "").length;
  const held = stops.map((s) => {
    for (let n = Math.min(s.length - 1, text.length); n > 0; n--) if (text.endsWith(s.slice(0, n))) return n;
    return 0;
  });
  return Math.min(whole, text.length - Math.max(0, ...held));
}
