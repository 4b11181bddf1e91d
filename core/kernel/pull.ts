/** Pulling: the scalar expression of a program value at an index, its producers inlined as far as they may be. @module */
import { sizeOf } from "../ir/aval.ts";
import { call, constant, type Expr, indexValue, nodesOf, scalarType, varsOf } from "../ir/expr.ts";
import { type Cond, type Ix, ixDiv, ixMod, ixValue, ixVar, ixVars, type Var } from "../ir/ix.ts";
import type { Node, Program } from "../ir/program.ts";
import type { Bindings } from "./draft.ts";
import type { Reduce } from "./kernel.ts";

/** A reduction met while pulling, with the loop variables that its place depends on. */
export interface PulledReduce extends Reduce {
  readonly node: number;
  readonly dependsOn: ReadonlySet<string>;
}

/** Thrown to say that these values must be stored first; the kernel is then tried again. No Error: it has no use for a stack. */
export class Materialise {
  constructor(readonly nodes: readonly number[]) {}
}

/** First accumulator number that stands for an unfinished contraction: the node's id is added. */
export const CONTRACT = 1 << 20;

/** Pulls expressions for one kernel. */
export class Puller {
  readonly inlined = new Set<number>();
  readonly reduces: PulledReduce[] = [];
  /** Contractions met at the root's own index, whose sums this kernel will accumulate. */
  readonly contracts = new Set<number>();
  readonly #memo = new Map<string, Expr>();

  constructor(
    readonly program: Program,
    readonly stored: ReadonlySet<number>,
    readonly bindings: Bindings,
    /** Value that the kernel computes: pulled through although it is stored. */
    readonly root: number,
    /** Key of the root's own index; contractions may be met only there. */
    readonly rootKey: string,
  ) {}

  /** The value of node `id` at `index`; where `valid` fails, loads give 0. */
  pull(id: number, index: readonly Ix[], valid: readonly Cond[] = []): Expr {
    const at = indexKey(index);
    const key = `${id}@${at}?${valid.map((c) => `${c.ix.key}:${c.lo}:${c.hi}`).join()}`;
    const known = this.#memo.get(key);
    if (known) return known;
    const value = this.#pull(id, index, valid, at);
    this.#memo.set(key, value);
    return value;
  }

  #pull(id: number, index: readonly Ix[], valid: readonly Cond[], at: string): Expr {
    const node = this.program.nodes[id]!;
    if (id !== this.root && this.stored.has(id)) return this.bindings.load(id, node.aval, index, valid);
    if (id !== this.root) this.inlined.add(id);
    const lower = node.rules!.lower;
    switch (lower.kind) {
      case "elementwise":
        return lower.expr(node.inputs.map((i) => this.pull(i, index, valid)), index.map(indexValue));
      case "view": {
        const to = lower.map(index);
        const from = this.pull(node.inputs[0]!, to.index, to.valid ? [...valid, ...to.valid] : valid);
        return to.valid && from.kind !== "load" ? guarded(from, to.valid) : from;
      }
      case "gather":
        return this.#gather(node, index, valid);
      case "reduce":
        return this.#reduce(node, index, valid);
      case "contract":
        if (at !== this.rootKey || valid.length > 0) throw new Materialise([id]);
        this.contracts.add(id);
        return { kind: "acc", type: "f32", id: CONTRACT + id };
      default:
        throw new Materialise([id]);
    }
  }

  #gather(node: Node, index: readonly Ix[], valid: readonly Cond[]): Expr {
    const [table, indices] = node.inputs as [number, number];
    const rank = this.program.nodes[indices]!.aval.shape.length;
    const row = this.pull(indices, index.slice(0, rank), valid);
    const rows = this.program.nodes[table]!.aval.shape[0]!;
    const key = row.kind === "load"
      ? `s${row.slot}[${row.ix.key}]`
      : `v${indices}[${indexKey(index.slice(0, rank))}]`;
    return this.pull(table, [ixValue(row, rows, key), ...index.slice(rank)], valid);
  }

  #reduce(node: Node, index: readonly Ix[], valid: readonly Cond[]): Expr {
    const lower = node.rules!.lower;
    if (lower.kind !== "reduce") throw new Error("not a reduction");
    if (valid.length > 0) throw new Materialise([node.id]);
    const shape = this.program.nodes[node.inputs[0]!]!.aval.shape;
    const id = this.reduces.length;
    // The number is taken before the value is pulled, which may meet further reductions.
    const name = `r${id}`;
    const inner: Var[] = [{ name, extent: sizeOf(lower.axes.map((a) => shape[a]!)) }];
    let rest: Ix = ixVar(inner[0]!);
    const full: Ix[] = new Array(shape.length);
    for (const axis of [...lower.axes].sort((a, b) => b - a)) {
      full[axis] = ixMod(rest, shape[axis]!);
      rest = ixDiv(rest, shape[axis]!);
    }
    let kept = 0;
    for (let axis = 0; axis < shape.length; axis++) {
      if (!lower.axes.includes(axis)) full[axis] = index[kept++]!;
    }
    const dependsOn = new Set(index.flatMap((ix) => [...ixVars(ix, varsOf)]));
    const slot =
      this.reduces.push({ id, node: node.id, inner, combine: lower.combine, value: constant(0), dependsOn }) -
      1;
    const value = this.pull(node.inputs[0]!, full);
    this.reduces[slot] = { ...this.reduces[slot]!, value };
    return { kind: "acc", type: scalarType(node.aval.dtype), id };
  }

  /** The reductions, each after those that its value uses. */
  ordered(): PulledReduce[] {
    const done = new Set<number>();
    const order: PulledReduce[] = [];
    const visit = (r: PulledReduce): void => {
      if (done.has(r.id)) return;
      done.add(r.id);
      for (const e of nodesOf([r.value])) if (e.kind === "acc") visit(this.reduces[e.id]!);
      order.push(r);
    };
    this.reduces.forEach(visit);
    return order;
  }
}

/** Key of a multi-index. */
export function indexKey(index: readonly Ix[]): string {
  return index.map((ix) => ix.key).join();
}

/** `value` where all conditions hold, else 0. */
function guarded(value: Expr, valid: readonly Cond[]): Expr {
  const holds = valid.map(({ ix, lo, hi }) =>
    call(
      "and",
      call("le", constant(lo, "i32"), indexValue(ix)),
      call("lt", indexValue(ix), constant(hi, "i32")),
    )
  );
  return call("select", holds.reduce((a, b) => call("and", a, b)), value, constant(0, value.type));
}

/** Variables `name0`, `name1`, … over the axes of a shape. */
export function axisVars(shape: readonly number[], name: string): Var[] {
  return shape.map((extent, i) => ({ name: `${name}${i}`, extent }));
}
