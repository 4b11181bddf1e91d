/** Plans: what to allocate and which kernels to run in which order, as plain data. @module */
import { type Aval, bytesOf, sizeOf } from "../ir/aval.ts";
import type { Kernel } from "../kernel/kernel.ts";

/** Where a kernel's slot or a program's input or output lives: a buffer from `offset` bytes on, a multiple of {@linkcode ALIGNMENT}. */
export interface Place {
  readonly buffer: number;
  readonly offset: number;
}

/** WebGPU's smallest common alignment of a binding, in bytes. */
export const ALIGNMENT = 256;

/**
 * One allocation. `input`: given by the caller at each run. `output`: kept until the next run. `temporary`: shared over
 * time by several values. `zeroed`: private and zero at the start (packed tensors, whose gaps stay zero).
 */
export interface BufferSpec {
  readonly bytes: number;
  readonly role: "input" | "output" | "temporary" | "zeroed";
}

/** Run `plan.kernels[kernel]` with its slots bound in order. */
export interface Step {
  readonly kernel: number;
  readonly slots: readonly Place[];
}

/** A program, compiled down to data. */
export interface Plan {
  readonly inputs: readonly { readonly aval: Aval; readonly buffer: number }[];
  /** An output that was updated in place lives in the buffer of that input. */
  readonly outputs: readonly { readonly aval: Aval; readonly place: Place }[];
  readonly buffers: readonly BufferSpec[];
  /** Each distinct kernel once. */
  readonly kernels: readonly Kernel[];
  readonly steps: readonly Step[];
}

/** Bytes of a value in memory. */
export function bytesFor({ shape, dtype }: Aval): number {
  return sizeOf(shape) * bytesOf(dtype);
}
