/**
 * Seeded random choices: the same seed gives the same choices on every machine.
 *
 * Only 32-bit integer arithmetic is used, so no platform's floating point or `Math.random` takes part.
 * @module
 */

/** A stream of random choices; every call moves the stream on by one number. */
export interface Draw {
  /** A whole number in [low, high], both ends included. Throws a RangeError when the interval is empty. */
  readonly between: (low: number, high: number) => number;
  /** One element of `items`. Throws a RangeError when there is none. */
  readonly pick: <T>(items: readonly T[]) => T;
  /** True `percent` times in a hundred. */
  readonly chance: (percent: number) => boolean;
}

/** A bijective scrambling of 32 bits, xorshift-multiply: `x` u32 → u32 (constants: C. Wellons, "lowbias32", 2018). */
export function scramble(x: number): number {
  let bits = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/** One u32 that depends on every one of `parts` (whole numbers) and on their order. */
export function hash(...parts: readonly number[]): number {
  return parts.reduce((sum, part) => scramble((sum + 0x9e3779b9) ^ scramble(part)), 0);
}

/** The stream of choices that belongs to `seed` parts (whole numbers): same parts, same stream. */
export function draw(...seed: readonly number[]): Draw {
  let state = hash(...seed);
  function below(count: number): number {
    if (!(count >= 1)) throw new RangeError(`Cannot choose among ${count} values: give at least one`);
    state = (state + 0x9e3779b9) >>> 0;
    return Math.floor(scramble(state) / 2 ** 32 * count);
  }
  return {
    between: (low, high) => low + below(high - low + 1),
    pick: (items) => items[below(items.length)]!,
    chance: (percent) => below(100) < percent,
  };
}
