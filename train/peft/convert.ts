/**
 * Between PEFT's tensors and the parameters of Gyre's adapters. LoRA's factors have the same layout; rotations have the
 * same blocks in the same places, and their free entries in another order. Facts: peft 0.21, the tuners' layers. @module
 */
import { aval, sizeOf } from "../../core/mod.ts";
import { bf16ToF32, f16ToF32 } from "../floats.ts";
import type { PeftMethod } from "./config.ts";
import type { StoredTensor } from "../safetensors.ts";
import type { HostTensor } from "../training.ts";

/** Numbers of one adapted map by leaf. */
export type PeftTensors = ReadonlyMap<string, StoredTensor>;
/** Parameters of one adapted map by the path of their leaf, f32. */
export type LeafValues = ReadonlyMap<string, HostTensor>;

/** A tensor of floats as f32; an f32 tensor's numbers are not copied. */
export function asF32({ aval: { shape, dtype }, data }: StoredTensor): HostTensor {
  const bits = (): Uint16Array => data as Uint16Array;
  switch (dtype) {
    case "f32":
      return { aval: aval(shape), data };
    case "f16":
      return { aval: aval(shape), data: f16ToF32(bits()) };
    case "bf16":
      return { aval: aval(shape), data: bf16ToF32(bits()) };
    default:
      throw new TypeError(`A parameter of ${dtype} is not one of floats.`);
  }
}

function f32(shape: readonly number[], data: Float32Array): HostTensor {
  return { aval: aval(shape), data };
}

function need(tensors: ReadonlyMap<string, StoredTensor>, leaf: string): HostTensor {
  const found = tensors.get(leaf);
  if (!found) throw new TypeError(`The leaf ${leaf} is missing among ${[...tensors.keys()].join(", ")}.`);
  return asF32(found);
}

/**
 * Where each free entry of a skew n×n matrix stands in PEFT's row-major upper triangle, in the order of
 * `skewFromEntries`: entry k of Gyre is `sign[k]` times entry `at[k]` of PEFT.
 */
export function skewOrder(n: number): { readonly at: Int32Array; readonly sign: Int32Array } {
  const total = (n * (n - 1)) / 2;
  const at = new Int32Array(total), sign = new Int32Array(total);
  for (let k = 0; k < total; k++) {
    const from = k % n, to = (from + Math.floor(k / n) + 1) % n;
    const i = Math.min(from, to), j = Math.max(from, to);
    at[k] = i * n - (i * (i + 1)) / 2 + (j - i - 1);
    sign[k] = from < to ? 1 : -1;
  }
  return { at, sign };
}

/** Size n of blocks with `total` = n(n−1)/2 free entries. Throws TypeError where there is none. */
export function blockOfEntries(total: number): number {
  const n = Math.round((1 + Math.sqrt(1 + 8 * total)) / 2);
  if ((n * (n - 1)) / 2 !== total || n < 2) {
    throw new TypeError(`No skew matrix has ${total} free entries; expected n(n−1)/2 for some n from 2 on.`);
  }
  return n;
}

/** Upper triangles [..., n(n−1)/2] in PEFT's order to Gyre's entries, times `factor`. */
export function entriesFromUpper({ aval: { shape }, data }: HostTensor, factor: 1 | -1): HostTensor {
  const total = shape.at(-1)!, { at, sign } = skewOrder(blockOfEntries(total));
  const out = new Float32Array(data.length);
  for (let i = 0; i < out.length; i++) {
    const k = i % total;
    out[i] = factor * sign[k]! * data[i - k + at[k]!]!;
  }
  return f32(shape, out);
}

/** The inverse of {@linkcode entriesFromUpper} for the same factor. */
export function upperFromEntries({ aval: { shape }, data }: HostTensor, factor: 1 | -1): HostTensor {
  const total = shape.at(-1)!, { at, sign } = skewOrder(blockOfEntries(total));
  const out = new Float32Array(data.length);
  for (let i = 0; i < out.length; i++) {
    const k = i % total;
    out[i - k + at[k]!] = factor * sign[k]! * data[i]!;
  }
  return f32(shape, out);
}

/** Full blocks R [..., n, n] to the entries [..., n(n−1)/2] of their skew parts ½(R − Rᵀ). The symmetric parts act on nothing. */
export function entriesFromBlocks({ aval: { shape }, data }: HostTensor): HostTensor {
  const n = shape.at(-1)!, total = (n * (n - 1)) / 2, count = sizeOf(shape) / (n * n);
  const out = new Float32Array(count * total);
  for (let c = 0; c < count; c++) {
    for (let k = 0; k < total; k++) {
      const i = k % n, j = (i + Math.floor(k / n) + 1) % n;
      out[c * total + k] = 0.5 * (data[(c * n + i) * n + j]! - data[(c * n + j) * n + i]!);
    }
  }
  return f32([...shape.slice(0, -2), total], out);
}

/** Skew blocks [..., n, n] of entries [..., n(n−1)/2]. */
export function blocksFromEntries({ aval: { shape }, data }: HostTensor): HostTensor {
  const total = shape.at(-1)!, n = blockOfEntries(total), count = sizeOf(shape) / total;
  const out = new Float32Array(count * n * n);
  for (let c = 0; c < count; c++) {
    for (let k = 0; k < total; k++) {
      const i = k % n, j = (i + Math.floor(k / n) + 1) % n, value = data[c * total + k]!;
      out[(c * n + i) * n + j] = value;
      out[(c * n + j) * n + i] = -value;
    }
  }
  return f32([...shape.slice(0, -1), n, n], out);
}

/**
 * Trained factors and the frozen ones that are taken away as plain factors of twice the rank: [A; A₀] and [B, −B₀], with
 * [B, −B₀]·[A; A₀] = B·A − B₀·A₀.
 */
export function joinFrozen(a: HostTensor, b: HostTensor, a0: HostTensor, b0: HostTensor): {
  readonly a: HostTensor;
  readonly b: HostTensor;
} {
  const [r, inDim] = a.aval.shape as [number, number], [outDim] = b.aval.shape as [number, number];
  const rows = new Float32Array(2 * r * inDim), columns = new Float32Array(outDim * 2 * r);
  rows.set(a.data);
  rows.set(a0.data, r * inDim);
  for (let o = 0; o < outDim; o++) {
    for (let k = 0; k < r; k++) {
      columns[o * 2 * r + k] = b.data[o * r + k]!;
      columns[o * 2 * r + r + k] = -b0.data[o * r + k]!;
    }
  }
  return { a: f32([2 * r, inDim], rows), b: f32([outDim, 2 * r], columns) };
}

/** Names of DoRA's magnitude: as PEFT writes it, and as some versions did. */
export const MAGNITUDE = ["lora_magnitude_vector", "lora_magnitude_vector.weight"] as const;

/**
 * OFT: the exact map has Gyre's sign, (I − S)(I + S)⁻¹; the series is one of its transpose, (I + S)(I − S)⁻¹, so that
 * its entries change sign.
 */
function oftSign(terms: number | null): 1 | -1 {
  return terms === null ? 1 : -1;
}

/** Parameters of a Gyre adapter from the tensors of a map: `a`, `b`, `magnitude`; `skew`, `scale`; `u`. */
export function fromPeft(method: PeftMethod, tensors: PeftTensors): Map<string, HostTensor> {
  switch (method.kind) {
    case "LORA": {
      const leaves = new Map([["a", need(tensors, "lora_A.weight")], ["b", need(tensors, "lora_B.weight")]]);
      if (!method.dora) return leaves;
      const name = MAGNITUDE.find((n) => tensors.has(n)) ?? MAGNITUDE[0];
      return leaves.set("magnitude", need(tensors, name));
    }
    case "OFT": {
      const entries = entriesFromUpper(need(tensors, "oft_R.weight"), oftSign(method.neumannTerms));
      return new Map([["skew", f32([1, ...entries.aval.shape], entries.data as Float32Array)]]);
    }
    case "BOFT": {
      const scale = need(tensors, "boft_s");
      return new Map([
        ["skew", entriesFromBlocks(need(tensors, "boft_R"))],
        ["scale", f32([scale.aval.shape[0]!], scale.data as Float32Array)],
      ]);
    }
    case "HRA":
      return new Map([["u", need(tensors, "hra_u")]]);
  }
}

/**
 * The tensors of a map for PEFT from a Gyre adapter's parameters; the inverse of {@linkcode fromPeft}, but that of BOFT's
 * full blocks only the skew parts, which act, are kept. Frozen factors `a0`, `b0` double the rank: see {@linkcode joinFrozen}.
 */
export function toPeft(method: PeftMethod, values: LeafValues): Map<string, StoredTensor> {
  switch (method.kind) {
    case "LORA": {
      const a0 = values.get("a0"), b0 = values.get("b0");
      const own = { a: need(values, "a"), b: need(values, "b") };
      const { a, b } = a0 && b0 ? joinFrozen(own.a, own.b, a0, b0) : own;
      const tensors = new Map<string, StoredTensor>([["lora_A.weight", a], ["lora_B.weight", b]]);
      return method.dora ? tensors.set(MAGNITUDE[0], need(values, "magnitude")) : tensors;
    }
    case "OFT": {
      const { aval: { shape: [factors, ...rest] }, data } = need(values, "skew");
      if (factors !== 1) throw new TypeError(`OFT has one factor and the parameters have ${factors}.`);
      const entries = f32(rest, data as Float32Array);
      return new Map([["oft_R.weight", upperFromEntries(entries, oftSign(method.neumannTerms))]]);
    }
    case "BOFT": {
      const scale = need(values, "scale");
      return new Map([
        ["boft_R", blocksFromEntries(need(values, "skew"))],
        ["boft_s", f32([sizeOf(scale.aval.shape), 1], scale.data as Float32Array)],
      ]);
    }
    case "HRA":
      return new Map([["hra_u", need(values, "u")]]);
  }
}
