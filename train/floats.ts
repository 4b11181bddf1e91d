/**
 * Conversions between f32 and the 16-bit floats in their memory layout (bits in a `Uint16Array`). Rounding is to
 * nearest, ties to even; 16-bit values become f32 exactly. @module
 */

/** Bits of the least size that rounds to infinity in f16, 65504 + half a step, and of f32's infinity. */
const F16_OVERFLOW = 0x477ff000, INFINITE = 0x7f800000;
/** Bits of the largest size that rounds to 0 in f16: half of its least number, 2⁻²⁴. */
const F16_VANISH = 0x33000000;

/** Numbers that f16 cannot hold. */
export interface F16Losses {
  /** Finite ones that become infinite: of 65520 and more. */
  readonly infinite: number;
  /** Others than 0 that become 0: of 2⁻²⁵ and less. */
  readonly vanished: number;
}

/** f32 → f16 bits. What is lost by it: {@linkcode countF16Losses}. */
export function f32ToF16(x: Float32Array): Uint16Array {
  return new Uint16Array(new Float16Array(x).buffer);
}

/** f16 bits → f32. */
export function f16ToF32(bits: Uint16Array): Float32Array {
  return new Float32Array(new Float16Array(bits.buffer, bits.byteOffset, bits.length));
}

/** How many values of `x` f16 cannot hold. */
export function countF16Losses(x: Float32Array): F16Losses {
  const words = new Uint32Array(x.buffer, x.byteOffset, x.length);
  let infinite = 0, vanished = 0;
  for (let i = 0; i < words.length; i++) {
    const size = words[i]! & 0x7fffffff;
    if (size >= F16_OVERFLOW) infinite += size < INFINITE ? 1 : 0;
    else if (size <= F16_VANISH && size !== 0) vanished++;
  }
  return { infinite, vanished };
}

/** bf16 bits → f16 bits, and what is lost by it. */
export function bf16ToF16(bits: Uint16Array): { readonly data: Uint16Array; readonly lost: F16Losses } {
  halves ??= f32ToF16(bf16ToF32(Uint16Array.from({ length: 2 ** 16 }, (_, i) => i)));
  const data = new Uint16Array(bits.length);
  let infinite = 0, vanished = 0;
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!, size = (b & 0x7fff) << 16;
    data[i] = halves[b]!;
    if (size >= F16_OVERFLOW) infinite += size < INFINITE ? 1 : 0;
    else if (size <= F16_VANISH && size !== 0) vanished++;
  }
  return { data, lost: { infinite, vanished } };
}

/** The f16 of each bf16. */
let halves: Uint16Array | undefined;

/** bf16 bits → f32: the upper half of the word. */
export function bf16ToF32(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

/** f32 → bf16 bits. */
export function f32ToBf16(x: Float32Array): Uint16Array {
  const words = new Uint32Array(x.buffer, x.byteOffset, x.length);
  const bits = new Uint16Array(x.length);
  for (let i = 0; i < x.length; i++) {
    const word = words[i]!, upper = word >>> 16;
    // Rounding up a NaN's payload could carry it into infinity, or past it.
    const isNaN = (word & 0x7fffffff) > 0x7f800000;
    bits[i] = isNaN ? upper | 0x40 : (word + 0x7fff + (upper & 1)) >>> 16;
  }
  return bits;
}
