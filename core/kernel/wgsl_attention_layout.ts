/** How a workgroup of attention on matrix units divides its rows and its memory. @module */
import { type AttentionForm, extentOf } from "./kernel.ts";
import type { WgslLimits } from "./wgsl_memory.ts";
import { plus } from "./wgsl_operand.ts";
import { PAD, SUBGROUP, SUM_PAD } from "./wgsl_tile.ts";

/** Rows that a workgroup owns, 16 to a subgroup, and its invocations: two to a row. */
export const OWN = 64, LANES = 128;

/** Subgroups of a workgroup, each with a number in memory. */
export const MARKS = LANES / SUBGROUP;

/**
 * Places in workgroup memory: sums of subgroups in f32, numbers, then what matrix units read, in halves. Lengths in elements.
 * All are in one variable, since a buffer must be the only one of a workgroup (see `entryPoint`).
 */
export interface Layout {
  readonly depth: number;
  /** Rows of the other side in memory. */
  readonly block: number;
  /** Length of a row of sums, of an operand, and of weights. */
  readonly sumPitch: number;
  readonly pitch: number;
  readonly weightPitch: number;
  /** A number for each invocation, behind the sums. */
  readonly stats: number;
  /** A number for each subgroup, in words, then the segments of a block. */
  readonly marks: number;
  /** Where the two operands of the other side and the weights begin, in halves. */
  readonly operands: readonly [number, number];
  readonly weights: number;
  readonly bytes: number;
}

function layoutOf(depth: number, block: number): Layout {
  const sumPitch = block + SUM_PAD, pitch = depth + PAD, weightPitch = block + PAD;
  const stats = OWN * sumPitch, marks = stats + LANES;
  const first = 2 * (marks + MARKS + block), second = first + block * pitch;
  const weights = second + block * pitch, end = weights + OWN * weightPitch;
  // The owned rows pass through the place of all three before the walk begins.
  const bytes = 2 * Math.max(end, first + OWN * pitch);
  return {
    depth,
    block,
    sumPitch,
    pitch,
    weightPitch,
    stats,
    marks,
    operands: [first, second],
    weights,
    bytes,
  };
}

/**
 * Rows of the other side in memory at a time. With 64 features two workgroups share a processor then: where one has at most
 * 48 KiB, as on an H200, that is all that a processor has.
 */
const BLOCK = 32;

/** The layout for heads of `depth`. Throws Error where it does not fit. */
export function chooseLayout(depth: number, { maxWorkgroupBytes }: WgslLimits): Layout {
  const layout = layoutOf(depth, BLOCK);
  if (layout.bytes <= maxWorkgroupBytes) return layout;
  throw new Error(
    `Attention with heads of ${depth} needs ${layout.bytes} bytes of workgroup memory and the device has ${maxWorkgroupBytes}.`,
  );
}

/** Numbers from 0 on. */
export function upTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}

/** `min(text, last)` where rows may lie beyond the end. */
export function clamped(text: string, extent: number, step: number): string {
  return extent % step === 0 ? text : `min(${text}, ${extent - 1}u)`;
}

/** Heads of queries, or of keys, over the whole batch. */
export function headsOf({ batch, head, group }: AttentionForm, side: "query" | "key"): number {
  return extentOf(side === "query" ? [batch, head, group] : [batch, head]);
}
/** Vectors of a row of a block that an invocation handles, as the text of their place among those of the row. */
export function vectorsOf(l: Layout): string[] {
  // Neighbours that read at once differ in the place of four vectors: no two of them in one bank.
  return upTo(l.block / 8).map((i) => plus("side * 4u", Math.floor(i / 4) * 8 + i % 4));
}

/** Text of vector `at` of an invocation's row of sums. */
export function sumsAt(l: Layout, at: string): string {
  return `sums4[row * ${l.sumPitch / 4}u + ${at}]`;
}
