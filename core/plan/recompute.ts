/**
 * Recomputation: a large value that is read soon after it was written and then again much later (by the backward pass) is
 * not kept in between where it can be computed again, for little, from values that are in memory then anyway. So the
 * weights of attention come back from queries and keys, the gated product of an MLP from its two factors. @module
 */
import type { Node, Program } from "../ir/program.ts";
import { build } from "../kernel/build.ts";
import { type Draft, readSlots, writeSlots } from "../kernel/draft.ts";
import { withValues } from "../kernel/finish.ts";
import type { Fused, FuseLimits } from "../kernel/fuse.ts";
import type { Form } from "../kernel/kernel.ts";
import { Materialise } from "../kernel/pull.ts";
import { operationsOf } from "../kernel/work.ts";
import { bytesFor } from "./plan.ts";

/** Which values may be computed again. */
export interface Recomputation {
  /** Bytes from which on. */
  readonly from: number;
  /** Kernels between two uses from which on; default 24, about what a layer of a decoder has. */
  readonly apart?: number;
}

const APART = 24;
/** Multiplications and additions that a byte saved may cost: 1 µs a MiB at 200 TFLOP/s. */
const WORTH = 192;
/** Kernels that may be run again for one value. */
const CHAIN = 2;

/** Where a value is written and read, as places in the line of kernels. */
export interface Uses {
  readonly written: number;
  readonly reads: number[];
}

/** Which of the reads comes the most kernels after the use before it; null where that is less than `apart`. */
export function firstLateRead({ written, reads }: Uses, apart = APART): number | null {
  const gaps = reads.map((r, i) => r - (i === 0 ? written : reads[i - 1]!));
  const widest = Math.max(...gaps);
  return widest >= apart ? gaps.indexOf(widest) : null;
}

/** Kernels in a line, with those that are run again. */
export function recompute(
  fused: Fused,
  { maxSlots }: FuseLimits,
  { from, apart }: Recomputation,
): Pick<Fused, "program" | "drafts"> {
  const { program, bindings, stored } = fused;
  const nodes: Node[] = [...program.nodes];
  const kept = keptOf(program);
  const inputs = new Set(program.inputs);
  const reads = (d: Draft): ReadonlySet<number> => bindings.reads(d.body);
  let line = fused.drafts;
  const chainOf = (
    id: number,
    at: number,
    uses: AllUses,
    depth: number,
  ): Draft[] | null => {
    const draft = depth > 0 ? again(id) : null;
    if (!draft || new Set([...readSlots(draft.body), ...writeSlots(draft.body)]).size > maxSlots) return null;
    const chain: Draft[] = [];
    for (const source of reads(draft)) {
      const use = uses[source];
      const isThere = inputs.has(source) || (use && use.written < at && (use.reads.at(-1) ?? -1) >= at);
      if (isThere) continue;
      const before = kept.has(source) ? null : chainOf(source, at, uses, depth - 1);
      if (!before) return null;
      chain.push(...before);
    }
    return [...chain, draft];
  };
  const again = (id: number): Draft | null => {
    try {
      return program.nodes[id]!.rules && build({ program, stored, bindings }, id);
    } catch (reason) {
      if (reason instanceof Materialise) return null;
      throw reason;
    }
  };
  const candidates = line.flatMap((d) => d.writes)
    .filter((id) => !kept.has(id) && bytesFor(nodes[id]!.aval) >= from)
    .sort((a, b) => bytesFor(nodes[b]!.aval) - bytesFor(nodes[a]!.aval) || a - b);
  let uses = usesOf(line, reads);
  for (const id of candidates) {
    const late = firstLateRead(uses[id]!, apart);
    if (late === null) continue;
    const at = uses[id]!.reads[late]!;
    const chain = chainOf(id, at, uses, CHAIN);
    if (!chain || chain.reduce((sum, d) => sum + costOf(d.body), 0) > WORTH * bytesFor(nodes[id]!.aval)) {
      continue;
    }
    const ids = new Map(
      chain.flatMap((d) => d.writes).map((old) => {
        const { aval, op, params, inputs: from, rules } = nodes[old]!;
        return [old, nodes.push({ id: nodes.length, op, params, inputs: from, aval, rules }) - 1];
      }),
    );
    const own = new Map([[id, ids.get(id)!]]);
    line = [
      ...line.slice(0, at),
      ...chain.map((d) => withValues(d, ids, bindings)),
      ...line.slice(at).map((d) => (reads(d).has(id) ? withValues(d, own, bindings) : d)),
    ];
    uses = usesOf(line, reads);
  }
  return { program: { ...program, nodes }, drafts: line };
}

/** Values with a place in memory of their own. */
export function keptOf({ nodes, inputs, outputs }: Program): Set<number> {
  const kept = new Set([...inputs, ...outputs]);
  for (const { id, rules, inputs: parts } of nodes) {
    if (rules?.lower.kind === "pack") [id, ...parts].forEach((part) => kept.add(part));
  }
  return kept;
}

/** By value; absent where no kernel writes it. */
export type AllUses = readonly (Uses | undefined)[];

export function usesOf(line: readonly Draft[], reads: (d: Draft) => ReadonlySet<number>): AllUses {
  const uses: (Uses | undefined)[] = [];
  line.forEach((draft, i) => {
    for (const id of draft.writes) uses[id] = { written: i, reads: [] };
    for (const id of reads(draft)) uses[id]?.reads.push(i);
  });
  return uses;
}

/** What running a kernel again costs; solves, sums over rows and scattering are not run again. */
function costOf(body: Form): number {
  const isCheap = body.form === "contract" || body.form === "row" || body.form === "stages";
  return isCheap ? operationsOf(body) : Infinity;
}
