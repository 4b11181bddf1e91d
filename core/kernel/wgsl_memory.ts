/** How WGSL declares, reads and writes a kernel's buffers, by element type. @module */
import { type ScalarType, scalarType } from "../ir/expr.ts";
import type { DType } from "../ir/aval.ts";
import type { Slot } from "./kernel.ts";
import { type MatrixTile, SUBGROUP } from "./wgsl_tile.ts";

/** Invocations that can hand each other numbers without workgroup memory: neighbours, from a multiple of `size` on. */
export interface Subgroup {
  /** Invocations of every subgroup. */
  readonly size: number;
  /** Lines that a shader which uses it begins with: Dawn wants them, and Deno's own WebGPU refuses them. */
  readonly directives: readonly string[];
}

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
  /** Whether the implementation checks indices that are computed, as Deno's own does. */
  readonly checked: boolean;
  /** Tiles for matrix units that multiply f16 into f32 (Dawn's `chromium_experimental_subgroup_matrix`); null without. */
  readonly matrix: readonly MatrixTile[] | null;
  /** Null where there are none, or where their size is the driver's choice. */
  readonly subgroup: Subgroup | null;
  /** Names of the tiles that were measured to be the fastest, by the kernels' keys; others have the model's. */
  readonly tuned?: ReadonlyMap<string, string>;
}

/** What every WebGPU device has. */
export const defaultLimits: WgslLimits = {
  f16: false,
  maxWorkgroupBytes: 16384,
  maxInvocations: 256,
  busyWorkgroups: 132,
  checked: true,
  matrix: null,
  subgroup: null,
};

/** The subgroups of NVIDIA's GPUs, as Dawn has them. */
export const DAWN_SUBGROUP: Subgroup = { size: SUBGROUP, directives: ["enable subgroups;"] };

/** A slot as a printer uses it. */
export interface View {
  readonly slot: Slot;
  /** Its number, which is its binding. */
  readonly number: number;
  readonly f16: boolean;
  /** Declared as vectors of four elements, and only accessed so. */
  readonly wide: boolean;
}

/** Two 16-bit numbers share a u32 word. */
function isPacked({ slot: { dtype }, f16 }: View): boolean {
  return dtype === "bf16" || (dtype === "f16" && !f16);
}

/** `@group(0) @binding(2) var<storage, read> s2: array<f32>;` */
export function declaration(view: View): string {
  const { slot, number, wide } = view;
  const packed = isPacked(view), writes = slot.access !== "read";
  const element = packed || slot.dtype === "bool" ? "u32" : slot.dtype;
  // Neighbours in a word may be written by different invocations.
  const type = wide ? `vec${packed ? 2 : 4}<${element}>` : packed && writes ? `atomic<${element}>` : element;
  return `@group(0) @binding(${number}) var<storage, ${
    writes ? "read_write" : "read"
  }> s${number}: array<${type}>;`;
}

const ROUND = [
  "fn round_bf16(value: f32) -> u32 {",
  "  let bits = bitcast<u32>(value);",
  "  let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;",
  "  return select(rounded, 0x7fc0u, (bits & 0x7fffffffu) > 0x7f800000u);",
  "}",
];

/** Functions that loads and stores of these slots call. */
export function accessors(views: readonly View[]): string[] {
  const rounds = views.some((v) => v.slot.dtype === "bf16" && v.slot.access !== "read");
  return [
    ...(rounds ? ROUND : []),
    ...views.filter(isPacked).flatMap((v) => (v.wide ? wideAccessors(v) : halfAccessors(v))),
  ];
}

function wideAccessors({ slot: { dtype, access }, number }: View): string[] {
  const bf16 = dtype === "bf16";
  const pair = (word: string): string =>
    bf16 ? `bitcast<f32>(${word} << 16u), bitcast<f32>(${word} & 0xffff0000u)` : `unpack2x16float(${word})`;
  const word = (a: string, b: string): string =>
    bf16 ? `round_bf16(value.${a}) | (round_bf16(value.${b}) << 16u)` : `pack2x16float(value.${a}${b})`;
  return [
    ...(access === "write" ? [] : [
      `fn load${number}(at: u32) -> vec4f {`,
      `  let words = s${number}[at];`,
      `  return vec4f(${pair("words.x")}, ${pair("words.y")});`,
      "}",
    ]),
    ...(access === "read" ? [] : [
      `fn store${number}(at: u32, value: vec4f) { s${number}[at] = vec2u(${word("x", "y")}, ${
        word("z", "w")
      }); }`,
    ]),
  ];
}

function halfAccessors({ slot: { dtype, access }, number }: View): string[] {
  const bf16 = dtype === "bf16";
  const word = access === "read" ? `s${number}[at >> 1u]` : `atomicLoad(&s${number}[at >> 1u])`;
  const half = `${word} >> ((at & 1u) << 4u)`;
  const value = bf16 ? `bitcast<f32>((${half}) << 16u)` : `unpack2x16float(${half}).x`;
  const bits = bf16 ? "round_bf16(value)" : "(pack2x16float(vec2f(value, 0.0f)) & 0xffffu)";
  return [
    ...(access === "write" ? [] : [`fn load${number}(at: u32) -> f32 { return ${value}; }`]),
    ...(access === "read" ? [] : [
      `fn store${number}(at: u32, value: f32) {`,
      "  let shift = (at & 1u) << 4u;",
      `  atomicAnd(&s${number}[at >> 1u], 0xffff0000u >> shift);`,
      `  atomicOr(&s${number}[at >> 1u], ${bits} << shift);`,
      "}",
    ]),
  ];
}

/** Whether slots of this dtype can be accessed four elements at a time. */
export function canBeWide(dtype: DType): boolean {
  return dtype !== "bool";
}

/** The text of element `at` of a slot as a register value of `type`. */
export function loadText(view: View, at: string, type: ScalarType): string {
  const { slot: { dtype }, number } = view;
  let text = `s${number}[${at}]`;
  if (isPacked(view)) text = `load${number}(${at})`;
  else if (dtype === "f16") text = `f32(${text})`;
  else if (dtype === "bool") text = `(${text} != 0u)`;
  return convert(text, scalarType(dtype), type);
}

/** The text of elements `4 · at` to `4 · at + 3` of a wide slot, a vector of four. */
export function wideLoadText(view: View, at: string): string {
  if (isPacked(view)) return `load${view.number}(${at})`;
  return view.slot.dtype === "f16" ? `vec4f(s${view.number}[${at}])` : `s${view.number}[${at}]`;
}

/** The statement that writes element `at` of a slot; `value` has register type `type`. */
export function storeText(view: View, at: string, value: string, type: ScalarType): string {
  const { slot: { dtype }, number } = view;
  const converted = convert(value, type, scalarType(dtype));
  if (isPacked(view)) return `store${number}(${at}, ${converted});`;
  if (dtype === "f16") return `s${number}[${at}] = f16(${converted});`;
  if (dtype === "bool") return `s${number}[${at}] = u32(${converted});`;
  return `s${number}[${at}] = ${converted};`;
}

/** The statement that writes elements `4 · at` to `4 · at + 3` of a wide slot. */
export function wideStoreText(view: View, at: string, values: readonly string[], type: ScalarType): string {
  const { slot: { dtype }, number } = view;
  const stored = scalarType(dtype);
  const vector = `vec4<${stored}>(${values.map((v) => convert(v, type, stored)).join(", ")})`;
  if (isPacked(view)) return `store${number}(${at}, ${vector});`;
  return `s${number}[${at}] = ${dtype === "f16" ? `vec4<f16>(${vector})` : vector};`;
}

/** The text of a register value as another type. */
export function convert(text: string, from: ScalarType, to: ScalarType): string {
  return from === to ? text : `${to}(${text})`;
}
