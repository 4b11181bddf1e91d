/**
 * Fusion: from a program to kernels. Each stored value gets a kernel that pulls in everything before it that is not
 * stored; values are added to the stored ones until every kernel can be built; then kernels that belong together merge.
 * @module
 */
import { sizeOf } from "../ir/aval.ts";
import { loadsOf } from "../ir/expr.ts";
import type { Program } from "../ir/program.ts";
import { build } from "./build.ts";
import { Bindings, type Draft, readSlots, writeSlots } from "./draft.ts";
import { valuesOf } from "./kernel.ts";
import { merge } from "./merge.ts";
import { Materialise } from "./pull.ts";
import { initiallyStored, usersOf } from "./stored.ts";

/** The kernels of a program, in an order in which each comes after those whose results it reads. */
export interface Fused {
  readonly program: Program;
  readonly drafts: readonly Draft[];
  readonly bindings: Bindings;
  /** Values that are not computed inside kernels; some may have no reader left. */
  readonly stored: ReadonlySet<number>;
}

/** Limits that fusion must respect. */
export interface FuseLimits {
  /** Buffers that one kernel may bind. */
  readonly maxSlots: number;
}

/** Fuse a program into kernels. */
export function fuse(program: Program, limits: FuseLimits): Fused {
  const stored = initiallyStored(program);
  const bindings = new Bindings();
  const drafts = new Map<number, Draft>();
  const ctx = { program, stored, bindings };
  const isKernel = (id: number): boolean => {
    const rules = program.nodes[id]!.rules;
    return rules !== null && rules.lower.kind !== "pack";
  };
  const store = (ids: readonly number[]): void => {
    for (const id of ids) stored.add(id);
    for (const [root, draft] of drafts) if (ids.some((id) => draft.inlined.has(id))) drafts.delete(root);
  };
  for (;;) {
    const todo = [...stored].filter((id) => isKernel(id) && !drafts.has(id)).sort((a, b) => a - b);
    if (todo.length === 0) {
      const shared = worthSharing(program, drafts);
      if (shared.length === 0) break;
      store(shared);
      continue;
    }
    for (const id of todo) {
      try {
        const draft = build(ctx, id);
        const slots = new Set([...readSlots(draft.body), ...writeSlots(draft.body)]).size;
        if (slots > limits.maxSlots) throw new Materialise([relief(program, draft, bindings, limits)]);
        drafts.set(id, draft);
      } catch (reason) {
        if (!(reason instanceof Materialise)) throw reason;
        const fresh = reason.nodes.filter((n) => !stored.has(n));
        if (fresh.length === 0) {
          throw new Error(`Fusion is stuck at %${id} ${program.nodes[id]!.op}.`, { cause: reason });
        }
        store(fresh);
      }
    }
  }
  return { program, bindings, stored, drafts: merge(program, [...drafts.values()], bindings, limits) };
}

/** Loads of whole tensors from which on a value is cheaper to store than to compute in several kernels. */
const SHARE_FROM = 3;

/** Values computed inside several kernels that would better be stored once: the last ones, nearest to their users. */
function worthSharing(program: Program, drafts: ReadonlyMap<number, Draft>): number[] {
  const users = usersOf(program);
  const hosts = new Map<number, Set<number>>();
  for (const [root, { inlined }] of drafts) {
    for (const id of inlined) hosts.set(id, (hosts.get(id) ?? new Set()).add(root));
  }
  const chosen: number[] = [];
  // Values that every user will read from, or compute once behind, a chosen one.
  const covered = new Set<number>();
  for (const [id] of [...hosts].sort(([a], [b]) => b - a)) {
    if (users[id]!.every((u) => covered.has(u))) {
      covered.add(id);
      continue;
    }
    const kind = program.nodes[id]!.rules!.lower.kind;
    if (kind !== "elementwise" && kind !== "reduce") continue;
    const kernels = new Set(users[id]!.flatMap((u) => (drafts.has(u) ? [u] : [...(hosts.get(u) ?? [])])));
    if (kernels.size < 2 || costOf(program, id, drafts) < SHARE_FROM) continue;
    chosen.push(id);
    covered.add(id);
  }
  return chosen;
}

/** Distinct tensors that computing `id` reads, plus the reductions on the way. */
function costOf(program: Program, id: number, drafts: ReadonlyMap<number, Draft>): number {
  const seen = new Set<number>();
  let cost = 0;
  const visit = (n: number): void => {
    if (seen.has(n)) return;
    seen.add(n);
    const { rules, inputs, aval } = program.nodes[n]!;
    if (rules === null || drafts.has(n) || rules.lower.kind === "pack") {
      if (sizeOf(aval.shape) > 1) cost += 1;
      return;
    }
    if (rules.lower.kind === "reduce") cost += 1;
    inputs.forEach(visit);
  };
  visit(id);
  return cost;
}

/** A value inside a kernel that binds too many buffers: storing it takes the most buffers away. */
function relief(program: Program, draft: Draft, bindings: Bindings, limits: FuseLimits): number {
  const leavesOf = (id: number): Set<number> => {
    const leaves = new Set<number>(), seen = new Set<number>();
    const visit = (of: number): void => {
      if (seen.has(of)) return;
      seen.add(of);
      for (const i of program.nodes[of]!.inputs) draft.inlined.has(i) ? visit(i) : leaves.add(i);
    };
    visit(id);
    return leaves;
  };
  const candidates = [...draft.inlined].filter((id) => program.nodes[id]!.rules!.lower.kind !== "view")
    .map((id) => ({ id, count: leavesOf(id).size }))
    .filter(({ count }) => count >= 2 && count < limits.maxSlots)
    .sort((a, b) => b.count - a.count || b.id - a.id);
  const [best] = candidates;
  if (!best) {
    const names = loadsOf(valuesOf(draft.body)).map((l) => `%${bindings.at(l.slot).node}`);
    throw new Error(
      `A kernel needs more than ${limits.maxSlots} buffers and cannot be cut: it reads ${
        [...new Set(names)].join(" ")
      }.`,
    );
  }
  return best.id;
}
