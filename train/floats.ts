/**
 * Conversions between f32 and the 16-bit floats in their memory layout (bits in a `Uint16Array`). Rounding is to
 * nearest, ties to even; 16-bit values become f32 exactly. @module
 */

/** Values this large or larger round to infinity in f16: 65504 + half a step. */
const F16_OVERFLOW = 65520;

/** f32 → f16 bits. Values of 65520 and more become infinite: see {@linkcode countF16Overflow}. */
export function f32ToF16(x: Float32Array): Uint16Array {
  return new Uint16Array(new Float16Array(x).buffer);
}

/** f16 bits → f32. */
export function f16ToF32(bits: Uint16Array): Float32Array {
  return new Float32Array(new Float16Array(bits.buffer, bits.byteOffset, bits.length));
}

/** How many finite values of `x` would become infinite in f16. */
export function countF16Overflow(x: Float32Array): number {
  let count = 0;
  for (let i = 0; i < x.length; i++) {
    const size = Math.abs(x[i]!);
    if (size >= F16_OVERFLOW && size < Infinity) count++;
  }
  return count;
}

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
