/**
 * The safetensors container: eight bytes with the header's length, a JSON header, then the tensors' bytes one after the
 * other, little-endian and row-major. Read one tensor at a time, written atomically. @module
 */
import { type Aval, bytesOf, type DType, type HostArray, sizeOf } from "../core/mod.ts";
import { writeAtomically } from "./atomic_file.ts";
import { SafetensorsError } from "./errors.ts";
import { bf16ToF32, f16ToF32 } from "./floats.ts";
import { requireRegular } from "./input_file.ts";
import {
  type FileDType,
  parseHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from "./safetensors_header.ts";

/** Numbers with their shape and element type. */
export interface StoredTensor {
  readonly aval: Aval;
  readonly data: HostArray;
  /**
   * The same numbers at the beginning of `memory`, for those who need them only until they read the next: where `data`
   * is made anew each time. Throws RangeError where there is too little memory.
   */
  readonly readInto?: (memory: ArrayBuffer) => HostArray;
}

/** A tensor whose numbers are made anew whenever they are asked for, and not kept: in `memory` if there is any. */
export function onDemand(aval: Aval, read: (memory?: ArrayBuffer) => HostArray): StoredTensor {
  return {
    aval,
    get data() {
      return read();
    },
    readInto: read,
  };
}

/** An open file. */
export interface SafetensorsFile extends Disposable {
  readonly path: string;
  readonly header: SafetensorsHeader;
  /** The bytes of a tensor, freshly read into memory of their own. Throws SafetensorsError for an unknown name. */
  readonly bytes: (name: string) => Uint8Array<ArrayBuffer>;
  /** The bytes `from ≤ byte < to` of a tensor, at the beginning of `memory` if it is given. */
  readonly part: (name: string, from: number, to: number, memory?: ArrayBuffer) => Uint8Array<ArrayBuffer>;
  /** A tensor as it is stored: F32, F16, BF16, I32, U32 and BOOL. Throws SafetensorsError for other element types. */
  readonly read: (name: string) => StoredTensor;
  /** A tensor of floats as f32: F32, F16, BF16 and F64. Throws SafetensorsError for other element types. */
  readonly readF32: (name: string) => Float32Array;
  readonly close: () => void;
}

/** Bytes before the header. */
const PREFIX = 8;
/** The format's own limit. */
const LONGEST_HEADER = 100_000_000;

function readAt(
  file: Deno.FsFile,
  at: number,
  length: number,
  memory: ArrayBuffer = new ArrayBuffer(length),
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(memory, 0, length);
  file.seekSync(at, Deno.SeekMode.Start);
  let got = 0;
  while (got < length) {
    const n = file.readSync(bytes.subarray(got));
    if (n === null) break;
    got += n;
  }
  return got === length ? bytes : bytes.slice(0, got);
}

/** Open a file and read its header; tensors are read when asked for. Throws SafetensorsError. Close it after use (`using`). */
export function openSafetensors(path: string): SafetensorsFile {
  requireRegular(path, SafetensorsError);
  const file = Deno.openSync(path);
  try {
    return reader(path, file);
  } catch (error) {
    file.close();
    throw error;
  }
}

function reader(path: string, file: Deno.FsFile): SafetensorsFile {
  const bad = (what: string, data: Record<string, unknown> = {}) =>
    new SafetensorsError(`${path}: ${what}`, { file: path, ...data });
  const total = file.statSync().size;
  if (total < PREFIX) {
    throw bad(`${total} bytes are too few for a safetensors file; copy it again.`, { found: total });
  }
  const length = Number(new DataView(readAt(file, 0, PREFIX).buffer).getBigUint64(0, true));
  if (length > LONGEST_HEADER || PREFIX + length > total) {
    throw bad(
      `the header should take ${length} bytes and the file has ${total}: it is cut short or no safetensors file.`,
      { expected: PREFIX + length, found: total },
    );
  }
  const text = new TextDecoder().decode(readAt(file, PREFIX, length));
  const dataStart = PREFIX + length;
  const header = parseHeader(text, total - dataStart, path);

  const entry = (name: string): TensorEntry => {
    const found = header.tensors.get(name);
    if (!found) throw bad(`has no tensor "${name}".`, { tensor: name });
    return found;
  };
  const part: SafetensorsFile["part"] = (name, from, to, memory) => {
    const read = readAt(file, dataStart + entry(name).begin + from, to - from, memory);
    if (read.length !== to - from) {
      throw bad(
        `tensor "${name}" needs ${to - from} bytes and ${read.length} could be read: did the file change?`,
        { tensor: name, expected: to - from, found: read.length },
      );
    }
    return read;
  };
  const bytes = (name: string): Uint8Array<ArrayBuffer> => {
    const { begin, end } = entry(name);
    return part(name, 0, end - begin);
  };
  const close = (): void => file.close();
  return {
    path,
    header,
    bytes,
    part,
    read: (name) => {
      const { dtype, shape } = entry(name);
      const stored = IN_MEMORY[dtype];
      if (!stored) {
        throw bad(`tensor "${name}" is ${dtype}; expected one of ${Object.keys(IN_MEMORY).join(", ")}.`);
      }
      return { aval: { shape, dtype: stored }, data: hostArray(dtype, bytes(name)) };
    },
    readF32: (name) => floatReader(path, name, entry(name).dtype)(bytes(name).buffer),
    close,
    [Symbol.dispose]: close,
  };
}

const IN_MEMORY: { readonly [D in FileDType]?: DType } = {
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  I32: "i32",
  U32: "u32",
  BOOL: "bool",
};

/** How bytes of these elements become f32. Throws SafetensorsError for types that are no floats. */
export function floatReader(
  path: string,
  name: string,
  dtype: FileDType,
): (bytes: ArrayBuffer) => Float32Array {
  const convert = TO_F32[dtype];
  if (convert) return convert;
  throw new SafetensorsError(
    `${path}: tensor "${name}" is ${dtype}; expected one of ${Object.keys(TO_F32).join(", ")}.`,
    { file: path, tensor: name },
  );
}

const TO_F32: { readonly [D in FileDType]?: (bytes: ArrayBuffer) => Float32Array } = {
  F32: (b) => new Float32Array(b),
  F16: (b) => f16ToF32(new Uint16Array(b)),
  BF16: (b) => bf16ToF32(new Uint16Array(b)),
  F64: (b) => Float32Array.from(new Float64Array(b)),
};

function hostArray(dtype: FileDType, bytes: Uint8Array<ArrayBuffer>): HostArray {
  if (dtype === "BOOL") return Uint32Array.from(bytes);
  if (dtype === "F32") return new Float32Array(bytes.buffer);
  if (dtype === "I32") return new Int32Array(bytes.buffer);
  return dtype === "U32" ? new Uint32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
}

const IN_FILE: Readonly<Record<DType, FileDType>> = {
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  i32: "I32",
  u32: "U32",
  bool: "BOOL",
};

/**
 * Write tensors by name, atomically: wide element types first, so that every tensor is aligned. Each one's `data` is
 * asked for when its turn comes. `metadata` goes into the header. Throws SafetensorsError when an array has another
 * length than its shape.
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  const width = ({ aval }: StoredTensor): number => aval.dtype === "bool" ? 1 : bytesOf(aval.dtype);
  const ordered = [...tensors].sort(([, a], [, b]) => width(b) - width(a));
  let at = 0;
  for (const [name, tensor] of ordered) {
    const { aval: { shape, dtype } } = tensor;
    if (name === "__metadata__") {
      throw new SafetensorsError(`${path}: a tensor cannot be named "__metadata__".`, {
        file: path,
        tensor: name,
      });
    }
    const end = at + sizeOf(shape) * width(tensor);
    entries.push([name, { dtype: IN_FILE[dtype], shape, data_offsets: [at, end] }]);
    at = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const head = new Uint8Array(PREFIX + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(head.length - PREFIX), true);
  head.set(json, PREFIX);
  writeAtomically(path, parts(path, head, ordered));
}

function* parts(
  path: string,
  head: Uint8Array,
  tensors: readonly (readonly [name: string, tensor: StoredTensor])[],
): Generator<Uint8Array> {
  yield head;
  for (const [name, tensor] of tensors) yield fileBytes(path, name, tensor);
}

function fileBytes(path: string, name: string, tensor: StoredTensor): Uint8Array {
  const { aval } = tensor, data = tensor.data, expected = sizeOf(aval.shape);
  if (data.length !== expected) {
    throw new SafetensorsError(
      `${path}: tensor "${name}" has shape [${aval.shape.join()}], ${expected} values, and ${data.length} were given.`,
      { file: path, tensor: name },
    );
  }
  return aval.dtype === "bool"
    ? Uint8Array.from(data)
    : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
