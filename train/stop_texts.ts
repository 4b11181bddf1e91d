/** Texts that end a generation. @module */

/** A text up to the first of `stops` in it, and whether there was one. */
export function cutAtStop(
  text: string,
  stops: readonly string[],
): { readonly text: string; readonly stopped: boolean } {
  const places = stops.map((s) => text.indexOf(s)).filter((at) => at >= 0);
  return places.length === 0
    ? { text, stopped: false }
    : { text: text.slice(0, Math.min(...places)), stopped: true };
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
