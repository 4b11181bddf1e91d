/**
 * Order of kernels for a GPU that runs neighbours at once unless one touches what another writes: between the two it waits
 * for everything before. Kernels that can run beside those just queued are taken forward, from not far behind, so that
 * fewer waits are left: for LoRA and its kin as few as the longest chain of kernels has. Memory is given out before and
 * stays as it is. @module
 */
import type { Plan, Step } from "./plan.ts";

/** Places that a kernel may be taken forward. */
const WINDOW = 24;

/** What a step touches: buffers for waiting, and parts of them for the order. */
export interface Touch {
  readonly reads: ReadonlySet<number>;
  readonly writes: ReadonlySet<number>;
  readonly needs: readonly number[];
}

/** The plan with its steps in an order with fewer waits. */
export function overlap(plan: Plan): Plan {
  const touches = touchesOf(plan);
  const left = new Set(plan.steps.keys());
  const done = new Set<number>();
  const steps: Step[] = [];
  let wave = { reads: new Set<number>(), writes: new Set<number>() };
  while (left.size > 0) {
    const [oldest] = left;
    let first: number | null = null, chosen: number | null = null;
    for (const i of left) {
      if (i > oldest! + WINDOW) break;
      if (!touches[i]!.needs.every((n) => done.has(n))) continue;
      first ??= i;
      if (waits(touches[i]!, wave)) continue;
      chosen = i;
      break;
    }
    if (chosen === null) {
      chosen = first!;
      wave = { reads: new Set(), writes: new Set() };
    }
    const { reads, writes } = touches[chosen]!;
    reads.forEach((b) => wave.reads.add(b));
    writes.forEach((b) => wave.writes.add(b));
    left.delete(chosen);
    done.add(chosen);
    steps.push(plan.steps[chosen]!);
  }
  return { ...plan, steps };
}

/** Whether a step must wait for those of the wave. */
function waits(
  { reads, writes }: Touch,
  wave: { readonly reads: ReadonlySet<number>; readonly writes: ReadonlySet<number> },
): boolean {
  for (const b of writes) if (wave.writes.has(b) || wave.reads.has(b)) return true;
  for (const b of reads) if (wave.writes.has(b)) return true;
  return false;
}

/** Waits of a plan's steps in their order, as a driver counts that looks at whole buffers. */
export function countWaits(plan: Plan): number {
  let wave = { reads: new Set<number>(), writes: new Set<number>() }, count = 0;
  for (const touch of touchesOf(plan)) {
    if (waits(touch, wave)) {
      count++;
      wave = { reads: new Set(), writes: new Set() };
    }
    touch.reads.forEach((b) => wave.reads.add(b));
    touch.writes.forEach((b) => wave.writes.add(b));
  }
  return count;
}

/**
 * What each step touches and which steps it must come after. Parts of a packed buffer are apart: two kernels that write
 * different ones may change places; whoever reads any of it comes after all that wrote to it before.
 */
export function touchesOf({ steps, kernels, buffers }: Plan): Touch[] {
  const lastWrites = new Map<number, Map<number, number>>();
  const lastReads = new Map<number, number[]>();
  return steps.map(({ kernel, slots }, i) => {
    const reads = new Set<number>(), writes = new Set<number>(), needs = new Set<number>();
    const { slots: kinds } = kernels[kernel]!;
    slots.forEach(({ buffer, offset }, j) => {
      const { access } = kinds[j]!;
      const written = lastWrites.get(buffer) ?? new Map<number, number>();
      if (access !== "write") {
        reads.add(buffer);
        written.forEach((n) => needs.add(n));
      }
      if (access === "read") return;
      writes.add(buffer);
      const isPacked = buffers[buffer]!.role === "zeroed" && access === "write";
      for (const [at, n] of written) if (!isPacked || at === offset) needs.add(n);
      for (const n of lastReads.get(buffer) ?? []) needs.add(n);
    });
    slots.forEach(({ buffer, offset }, j) => {
      if (kinds[j]!.access === "read") return;
      const isPacked = buffers[buffer]!.role === "zeroed" && kinds[j]!.access === "write";
      const written = isPacked
        ? lastWrites.get(buffer) ?? new Map<number, number>()
        : new Map<number, number>();
      lastWrites.set(buffer, written.set(offset, i));
      if (!isPacked) lastReads.set(buffer, []);
    });
    for (const b of reads) lastReads.set(b, [...(lastReads.get(b) ?? []), i]);
    needs.delete(i);
    return { reads, writes, needs: [...needs] };
  });
}
