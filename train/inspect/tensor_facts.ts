/** What is in a file of tensors, one tensor in memory at a time. @module */
import { type FileDType } from "../safetensors_header.ts";
import { openSafetensors, type SafetensorsFile } from "../safetensors.ts";

/** A tensor in a file; numbers are null for tensors that are not of floats. */
export interface TensorFacts {
  readonly name: string;
  readonly file: string;
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  readonly parameters: number;
  readonly bytes: number;
  /** Frobenius norm and largest size, of the finite values. */
  readonly norm: number | null;
  readonly largest: number | null;
  /** Values that are NaN or infinite. */
  readonly nonfinite: number | null;
}

const FLOATS: readonly FileDType[] = ["F64", "F32", "F16", "BF16"];

/** Facts of all tensors of a safetensors file, in the order of their names, numbers counted as numbers. Throws SafetensorsError. */
export function tensorFacts(path: string): TensorFacts[] {
  using file = openSafetensors(path);
  return [...file.header.tensors.keys()].sort(byNumber.compare).map((name) => factsOf(file, name));
}

/** layers.2 before layers.10. */
const byNumber = new Intl.Collator("en", { numeric: true });

function factsOf(file: SafetensorsFile, name: string): TensorFacts {
  const { dtype, shape, begin, end } = file.header.tensors.get(name)!;
  const parameters = shape.reduce((n, size) => n * size, 1);
  const known = { name, file: file.path, dtype, shape, parameters, bytes: end - begin };
  if (!FLOATS.includes(dtype)) return { ...known, norm: null, largest: null, nonfinite: null };
  let squares = 0, largest = 0, nonfinite = 0;
  for (const x of file.readF32(name)) {
    const size = Math.abs(x);
    // Neither NaN nor an infinity is.
    if (size < Infinity) {
      squares += x * x;
      if (size > largest) largest = size;
    } else nonfinite++;
  }
  return { ...known, norm: Math.sqrt(squares), largest, nonfinite };
}
