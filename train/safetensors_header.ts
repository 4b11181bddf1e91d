/** The header of a safetensors file: what is in it and where, checked. @module */
import { sizeOf } from "../core/mod.ts";
import { SafetensorsError } from "./errors.ts";

/** Element types of the format and their bytes. */
const BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
} as const;

/** Bytes of an element. */
export function fileBytesOf(dtype: FileDType): number {
  return BYTES[dtype];
}

/** Element type in a file. */
export type FileDType = keyof typeof BYTES;

/** A tensor in a file: its bytes are `begin ≤ byte < end`, counted from the end of the header. */
export interface TensorEntry {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** What the head of a file says. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

function isRecord(x: unknown): x is Record<string, unknown> {
  return typeof x === "object" && x !== null && !Array.isArray(x);
}

function isTexts(x: Record<string, unknown>): x is Record<string, string> {
  return Object.values(x).every((v) => typeof v === "string");
}

function isCount(x: unknown): x is number {
  return typeof x === "number" && Number.isSafeInteger(x) && x >= 0;
}

/**
 * Understand a header's JSON text. `dataBytes` is what the file holds after it; together the tensors must cover it
 * exactly. Throws SafetensorsError naming the file and the tensor.
 */
export function parseHeader(text: string, dataBytes: number, file: string): SafetensorsHeader {
  const bad = (what: string, data: Record<string, unknown> = {}) =>
    new SafetensorsError(`${file}: ${what}`, { file, ...data });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw bad(`the header is not JSON (${(error as Error).message}); ${DAMAGED}.`);
  }
  if (!isRecord(json)) throw bad(`the header is not a JSON object; ${DAMAGED}.`);
  const tensors = new Map<string, TensorEntry>();
  let metadata: Readonly<Record<string, string>> = {};
  for (const [name, value] of Object.entries(json)) {
    if (name === "__metadata__") {
      if (!isRecord(value) || !isTexts(value)) throw bad("__metadata__ must be an object of strings.");
      metadata = value;
    } else tensors.set(name, entryOf(name, value, bad));
  }
  let at = 0, before = "";
  for (
    const [name, { begin, end }] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)
  ) {
    if (begin < at) {
      throw bad(
        `tensor "${name}" begins at byte ${begin}, inside "${before}", which ends at byte ${at}; ${DAMAGED}.`,
        {
          tensor: name,
        },
      );
    }
    if (begin > at) {
      throw bad(`no tensor owns bytes ${at} to ${begin}, before "${name}"; ${DAMAGED}.`, { tensor: name });
    }
    if (end > dataBytes) {
      throw bad(
        `tensor "${name}" ends at byte ${end} of the data, and the file holds ${dataBytes}: it is cut short, copy it again.`,
        { tensor: name, expected: end, found: dataBytes },
      );
    }
    at = end;
    before = name;
  }
  if (at !== dataBytes) {
    throw bad(`the tensors end at byte ${at} of the data, and the file holds ${dataBytes}; ${DAMAGED}.`);
  }
  return { tensors, metadata };
}

/** What to do about a file whose parts contradict each other. */
const DAMAGED = "the file is damaged, copy it again";

type Bad = (what: string, data?: Record<string, unknown>) => SafetensorsError;

function entryOf(name: string, value: unknown, bad: Bad): TensorEntry {
  const { dtype, shape, data_offsets: offsets } = isRecord(value) ? value : {};
  if (typeof dtype !== "string" || !Object.hasOwn(BYTES, dtype)) {
    const known = Object.keys(BYTES).join(", ");
    throw bad(`tensor "${name}" has element type ${JSON.stringify(dtype)}; known are ${known}.`, {
      tensor: name,
      dtype,
    });
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw bad(`tensor "${name}" has shape ${JSON.stringify(shape)}; expected a list of sizes.`, {
      tensor: name,
      shape,
    });
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    const shown = JSON.stringify(offsets);
    throw bad(`tensor "${name}" has data_offsets ${shown}; expected [begin, end].`, {
      tensor: name,
      offsets,
    });
  }
  const [begin, end] = offsets as [number, number];
  const expected = sizeOf(shape) * BYTES[dtype as FileDType], found = end - begin;
  if (expected !== found) {
    throw bad(
      `tensor "${name}" is ${dtype}[${shape.join()}], ${expected} bytes, and bytes ${begin} to ${end} are ${found}; ${DAMAGED}.`,
      { tensor: name, expected, found },
    );
  }
  return { dtype: dtype as FileDType, shape, begin, end };
}
