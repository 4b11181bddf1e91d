/** Merging: elementwise kernels join the kernel whose result they read, or one that reads the same tensors. @module */
import { sameShape } from "../ir/aval.ts";
import { type Expr, loadsOf, mapExpr, varsOf } from "../ir/expr.ts";
import type { Program } from "../ir/program.ts";
import { type Bindings, type Draft, readSlots, writeSlots } from "./draft.ts";
import type { FuseLimits } from "./fuse.ts";
import { type Form, passOf, type RowForm, type Store, valuesOf } from "./kernel.ts";
import { contractionsBefore, isFar } from "./stored.ts";

/** Kernels by the values that they write and read. */
class Graph {
  readonly drafts: Draft[];
  readonly writer = new Map<number, Draft>();
  readonly readers = new Map<number, Set<Draft>>();
  /** The newest value among what a kernel writes and all that it needs: merging makes old kernels need newer values. */
  readonly #newest = new Map<Draft, number>();
  readonly #packs = new Map<number, number[]>();
  readonly #before: readonly number[];

  constructor(readonly program: Program, readonly bindings: Bindings, drafts: readonly Draft[]) {
    this.#before = contractionsBefore(program.nodes);
    this.drafts = [...drafts].sort((a, b) => a.writes[0]! - b.writes[0]!);
    for (const { id, inputs } of program.nodes) {
      if (this.#isPack(id)) {
        for (const i of inputs) this.#packs.set(i, [...(this.#packs.get(i) ?? []), id]);
      }
    }
    for (const d of this.drafts) this.#enter(d, Math.max(...d.writes));
  }

  #enter(d: Draft, newest: number): void {
    for (const id of d.writes) this.writer.set(id, d);
    for (const id of this.bindings.reads(d.body)) {
      this.readers.set(id, (this.readers.get(id) ?? new Set()).add(d));
    }
    this.#raise(d, newest);
  }

  replace(old: readonly Draft[], fresh: Draft): void {
    for (const d of old) {
      this.drafts.splice(this.drafts.indexOf(d), 1);
      for (const id of this.bindings.reads(d.body)) this.readers.get(id)?.delete(d);
    }
    this.drafts.push(fresh);
    this.#enter(fresh, Math.max(...old.map((d) => this.#newest.get(d)!)));
  }

  /** Note that `d`, and with it every kernel after it, needs values as new as `newest`. */
  #raise(d: Draft, newest: number): void {
    const stack = [d];
    for (let next = stack.pop(); next; next = stack.pop()) {
      if ((this.#newest.get(next) ?? -1) >= newest) continue;
      this.#newest.set(next, newest);
      const values = [...next.writes];
      for (let id = values.pop(); id !== undefined; id = values.pop()) {
        values.push(...(this.#packs.get(id) ?? []));
        stack.push(...(this.readers.get(id) ?? []));
      }
    }
  }

  /** Kernels whose results `d` reads; a packed value is written by the writers of its parts. */
  *sources(d: Draft): Generator<Draft> {
    const stack = [...this.bindings.reads(d.body)];
    for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
      const node = this.program.nodes[id]!;
      if (node.rules?.lower.kind === "pack") stack.push(...node.inputs);
      const writer = this.writer.get(id);
      if (writer && writer !== d) yield writer;
    }
  }

  /** Whether `reader` reads a packed value of which `writer` writes a part: inside one kernel it would not be there yet. */
  readsPacked(reader: Draft, writer: Draft): boolean {
    const stack = [...this.bindings.reads(reader.body)].filter((id) => this.#isPack(id));
    for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
      const { inputs } = this.program.nodes[id]!;
      if (inputs.some((i) => writer.writes.includes(i))) return true;
      stack.push(...inputs.filter((i) => this.#isPack(i)));
    }
    return false;
  }

  /** Whether one would wait long for what the other reads. */
  areFar(one: Draft, other: Draft): boolean {
    return isFar(this.#before, one.writes[0]!, other.writes[0]!);
  }

  #isPack(id: number): boolean {
    return this.program.nodes[id]!.rules?.lower.kind === "pack";
  }

  /** Whether `to` needs `from` by way of a third kernel. */
  detour(from: Draft, to: Draft): boolean {
    const first = Math.min(...from.writes);
    const seen = new Set<Draft>([to]);
    const stack = [...this.sources(to)].filter((d) => d !== from);
    for (let d = stack.pop(); d; d = stack.pop()) {
      if (d === from) return true;
      if (seen.has(d) || this.#newest.get(d)! < first) continue;
      seen.add(d);
      stack.push(...this.sources(d));
    }
    return false;
  }
}

/** Merge what belongs together, then drop stores that nobody reads. */
export function merge(
  program: Program,
  drafts: readonly Draft[],
  bindings: Bindings,
  limits: FuseLimits,
): Draft[] {
  const graph = new Graph(program, bindings, mergePasses(program, drafts, limits));
  for (const map of [...graph.drafts].filter(isMap)) {
    let current = map;
    for (const partner of partners(graph, current)) {
      const joined = join(graph, partner, current);
      if (!joined) continue;
      const slots = new Set([...readSlots(joined.body), ...writeSlots(joined.body)]).size;
      if (slots > limits.maxSlots) continue;
      graph.replace([partner, current], joined);
      current = joined;
      if (!isMap(current)) break;
    }
  }
  return inOrder(graph, prune(graph));
}

/** Results of attention that come from one pass over the same tensors are one kernel's. */
function mergePasses(program: Program, drafts: readonly Draft[], { maxSlots }: FuseLimits): Draft[] {
  const merged: Draft[] = [], passes = new Map<string, number>();
  for (const draft of drafts) {
    const { body, writes: [id] } = draft;
    if (body.form !== "attention") {
      merged.push(draft);
      continue;
    }
    const key = JSON.stringify([passOf(body.stores[0]!.result), body.scores, program.nodes[id!]!.inputs]);
    const place = passes.get(key), first = place === undefined ? undefined : merged[place];
    if (place === undefined || first?.body.form !== "attention") {
      passes.set(key, merged.push(draft) - 1);
      continue;
    }
    const both = { ...body, stores: [...first.body.stores, ...body.stores] };
    if (readSlots(both).length + writeSlots(both).length > maxSlots) {
      merged.push(draft);
      continue;
    }
    const inlined = new Set([...first.inlined, ...draft.inlined]);
    merged[place] = { writes: [...first.writes, ...draft.writes], body: both, inlined };
  }
  return merged;
}

function isMap(d: Draft): boolean {
  return d.body.form === "row" && d.body.reduces.length === 0;
}

/** Kernels that a map could join: writers of what it reads, latest first, then maps that read the same tensors. */
function partners(graph: Graph, map: Draft): Draft[] {
  const writers = [...new Set(graph.sources(map))].sort((a, b) => b.writes.at(-1)! - a.writes.at(-1)!);
  const full = fullLoads(map.body);
  const siblings = [...full.values()].flatMap((
    l,
  ) => [...(graph.readers.get(graph.bindings.at(l.slot).node) ?? [])])
    .filter((d) =>
      d !== map && isMap(d) && !writers.includes(d) && [...full.keys()].some((k) => fullLoads(d.body).has(k))
    );
  return [...writers, ...new Set(siblings)];
}

type Load = Extract<Expr, { kind: "load" }>;

/** {@linkcode findFullLoads} of bodies that were asked for: a kernel is looked at once for every sibling that it has. */
const FULL_LOADS = new WeakMap<Form, ReadonlyMap<string, Load>>();

function fullLoads(body: Form): ReadonlyMap<string, Load> {
  const known = FULL_LOADS.get(body);
  if (known) return known;
  const found = findFullLoads(body);
  FULL_LOADS.set(body, found);
  return found;
}

/** Loads that touch a different element for every element computed. */
function findFullLoads(body: Form): ReadonlyMap<string, Load> {
  if (body.form !== "row") return new Map();
  const vars = [...body.outer, ...body.inner].filter((v) => v.extent > 1);
  const found = new Map<string, Load>();
  if (vars.length === 0) return found;
  for (const load of loadsOf(valuesOf(body))) {
    if (varsOf(load).size === vars.length) found.set(`${load.slot}[${load.ix.key}]`, load);
  }
  return found;
}

/** `map` computed inside `host`: null where their elements do not correspond or a third kernel stands between. */
function join(graph: Graph, host: Draft, map: Draft): Draft | null {
  const shape = (d: Draft): readonly number[] => graph.program.nodes[d.writes[0]!]!.aval.shape;
  if (!sameShape(shape(host), shape(map)) || !graph.drafts.includes(host) || !graph.drafts.includes(map)) {
    return null;
  }
  if (graph.readsPacked(host, map) || graph.readsPacked(map, host)) return null;
  const feeds = [...graph.bindings.reads(host.body)].some((id) => map.writes.includes(id));
  if (isMap(host) && graph.areFar(host, map)) return null;
  if (feeds) return isMap(host) ? join(graph, map, host) : null;
  const hostStores = storesOf(host.body);
  if (!hostStores || graph.detour(host, map) || graph.detour(map, host)) return null;
  const bySlot = new Map(hostStores.map((s) => [s.slot, s]));
  const memo = new Map<Expr, Expr>();
  let fits = true;
  const inline = (e: Expr): Expr => {
    const store = e.kind === "load" ? bySlot.get(e.slot) : undefined;
    if (e.kind !== "load" || !store) {
      // Another part of the host's result, or an index read from it, is not at hand inside the host.
      if (
        e.kind === "load" && loadsOf([e]).some((l) => host.writes.includes(graph.bindings.at(l.slot).node))
      ) fits = false;
      return e;
    }
    if (e.ix.key !== store.ix.key || e.valid.length > 0) fits = false;
    return store.value;
  };
  const added = storesOf(map.body)!.map((s) => ({ ...s, value: mapExpr(s.value, inline, memo) }));
  if (!fits) return null;
  return {
    writes: [...host.writes, ...map.writes],
    body: withStores(host.body, [...hostStores, ...added]),
    inlined: new Set([...host.inlined, ...map.inlined]),
  };
}

/** The stores of a form's elements; null for forms that take no further ones. */
function storesOf(body: Form): readonly Store[] | null {
  switch (body.form) {
    case "row":
      return perRow(body) ? body.rowStores : body.stores;
    case "contract":
    case "stages":
      return body.stores;
    default:
      return null;
  }
}

/** Whether the root has one element a row. */
function perRow(body: RowForm): boolean {
  return body.rowStores.length > 0;
}

function withStores(body: Form, stores: readonly Store[]): Form {
  if (body.form === "row") return perRow(body) ? { ...body, rowStores: stores } : { ...body, stores };
  if (body.form === "contract" || body.form === "stages") return { ...body, stores };
  throw new Error(`A ${body.form} kernel takes no further stores.`);
}

/** Drop stores, and whole kernels, of values that no kernel reads and no one asked for. */
function prune(graph: Graph): Draft[] {
  const asked = new Set(graph.program.outputs);
  for (const { rules, inputs } of graph.program.nodes) {
    if (rules?.lower.kind === "pack") inputs.forEach((i) => asked.add(i));
  }
  let drafts = graph.drafts;
  for (;;) {
    const read = new Set(drafts.flatMap((d) => [...graph.bindings.reads(d.body)]));
    const wanted = (id: number): boolean => asked.has(id) || read.has(id);
    const kept = drafts.filter((d) => d.writes.some(wanted)).map((d) => {
      const writes = d.writes.filter(wanted);
      if (d.body.form === "attention" && writes.length < d.writes.length) {
        const left = d.body.stores.filter((s) => writes.includes(graph.bindings.at(s.slot).node));
        return { ...d, writes, body: { ...d.body, stores: left } };
      }
      const stores = storesOf(d.body);
      if (!stores || writes.length === d.writes.length) return d;
      const left = stores.filter((s) => writes.includes(graph.bindings.at(s.slot).node));
      return { ...d, writes, body: withStores(d.body, left) };
    });
    const stable = kept.length === drafts.length && kept.every((d, i) => d === drafts[i]);
    drafts = kept;
    if (stable) return drafts;
  }
}

/** Kernels in an order in which sources come first, otherwise by their last value's place in the program. */
function inOrder(graph: Graph, drafts: readonly Draft[]): Draft[] {
  const writer = new Map(drafts.flatMap((d) => d.writes.map((id) => [id, d] as const)));
  const done = new Set<Draft>(), open = new Set<Draft>();
  const order: Draft[] = [];
  const visit = (d: Draft): void => {
    if (done.has(d)) return;
    if (open.has(d)) {
      throw new Error(
        `Kernels need each other's results: one writes ${d.writes.map((id) => `%${id}`).join(" ")}.`,
      );
    }
    open.add(d);
    const stack = [...graph.bindings.reads(d.body)];
    for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
      const node = graph.program.nodes[id]!;
      if (node.rules?.lower.kind === "pack") stack.push(...node.inputs);
      const source = writer.get(id);
      if (source) visit(source);
    }
    done.add(d);
    order.push(d);
  };
  [...drafts].sort((a, b) => Math.max(...a.writes) - Math.max(...b.writes)).forEach(visit);
  return order;
}
