/**
 * Memory for the values of a plan. Values whose times do not meet share a buffer: the largest are placed first, each in the
 * smallest buffer that is free for all of its time (greedy by size for shared objects: Pisarchyk and Lee,
 * arXiv:2001.03288). Buffers stay apart rather than parts of one, since a GPU waits between kernels that share one. @module
 */
import { bytesOf } from "../ir/aval.ts";
import type { Program } from "../ir/program.ts";
import type { Use } from "../kernel/finish.ts";
import { ALIGNMENT, type BufferSpec, bytesFor, type Place } from "./plan.ts";

/** Kernels that memory is left alone after its last use where kernels overlap: what takes it over must wait for them. */
const LINGER = 8;
/** Bytes from which on memory is taken over at once. */
const LARGE = 2 ** 23;

/** Where values are, and the buffers. */
export interface Allocation {
  readonly places: Map<number, Place>;
  readonly buffers: BufferSpec[];
}

/** A stored value and the kernels, by number, from the one that writes it to the last that needs its memory. */
interface Span {
  readonly id: number;
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

/** Give each stored value a place; `overlap`: kernels may run at once. */
export function allocate(
  program: Program,
  uses: readonly Use[],
  inPlace: ReadonlyMap<number, number>,
  overlap: boolean,
): Allocation {
  const places = new Map<number, Place>();
  const buffers: BufferSpec[] = [];
  const bytes = (id: number): number => padded(bytesFor(program.nodes[id]!.aval));
  const add = (size: number, role: BufferSpec["role"]): number => buffers.push({ bytes: size, role }) - 1;
  const fresh = (id: number, role: BufferSpec["role"]): void => {
    places.set(id, { buffer: add(bytes(id), role), offset: 0 });
  };
  for (const id of program.inputs) fresh(id, "input");
  for (const node of program.nodes) {
    const lower = node.rules?.lower;
    if (lower?.kind !== "pack") continue;
    fresh(node.id, "zeroed");
    const { buffer } = places.get(node.id)!;
    const slot = lower.slot * bytesOf(node.aval.dtype);
    node.inputs.forEach((part, i) => places.set(part, { buffer, offset: i * slot }));
  }
  for (const [to, from] of inPlace) places.set(to, places.get(from)!);
  for (const id of program.outputs) if (!places.has(id)) fresh(id, "output");
  const lastRead = new Map<number, number>();
  uses.forEach((use, i) => use.bound.forEach(({ node }) => lastRead.set(node, i)));
  const spans = uses.flatMap(({ writes }, first) =>
    writes.filter((id) => !places.has(id)).map((id): Span => {
      const size = bytes(id), linger = overlap && size < LARGE ? LINGER : 0;
      return { id, bytes: size, first, last: lastRead.get(id)! + linger };
    })
  );
  for (const { size, of } of shared(spans)) {
    const buffer = add(size, "temporary");
    for (const { id } of of) places.set(id, { buffer, offset: 0 });
  }
  return { places, buffers };
}

/** Spans that share a buffer, by buffer. */
function shared(spans: readonly Span[]): { readonly size: number; readonly of: readonly Span[] }[] {
  const found: { readonly size: number; readonly of: Span[] }[] = [];
  const length = (s: Span): number => s.last - s.first;
  const bySize = [...spans].sort((a, b) => b.bytes - a.bytes || length(b) - length(a) || a.first - b.first);
  for (const span of bySize) {
    // Those found last are the smallest; all are large enough.
    const free = found.findLast(({ of }) => of.every((s) => s.last < span.first || span.last < s.first));
    if (free) free.of.push(span);
    else found.push({ size: span.bytes, of: [span] });
  }
  return found;
}

function padded(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
}
