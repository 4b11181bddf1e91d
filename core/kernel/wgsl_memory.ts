/** How WGSL declares, reads and writes a kernel's buffers, by element type. @module */
import { type ScalarType, scalarType } from "../ir/expr.ts";
import type { DType } from "../ir/aval.ts";
import type { Slot } from "./kernel.ts";

/** What a WGSL printer must know of the device. */
export interface WgslLimits {
  /** Whether the feature `shader-f16` is there. */
  readonly f16: boolean;
  /** Workgroup memory, in bytes. */
  readonly maxWorkgroupBytes: number;
  /** Invocations of one workgroup. */
  readonly maxInvocations: number;
  /** Workgroups that keep the device busy: fewer waste processors, so tiles become smaller. */
  readonly busyWorkgroups: number;
}

/** What every WebGPU device has. */
export const defaultLimits: WgslLimits = {
  f16: false,
  maxWorkgroupBytes: 16384,
  maxInvocations: 256,
  busyWorkgroups: 128,
};

/** Two 16-bit numbers share a u32 word. */
function isPacked(dtype: DType, f16: boolean): boolean {
  return dtype === "bf16" || (dtype === "f16" && !f16);
}

/** `@group(0) @binding(2) var<storage, read> s2: array<f32>;` */
export function declaration(slot: Slot, number: number, f16: boolean): string {
  const packed = isPacked(slot.dtype, f16);
  const element = packed || slot.dtype === "bool" ? "u32" : slot.dtype;
  const writes = slot.access !== "read";
  // Neighbours in a word may be written by different invocations.
  const type = packed && writes ? `atomic<${element}>` : element;
  return `@group(0) @binding(${number}) var<storage, ${writes ? "read_write" : "read"}> s${number}: array<${type}>;`;
}

/** Functions that loads and stores of this slot call. */
export function accessors(slot: Slot, number: number, f16: boolean): string[] {
  if (!isPacked(slot.dtype, f16)) return [];
  const word = slot.access === "read" ? `s${number}[at >> 1u]` : `atomicLoad(&s${number}[at >> 1u])`;
  const half = `${word} >> ((at & 1u) << 4u)`;
  const value = slot.dtype === "bf16" ? `bitcast<f32>((${half}) << 16u)` : `unpack2x16float(${half}).x`;
  const lines: string[] = [];
  if (slot.access !== "write") lines.push(`fn load${number}(at: u32) -> f32 { return ${value}; }`);
  if (slot.access === "read") return lines;
  const bits = slot.dtype === "f16" ? "let half = pack2x16float(vec2f(value, 0.0f)) & 0xffffu;" : [
    "let bits = bitcast<u32>(value);",
    "let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;",
    "let half = select(rounded, 0x7fc0u, (bits & 0x7fffffffu) > 0x7f800000u);",
  ].join("\n  ");
  lines.push(
    `fn store${number}(at: u32, value: f32) {\n  ${bits}\n  let shift = (at & 1u) << 4u;`,
    `  atomicAnd(&s${number}[at >> 1u], 0xffff0000u >> shift);`,
    `  atomicOr(&s${number}[at >> 1u], half << shift);\n}`,
  );
  return lines;
}

/** The text of element `at` of a slot as a register value of `type`. */
export function loadText(slot: Slot, number: number, at: string, type: ScalarType, f16: boolean): string {
  const stored = scalarType(slot.dtype);
  let text = `s${number}[${at}]`;
  if (isPacked(slot.dtype, f16)) text = `load${number}(${at})`;
  else if (slot.dtype === "f16") text = `f32(${text})`;
  else if (slot.dtype === "bool") text = `(${text} != 0u)`;
  return stored === type ? text : `${type}(${text})`;
}

/** The statement that writes element `at` of a slot; `value` has register type `type`. */
export function storeText(slot: Slot, number: number, at: string, value: string, type: ScalarType, f16: boolean): string {
  const stored = scalarType(slot.dtype);
  const converted = stored === type ? value : `${stored}(${value})`;
  if (isPacked(slot.dtype, f16)) return `store${number}(${at}, ${converted});`;
  if (slot.dtype === "f16") return `s${number}[${at}] = f16(${converted});`;
  if (slot.dtype === "bool") return `s${number}[${at}] = u32(${converted});`;
  return `s${number}[${at}] = ${converted};`;
}
