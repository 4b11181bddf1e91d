/** How much a kernel does: its operations, and the bytes that must pass through memory. @module */
import { bytesOf } from "../ir/aval.ts";
import { loadsOf, varsOf } from "../ir/expr.ts";
import { type Ix, ixVars, type Var } from "../ir/ix.ts";
import { readSlots, writeSlots } from "./draft.ts";
import { type AttentionForm, extentOf, type Form, type Kernel, type Store, valuesOf } from "./kernel.ts";

/**
 * Multiplications and additions of a kernel's products, stages, systems; of the others one for each element, whatever is
 * computed of it.
 */
export function operationsOf(body: Form): number {
  switch (body.form) {
    case "contract": {
      const results = extentOf(body.batch) * extentOf(body.row) * extentOf(body.col);
      return body.terms.reduce((sum, t) => sum + 2 * results * extentOf(t.inner), 0);
    }
    case "row": {
      const rows = extentOf(body.outer);
      return rows * Math.max(extentOf(body.inner), ...body.reduces.map((r) => extentOf(r.inner)));
    }
    case "stages":
      return body.stages.reduce((sum, s) => sum + 2 * s.radix * s.piece, 0) *
        extentOf([...body.outer, body.feature]);
    case "stagesGrad":
      return body.stages.reduce((sum, s) => sum + 2 * s.radix * s.piece, 0) *
        extentOf([...body.outer, body.feature]);
    case "solve": {
      const n = body.row.extent;
      return extentOf(body.batch) * n * n * (2 * n / 3 + 2 * body.col.extent);
    }
    case "scatter":
      return extentOf([...body.item, ...body.column]);
    case "attention": {
      const { batch, head, group, feature } = body;
      return 2 * passProducts(body) * extentOf([batch, head, group, feature]) * pairsOf(body);
    }
  }
}

/** Multiplications and additions of a kernel's products of matrices, those inside attention too; other kernels have none. */
export function productOperations(body: Form): number {
  return body.form === "contract" || body.form === "attention" ? operationsOf(body) : 0;
}

/** Products of queries, keys, values and weights that a pass of attention needs. */
function passProducts({ stores }: AttentionForm): number {
  const results = new Set(stores.map((s) => s.result));
  if (results.has("output")) return 2;
  if (results.has("logSumExp")) return 1;
  if (results.has("dq")) return 3;
  return 1 + (results.has("dv") ? 1 : 0) + (results.has("dk") ? 2 : 0);
}

/** Pairs of a query and a key that it sees; segments are not known before. */
function pairsOf({ scores: { causal, window }, query, key }: AttentionForm): number {
  if (!causal) return query.extent * key.extent;
  const reach = Math.min(window ?? query.extent, query.extent);
  return reach * (reach + 1) / 2 + (query.extent - reach) * reach;
}

/**
 * Bytes that a kernel must at least move: of each buffer the elements between the first and the last that it touches, or
 * as many as its loops have turns where that is less (rows gathered from a table).
 */
export function bytesTouched({ slots, body }: Kernel): number {
  const extents = new Map(varsIn(body).map((v) => [v.name, v.extent]));
  const counts = new Map<number, number>();
  const touch = (slot: number, count: number): void =>
    void counts.set(slot, Math.max(count, counts.get(slot) ?? 0));
  const visit = (slot: number, ix: Ix): void => {
    const turns = [...ixVars(ix, varsOf)].reduce((n, name) => n * (extents.get(name) ?? 1), 1);
    touch(slot, Math.min(turns, ix.hi - Math.max(0, ix.lo) + 1));
  };
  for (const { slot, ix } of [...loadsOf(valuesOf(body)), ...storesOf(body)]) visit(slot, ix);
  if (body.form === "stages" || body.form === "stagesGrad") {
    const blocks = body.feature.extent * body.stages.reduce((n, s) => n + s.radix * s.piece, 0);
    touch(body.coefficients, blocks);
    if (body.form === "stagesGrad") touch(body.out, blocks);
  }
  if (body.form === "scatter") touch(body.out, body.rows * extentOf(body.column));
  const reads = new Set(readSlots(body)), writes = new Set(writeSlots(body));
  return [...counts].reduce((sum, [slot, count]) => {
    const times = Number(reads.has(slot)) + Number(writes.has(slot));
    return sum + times * count * bytesOf(slots[slot]!.dtype);
  }, 0);
}

/** All loop variables. */
function varsIn(body: Form): readonly Var[] {
  switch (body.form) {
    case "row":
      return [...body.outer, ...body.inner, ...body.reduces.flatMap((r) => r.inner)];
    case "contract":
      return [...body.batch, ...body.row, ...body.col, ...body.terms.flatMap((t) => t.inner)];
    case "stages":
    case "stagesGrad":
      return [...body.outer, body.feature];
    case "solve":
      return [...body.batch, body.row, body.inner, body.col];
    case "scatter":
      return [...body.item, ...body.column];
    case "attention":
      return [body.batch, body.head, body.group, body.query, body.key, body.feature];
  }
}

function storesOf(body: Form): readonly Store[] {
  switch (body.form) {
    case "row":
      return [...body.rowStores, ...body.stores];
    case "contract":
    case "stages":
    case "solve":
    case "attention":
      return body.stores;
    case "stagesGrad":
    case "scatter":
      return [];
  }
}
