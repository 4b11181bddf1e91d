/** Loads and stores of every element type in WebAssembly; registers hold f32 and 32-bit integers. @module */
import type { DType } from "../ir/aval.ts";

/** An address and what the instruction adds to it, in bytes. */
export interface Address {
  readonly code: string;
  readonly offset: number;
}

function at({ code, offset }: Address): string {
  return offset === 0 ? code : `offset=${offset} ${code}`;
}

/** Lanes of f32 from lanes that hold 16 bits each. */
function widen(dtype: DType, lanes: string, calls: Set<string>): string {
  if (dtype === "bf16") return `(i32x4.shl ${lanes} (i32.const 16))`;
  calls.add("fromHalf");
  return `(call $fromHalf ${lanes})`;
}

/** Text of lanes as they are stored: 16 bits each for f16 and bf16, as they are for others. */
export function narrow(dtype: DType, lanes: string, calls: Set<string>): string {
  if (dtype !== "f16" && dtype !== "bf16") return lanes;
  const name = dtype === "bf16" ? "toBrain" : "toHalf";
  calls.add(name);
  return `(call $${name} ${lanes})`;
}

/** Text of one element: f32, or i32 for the integers and bool. */
export function loadOne(dtype: DType, address: Address, calls: Set<string>): string {
  if (dtype === "f32") return `(f32.load ${at(address)})`;
  if (dtype === "bf16") return `(f32.reinterpret_i32 (i32.shl (i32.load16_u ${at(address)}) (i32.const 16)))`;
  if (dtype === "f16") {
    return `(f32x4.extract_lane 0 ${widen(dtype, `(i32x4.splat (i32.load16_u ${at(address)}))`, calls)})`;
  }
  return `(i32.load ${at(address)})`;
}

/** Text of four elements, `step` apart (null: anywhere); steps 0 and 1 use the first address only. */
export function loadLanes(
  dtype: DType,
  step: number | null,
  addresses: readonly Address[],
  calls: Set<string>,
): string {
  const isHalf = dtype === "f16" || dtype === "bf16";
  const first = at(addresses[0]!);
  if (isHalf) {
    const lanes = step === 1
      ? `(v128.load16x4_u ${first})`
      : step === 0
      ? `(i32x4.splat (i32.load16_u ${first}))`
      : addresses.slice(1).reduce(
        (v, a, l) => `(i32x4.replace_lane ${l + 1} ${v} (i32.load16_u ${at(a)}))`,
        `(i32x4.splat (i32.load16_u ${first}))`,
      );
    return widen(dtype, lanes, calls);
  }
  if (step === 1) return `(v128.load ${first})`;
  if (step === 0) return `(v128.load32_splat ${first})`;
  return addresses.slice(1).reduce(
    (v, { code, offset }, l) => `(v128.load32_lane offset=${offset} ${l + 1} ${code} ${v})`,
    `(v128.load32_zero ${first})`,
  );
}

/** Line that stores one element. */
export function storeOne(dtype: DType, address: Address, value: string, calls: Set<string>): string {
  if (dtype === "f32") return `(f32.store ${at(address)} ${value})`;
  if (dtype === "f16" || dtype === "bf16") {
    return `(i32.store16 ${at(address)} (i32x4.extract_lane 0 ${
      narrow(dtype, `(f32x4.splat ${value})`, calls)
    }))`;
  }
  return `(i32.store ${at(address)} ${value})`;
}

/** Lines that store four elements, narrow already, at one address in a row or at four. `lanes` is a local. */
export function storeLanes(dtype: DType, addresses: readonly Address[], lanes: string): string[] {
  const isHalf = dtype === "f16" || dtype === "bf16";
  if (addresses.length > 1) {
    return addresses.map(({ code, offset }, l) =>
      isHalf
        ? `(i32.store16 offset=${offset} ${code} (i32x4.extract_lane ${l} ${lanes}))`
        : `(v128.store32_lane offset=${offset} ${l} ${code} ${lanes})`
    );
  }
  const { code, offset } = addresses[0]!;
  if (!isHalf) return [`(v128.store offset=${offset} ${code} ${lanes})`];
  return [`(v128.store64_lane offset=${offset} 0 ${code} (i16x8.narrow_i32x4_u ${lanes} ${lanes}))`];
}
