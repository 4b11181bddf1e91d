/** Weights out of files: converted, and turned where they are stored [in, out], in parts of bounded size. @module */
import { bytesOf, type HostArray, sizeOf } from "../core/mod.ts";
import { bf16ToF16, countF16Losses, type F16Losses, f32ToF16 } from "./floats.ts";
import { floatReader, onDemand, type SafetensorsFile, type StoredTensor } from "./safetensors.ts";
import { fileBytesOf } from "./safetensors_header.ts";

/** Elements that are converted at a time. */
const PART = 2 ** 20;

/**
 * A tensor of floats as f32 or f16, the last two axes swapped if `turn` says so, and how many values f16 could
 * not hold. The result is in `memory` if it is given; besides it a part's memory is needed. Throws SafetensorsError for
 * other types, RangeError for too little memory.
 */
export function readWeight(
  file: SafetensorsFile,
  name: string,
  dtype: "f32" | "f16",
  turn: boolean,
  memory?: ArrayBuffer,
): { readonly data: Float32Array | Uint16Array; readonly lost: F16Losses } {
  const entry = file.header.tensors.get(name)!;
  const count = sizeOf(entry.shape), [rows = 1, columns = 1] = entry.shape;
  const own = memory ?? new ArrayBuffer(count * bytesOf(dtype));
  const data = dtype === "f32" ? new Float32Array(own, 0, count) : new Uint16Array(own, 0, count);
  if (!turn && entry.dtype === dtype.toUpperCase()) {
    file.part(name, 0, data.byteLength, own);
    return { data, lost: { infinite: 0, vanished: 0 } };
  }
  const convert = floatReader(file.path, name, entry.dtype), width = fileBytesOf(entry.dtype);
  const narrow = (bytes: ArrayBuffer): { readonly data: Uint16Array; readonly lost: F16Losses } => {
    if (entry.dtype === "BF16") return bf16ToF16(new Uint16Array(bytes));
    const wide = convert(bytes);
    // What is infinite in the file stays so; nothing in an F16 can become so.
    return { data: f32ToF16(wide), lost: countF16Losses(wide) };
  };
  let infinite = 0, vanished = 0;
  for (let at = 0; at < count; at += PART) {
    const { buffer } = file.part(name, at * width, Math.min(at + PART, count) * width);
    let part: HostArray;
    if (dtype === "f32") part = convert(buffer);
    else {
      const half = narrow(buffer);
      part = half.data;
      infinite += half.lost.infinite;
      vanished += half.lost.vanished;
    }
    if (turn) scatter(part, at, rows, columns, data);
    else data.set(part, at);
  }
  return { data, lost: { infinite, vanished } };
}

/** Put the elements from `at` on of a matrix [rows, columns] where they are in its transpose. */
function scatter(part: HostArray, at: number, rows: number, columns: number, into: HostArray): void {
  for (let i = 0, row = Math.floor(at / columns), column = at % columns; i < part.length; i++) {
    into[column * rows + row] = part[i]!;
    if (++column === columns) {
      column = 0;
      row++;
    }
  }
}

/** A matrix [n, m] of f32 as [m, n]. */
export function transposed(tensor: StoredTensor): StoredTensor {
  const { shape, dtype } = tensor.aval, [rows, columns] = shape as [number, number];
  if (dtype !== "f32" || shape.length !== 2) throw new Error(`A map cannot be ${dtype}[${shape.join()}].`);
  return onDemand({ shape: [columns, rows], dtype }, () => {
    const data = new Float32Array(rows * columns);
    scatter(tensor.data, 0, rows, columns, data);
    return data;
  });
}
