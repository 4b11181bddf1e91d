/** What runs plans: the interface that the CPU and GPU executors implement. @module */
import type { Aval } from "../ir/aval.ts";
import type { Plan } from "./plan.ts";

/** Numbers on the host in their memory layout: f32 → Float32Array, f16 and bf16 → Uint16Array (bits), i32 → Int32Array, u32 and bool → Uint32Array. */
export type HostArray = Float32Array | Uint16Array | Int32Array | Uint32Array;

/** Numbers on a device. Made by {@linkcode Device.upload} or {@linkcode Executable.run}; freed with the device or by {@linkcode Device.free}. */
export interface DeviceArray {
  readonly aval: Aval;
}

/** A plan made ready on a device. */
export interface Executable {
  /**
   * Run once; returns as soon as the work is queued. Outputs belong to the executable and are overwritten by its next
   * run; an output updated in place is the input that was given for it.
   */
  readonly run: (inputs: readonly DeviceArray[]) => readonly DeviceArray[];
  /** Seconds spent to print and compile the kernels. */
  readonly compileSeconds: number;
  /** Free its buffers. */
  readonly dispose: () => void;
}

/** Remembers which tile was the fastest for a kernel, by the text of the kernel. */
export interface TileMemory {
  readonly get: (text: string) => string | undefined;
  readonly set: (text: string, tile: string) => void;
}

/** What tuning came to. */
export interface Tuned {
  /** Distinct products that can have several tiles, those of them that were measured now, and those that got another tile than the model's. */
  readonly products: number;
  readonly measured: number;
  readonly other: number;
  readonly seconds: number;
}

/** What the compiler needs to know of a device. */
export interface Capabilities {
  readonly kind: "cpu" | "gpu";
  /** For people: the adapter's name and driver, or the processor and its threads. */
  readonly adapterName: string;
  readonly f16: boolean;
  /** Buffers that one kernel may bind. */
  readonly maxSlots: number;
  /** Largest buffer, in bytes. */
  readonly maxBufferBytes: number;
  /** All buffers together, in bytes, where known. */
  readonly maxTotalBytes: number | null;
  /** What only a GPU has; null for a processor. */
  readonly gpu: GpuCapabilities | null;
}

/** What a WebGPU device can do beyond its limits. */
export interface GpuCapabilities {
  /** Who implements WebGPU: Deno itself, or Dawn from the npm package `webgpu`. */
  readonly provider: "deno" | "dawn";
  readonly subgroups: boolean;
  /** Whether matrix units multiply f16 into f32. */
  readonly matrix: boolean;
  /** Whether they are used: products of matrices round their operands to f16. */
  readonly halfProducts: boolean;
  /** Processors that run workgroups side by side, as far as is known. */
  readonly processors: number;
  /** Cost of one awaited read, in milliseconds; reads queued together share it. */
  readonly readBackMs: number;
  /** Why the choice fell on this provider, where that needs saying. */
  readonly note: string | null;
}

/**
 * What Dawn says of an H100 or an H200, for plans that are made without one; `halfProducts`: products may round their
 * operands to f16 on its matrix units.
 */
export function matrixGpu(halfProducts: boolean): GpuCapabilities {
  return {
    ...{ provider: "dawn", subgroups: true, matrix: true, halfProducts },
    ...{ processors: 132, readBackMs: 1, note: null },
  };
}

/** A processor that runs plans. */
export interface Device {
  readonly capabilities: Capabilities;
  /** `exact`: products do not round their operands, whatever else runs on the device; default false. */
  readonly compile: (plan: Plan, exact?: boolean) => Promise<Executable>;
  /** Begin with what takes {@linkcode compile} of this plan long; absent where nothing does. */
  readonly prepare?: (plan: Plan) => void;
  /**
   * Measure which tiles the products of this plan are fastest with, as far as `known` does not remember it; before the
   * plan is prepared. Absent where there is no choice. Rejects where the driver has no timestamps.
   */
  readonly tune?: (plan: Plan, known: TileMemory) => Promise<Tuned>;
  readonly upload: (data: HostArray, aval: Aval) => DeviceArray;
  /** An array of zeros, as if uploaded; absent where uploading them is no slower. */
  readonly zeros?: (aval: Aval) => DeviceArray;
  /** Replace the numbers of an array made by `upload`. */
  readonly write: (array: DeviceArray, data: HostArray) => void;
  /** Waits for all work before it. */
  readonly download: (array: DeviceArray) => Promise<HostArray>;
  readonly free: (array: DeviceArray) => void;
  /** Bytes allocated now and at the most. */
  readonly memory: () => { readonly bytes: number; readonly peakBytes: number };
  readonly close: () => Promise<void>;
}

/** A device that is gone: a driver that crashed or was reset, a card that was taken away. What was on it is lost. */
export class DeviceLostError extends Error {
  override readonly name = "DeviceLostError";
}
