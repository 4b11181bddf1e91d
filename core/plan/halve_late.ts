/**
 * Where products may round: large values in full precision that are read soon after they were written and then again
 * much later wait in halves. So residual sums, which the forward pass adds to and norms in f32: the backward pass, which
 * needs them for the derivatives of those norms alone, finds them rounded. @module
 */
import { bytesOf, sizeOf } from "../ir/aval.ts";
import { call, constant, type Expr } from "../ir/expr.ts";
import type { Node } from "../ir/program.ts";
import { BINDING_ALIGNMENT, type Bindings, type Draft, readSlots, writeSlots } from "../kernel/draft.ts";
import { withValues } from "../kernel/finish.ts";
import type { Fused, FuseLimits } from "../kernel/fuse.ts";
import type { Store } from "../kernel/kernel.ts";
import { firstLateRead, keptOf, type Recomputation, usesOf } from "./recompute.ts";

/** The largest number that f16 holds; values beyond it become it rather than infinite. */
const LARGEST = 65504;
/** Elements between places where a binding of halves may begin. */
const STEP = BINDING_ALIGNMENT / bytesOf("f16");

/** Kernels in a line, with halves for late reads. */
export function halveLate(
  { program, drafts, bindings }: Pick<Fused, "program" | "drafts" | "bindings">,
  { maxSlots }: FuseLimits,
  { from, apart }: Recomputation,
): Pick<Fused, "program" | "drafts"> {
  const nodes: Node[] = [...program.nodes], line = [...drafts];
  const kept = keptOf(program), uses = usesOf(line, (d) => bindings.reads(d.body));
  uses.forEach((use, id) => {
    const { aval } = nodes[id]!;
    if (!use || kept.has(id) || aval.dtype !== "f32" || 4 * sizeOf(aval.shape) < from) return;
    const first = firstLateRead(use, apart);
    // Where all reads are late there is nothing that needs it in full, and `narrow` has decided.
    if (first === null || first === 0) return;
    const late = use.reads.slice(first);
    const written = writtenTwice(line[use.written]!, id, nodes.length, bindings);
    const canRead = late.every((i) => readsHalves(line[i]!, id, bindings));
    if (!written || !canRead || slotsOf(written) > maxSlots) return;
    const half = nodes.push({ ...nodes[id]!, id: nodes.length, aval: { ...aval, dtype: "f16" } }) - 1;
    line[use.written] = written;
    for (const i of late) line[i] = withValues(line[i]!, new Map([[id, half]]), bindings);
  });
  return { program: { ...program, nodes }, drafts: line };
}

function slotsOf({ body }: Draft): number {
  return new Set([...readSlots(body), ...writeSlots(body)]).size;
}

/** Whether a kernel may read halves instead, where a binding of them can begin. */
function readsHalves({ body }: Draft, id: number, bindings: Bindings): boolean {
  return (body.form === "row" || body.form === "contract") &&
    readSlots(body).every((slot) => bindings.at(slot).node !== id || bindings.at(slot).base % STEP === 0);
}

/** A kernel that also stores a value as `half`; null where it has no store that could be doubled. */
function writtenTwice(draft: Draft, id: number, half: number, bindings: Bindings): Draft | null {
  const { body } = draft;
  if (body.form !== "row" && body.form !== "contract") return null;
  const store = body.stores.find((s) => bindings.at(s.slot).node === id);
  if (!store || bindings.at(store.slot).base !== 0) return null;
  const also: Store = { ...store, slot: bindings.slot(half), value: clamped(store.value) };
  // The value itself stays the last one, which gives the kernel its place.
  return { ...draft, writes: [half, ...draft.writes], body: { ...body, stores: [...body.stores, also] } };
}

function clamped(value: Expr): Expr {
  return call("max", call("min", value, constant(LARGEST)), constant(-LARGEST));
}
