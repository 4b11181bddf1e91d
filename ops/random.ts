/** Random numbers from keys: pure, the same on every device. @module */
import { fill, type Shape, sizeOf, type Tensor } from "../core/ir/mod.ts";
import { add, mul } from "./arithmetic.ts";
import { shiftRight, threefryWord } from "./bits.ts";
import { broadcastTo } from "./broadcast.ts";
import { cast } from "./cast.ts";
import { iota } from "./iota.ts";
import { cos, log, sqrt } from "./transcendental.ts";
import { reshape, slice } from "./views.ts";

/** A key: two words u32[2]. Use each once: split it for more. */
export interface Key {
  readonly bits: Tensor;
}

/** A key from a seed in 0 ≤ seed < 2⁵³. */
export function key(seed: number): Key {
  const high = Math.floor(seed / 2 ** 32) >>> 0, low = seed >>> 0;
  // Two words from constants: the first where the index is 0.
  const place = iota([2], 0, "u32");
  const words = threefryWord({ word: 0 })(
    fill(high, [2], "u32"),
    fill(low, [2], "u32"),
    place,
    fill(0, [2], "u32"),
  );
  return { bits: words };
}

function word(k: Key, i: 0 | 1): Tensor {
  return reshape(slice(k.bits, { start: [i], stop: [i + 1] }), []);
}

/** Words of the key at counters (i, lane) for each index i of a shape. */
function block(k: Key, shape: Shape, lane: number): Tensor {
  const flat = [sizeOf(shape)];
  const wide = (t: Tensor): Tensor => broadcastTo(t, flat);
  return reshape(
    threefryWord({ word: 0 })(
      wide(word(k, 0)),
      wide(word(k, 1)),
      iota(flat, 0, "u32"),
      fill(lane, flat, "u32"),
    ),
    shape,
  );
}

/** Lanes of the counter's second word: what a key is used for. */
const SPLIT = 1, FOLD = 2, BITS = 3, SECOND = 4;

/** `n` new keys. */
export function split(k: Key, n = 2): Key[] {
  const words = block(k, [2 * n], SPLIT);
  return Array.from({ length: n }, (_, i) => ({ bits: slice(words, { start: [2 * i], stop: [2 * i + 2] }) }));
}

/** A new key for the number `data`. */
export function foldIn(k: Key, data: number): Key {
  const place = iota([2], 0, "u32");
  const wide = (t: Tensor): Tensor => broadcastTo(t, [2]);
  const mixed = threefryWord({ word: 1 })(
    wide(word(k, 0)),
    wide(word(k, 1)),
    fill(data >>> 0, [2], "u32"),
    add(place, fill(FOLD * 2, [2], "u32")),
  );
  return { bits: mixed };
}

/** 32 random bits each: → u32[shape]. */
export function randomBits(k: Key, shape: Shape): Tensor {
  return block(k, shape, BITS);
}

/** Uniform in [0, 1): 24 bits each. */
function unit(bits: Tensor): Tensor {
  return mul(cast(shiftRight(bits, 8), "f32"), 2 ** -24);
}

/** Uniform in [low, high): → f32[shape]. */
export function uniform(k: Key, shape: Shape, low = 0, high = 1): Tensor {
  return add(mul(unit(randomBits(k, shape)), high - low), low);
}

/** Standard normal by Box and Muller: → f32[shape]. */
export function normal(k: Key, shape: Shape): Tensor {
  // 1 − u lies in (0, 1], so that the logarithm is finite.
  const radius = sqrt(mul(log(add(mul(unit(block(k, shape, BITS)), -1), 1)), -2));
  return mul(radius, cos(mul(unit(block(k, shape, SECOND)), 2 * Math.PI)));
}
