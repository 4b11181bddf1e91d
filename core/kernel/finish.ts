/** Finishing: a draft becomes a kernel with its own slot numbers, and a list of what to bind there. @module */
import { type Expr, loadsOf, mapExpr } from "../ir/expr.ts";
import { type Ix, ixSubstitute } from "../ir/ix.ts";
import type { Program } from "../ir/program.ts";
import { type Binding, type Bindings, type Draft, readSlots, writeSlots } from "./draft.ts";
import { type Form, type Kernel, type Slot, type Store, valuesOf } from "./kernel.ts";

/** A kernel and the values to bind to its slots, in order. */
export interface Use {
  readonly kernel: Kernel;
  readonly bound: readonly Binding[];
  /** Values written, by slot. */
  readonly writes: readonly number[];
}

/**
 * Number the slots: what is read in order of appearance, then what is written. `inPlace` maps a written value to an
 * input whose memory it takes over; it must satisfy {@linkcode canUpdate}.
 */
export function finish(
  program: Program,
  draft: Draft,
  bindings: Bindings,
  inPlace: ReadonlyMap<number, number>,
): Use {
  const reads = readSlots(draft.body), writes = [...new Set(writeSlots(draft.body))];
  const number = new Map<number, number>();
  const slots: Slot[] = [];
  const bound: Binding[] = [];
  const add = (slot: number, access: Slot["access"]): void => {
    const binding = bindings.at(slot);
    number.set(slot, slots.length);
    slots.push({ dtype: program.nodes[binding.node]!.aval.dtype, access });
    bound.push(binding);
  };
  const taken = new Map(writes.flatMap((slot) => {
    const from = inPlace.get(bindings.at(slot).node);
    return from === undefined ? [] : [[bindings.slot(from), slot] as const];
  }));
  for (const slot of reads) add(slot, taken.has(slot) ? "readwrite" : "read");
  for (const slot of writes) {
    const from = inPlace.get(bindings.at(slot).node);
    const shared = from === undefined ? undefined : number.get(bindings.slot(from));
    if (shared === undefined) add(slot, "write");
    else number.set(slot, shared);
  }
  return {
    kernel: { name: nameOf(program, draft), slots, body: renumber(draft.body, number) },
    bound,
    writes: draft.writes,
  };
}

/**
 * Whether a draft reads input `from` only where it writes `to`, or not at all, so that `to` can take its place in memory.
 * What is stored by a map, or after the sums of a product, is computed from the same element alone.
 */
export function canUpdate(draft: Draft, bindings: Bindings, from: number, to: number): boolean {
  const { body } = draft;
  const reads = loadsOf(valuesOf(body)).filter((l) => bindings.at(l.slot).node === from);
  if (reads.length === 0) return !readSlots(body).some((slot) => bindings.at(slot).node === from);
  const isMap = body.form === "row" && body.reduces.length === 0;
  if (!isMap && body.form !== "contract") return false;
  const stores = body.form === "row" ? [...body.stores, ...body.rowStores] : body.stores;
  const store = stores.find((s) => bindings.at(s.slot).node === to);
  const summed = body.form === "contract" ? body.terms.flatMap((t) => [t.left, t.right]) : [];
  if (!store || loadsOf(summed).some((l) => bindings.at(l.slot).node === from)) return false;
  return reads.every((l) =>
    bindings.at(l.slot).base === 0 && l.ix.key === store.ix.key && l.valid.length === 0
  );
}

/** A kernel with other values in the place of some. */
export function withValues(draft: Draft, ids: ReadonlyMap<number, number>, bindings: Bindings): Draft {
  const slots = [...readSlots(draft.body), ...writeSlots(draft.body)];
  const number = new Map(slots.map((slot) => {
    const { node, base } = bindings.at(slot);
    return [slot, ids.has(node) ? bindings.slot(ids.get(node)!, base) : slot];
  }));
  return {
    ...draft,
    writes: draft.writes.map((id) => ids.get(id) ?? id),
    body: renumber(draft.body, number),
  };
}

/** A form with other slot numbers. */
function renumber(body: Form, number: ReadonlyMap<number, number>): Form {
  const memo = new Map<Expr, Expr>();
  const none = new Map<string, Ix>();
  // Only values that are read inside an index have slots.
  const inIx = (ix: Ix): Ix => readsInside(ix) ? ixSubstitute(ix, none, expr) : ix;
  const expr = (e: Expr): Expr =>
    mapExpr(e, (leaf) => {
      if (leaf.kind === "index") return { ...leaf, ix: inIx(leaf.ix) };
      if (leaf.kind !== "load") return leaf;
      const valid = leaf.valid.map((c) => ({ ...c, ix: inIx(c.ix) }));
      return { ...leaf, slot: number.get(leaf.slot)!, ix: inIx(leaf.ix), valid };
    }, memo);
  const store = (s: Store): Store => ({ slot: number.get(s.slot)!, ix: inIx(s.ix), value: expr(s.value) });
  switch (body.form) {
    case "row":
      return {
        ...body,
        reduces: body.reduces.map((r) => ({ ...r, value: expr(r.value) })),
        rowStores: body.rowStores.map(store),
        stores: body.stores.map(store),
      };
    case "contract":
      return {
        ...body,
        terms: body.terms.map((t) => ({ ...t, left: expr(t.left), right: expr(t.right) })),
        stores: body.stores.map(store),
      };
    case "stages":
      return {
        ...body,
        coefficients: number.get(body.coefficients)!,
        x: expr(body.x),
        stores: body.stores.map(store),
      };
    case "stagesGrad":
      return {
        ...body,
        coefficients: number.get(body.coefficients)!,
        x: expr(body.x),
        ct: expr(body.ct),
        out: number.get(body.out)!,
      };
    case "solve":
      return { ...body, a: expr(body.a), b: expr(body.b), stores: body.stores.map(store) };
    case "attention":
      return {
        ...body,
        q: expr(body.q),
        k: expr(body.k),
        v: expr(body.v),
        segments: body.segments && [expr(body.segments[0]), expr(body.segments[1])],
        back: body.back && {
          logSumExp: expr(body.back.logSumExp),
          delta: expr(body.back.delta),
          ct: expr(body.back.ct),
        },
        stores: body.stores.map((s) => ({ ...s, ...store(s) })),
      };
    case "scatter":
      return { ...body, index: expr(body.index), value: expr(body.value), out: number.get(body.out)! };
  }
}

/** Whether memory is read to compute an index. */
function readsInside(ix: Ix): boolean {
  return ix.terms.some(({ atom }) => atom.kind === "value" || (atom.kind !== "var" && readsInside(atom.of)));
}

/** The form and up to four of the ops inside, newest last. */
function nameOf(program: Program, draft: Draft): string {
  const ops = [...new Set([...draft.inlined, ...draft.writes])].sort((a, b) => a - b).map((id) =>
    program.nodes[id]!
  )
    .filter((n) => n.rules && n.rules.lower.kind !== "view" && n.op !== "fill").map((n) => n.op);
  const distinct = [...new Set(ops)].filter((op) => op !== draft.body.form);
  return [draft.body.form, ...distinct.slice(-4)].join("_");
}
