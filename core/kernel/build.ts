/** Building the kernel of one stored value, by its lowering kind. @module */
import { call, type Expr } from "../ir/expr.ts";
import { ixUnravel, ixVar, type Var } from "../ir/ix.ts";
import type { Node, Program } from "../ir/program.ts";
import { sizeOf } from "../ir/aval.ts";
import { attention } from "./build_attention.ts";
import { affine, splitAtAccumulators } from "./affine.ts";
import type { Bindings, Draft } from "./draft.ts";
import type { Form, Reduce, Term } from "./kernel.ts";
import { axisVars, CONTRACT, indexKey, Materialise, type PulledReduce, Puller } from "./pull.ts";

/** What building needs to know. */
export interface Context {
  readonly program: Program;
  readonly stored: ReadonlySet<number>;
  readonly bindings: Bindings;
}

/** The kernel that stores value `id`; throws {@linkcode Materialise} when other values must be stored first. */
export function build(ctx: Context, id: number): Draft {
  const node = ctx.program.nodes[id]!;
  const vars = axisVars(node.aval.shape, "d");
  const index = vars.map(ixVar);
  const puller = new Puller(ctx.program, ctx.stored, ctx.bindings, id, indexKey(index));
  const body = bodyOf(ctx, puller, node, vars);
  return { writes: [id], body, inlined: puller.inlined };
}

/** Forms without room for a reduction or a sum of products inside. */
function closed(puller: Puller, body: Form): Form {
  const inside = [...puller.reduces.map((r) => r.node), ...puller.contracts];
  if (inside.length > 0) throw new Materialise(inside);
  return body;
}

function bodyOf(ctx: Context, puller: Puller, node: Node, vars: readonly Var[]): Form {
  const lower = node.rules!.lower;
  switch (lower.kind) {
    case "stages":
    case "stagesGrad":
      return closed(puller, stages(ctx, puller, node, vars));
    case "solve":
      return closed(puller, solve(ctx, puller, node, vars));
    case "scatter":
      return closed(puller, scatter(ctx, puller, node, lower.rows));
    case "attention":
      return closed(puller, attention(ctx, puller, node));
    default: {
      const value = puller.pull(node.id, vars.map(ixVar));
      if (puller.contracts.size > 0) return contract(ctx, puller, node, vars, value);
      return row(ctx, puller, node, vars, value);
    }
  }
}

/** Rows so few that one row's elements are worth a kernel of their own. */
const FEW_ROWS = 32;
const LONG_ROW = 4096;

function row(ctx: Context, puller: Puller, node: Node, vars: readonly Var[], value: Expr): Form {
  const { bindings } = ctx;
  const index = vars.map(ixVar);
  const store = bindings.store(node.id, node.aval, index, value);
  const none: Form = { form: "row", outer: vars, reduces: [], rowStores: [], inner: [], stores: [] };
  if (puller.reduces.length === 0) {
    if (vars.length === 0) return { ...none, rowStores: [store] };
    return { ...none, outer: vars.slice(0, -1), inner: vars.slice(-1), stores: [store] };
  }
  const widest = puller.reduces.reduce((a, b) => (b.dependsOn.size > a.dependsOn.size ? b : a));
  const outer = vars.filter((v) => widest.dependsOn.has(v.name));
  const inner = vars.filter((v) => !widest.dependsOn.has(v.name));
  const rows = outer.reduce((n, v) => n * v.extent, 1), length = inner.reduce((n, v) => n * v.extent, 1);
  const misfits = puller.reduces.filter((r) =>
    r.dependsOn.size !== outer.length || outer.some((v) => !r.dependsOn.has(v.name)) ||
    (rows < FEW_ROWS && length > LONG_ROW)
  );
  if (misfits.length > 0) throw new Materialise(misfits.map((r) => aboveMisfit(ctx, puller, r)));
  const reduces: Reduce[] = puller.ordered().map(({ id, inner, combine, value }) => ({
    id,
    inner,
    combine,
    value,
  }));
  // With a single element behind each row, it is the row's own result.
  if (length === 1) return { form: "row", outer: vars, reduces, rowStores: [store], inner: [], stores: [] };
  return { form: "row", outer, reduces, rowStores: [], inner, stores: [store] };
}

/** What to store for a reduction that cannot join: what the reduction around it reads, if that is no larger. */
function aboveMisfit({ program }: Context, puller: Puller, misfit: PulledReduce): number {
  const around = puller.reduces.find((r) => r.inner.some((v) => misfit.dependsOn.has(v.name)));
  if (!around) return misfit.node;
  const operand = program.nodes[around.node]!.inputs[0]!;
  const size = (id: number): number => sizeOf(program.nodes[id]!.aval.shape);
  return program.nodes[operand]!.rules && size(operand) <= size(misfit.node) ? operand : misfit.node;
}

function contract(ctx: Context, puller: Puller, node: Node, vars: readonly Var[], value: Expr): Form {
  const ids = [...puller.contracts].sort((a, b) => a - b);
  if (puller.reduces.length > 0) throw new Materialise(puller.reduces.map((r) => r.node));
  const { inner, outer } = splitAtAccumulators(value);
  const form = affine(inner);
  // Not a sum of products: the last one hosts the rest, the others are stored before.
  if (!form) throw new Materialise(ids.slice(0, -1));
  const counts = ids.map((id) => axisCounts(ctx.program, id));
  const host = counts.at(-1)!;
  const unlike = ids.filter((_, i) => counts[i]!.batch !== host.batch || counts[i]!.row !== host.row);
  if (unlike.length > 0) throw new Materialise(unlike);
  const batch = vars.slice(0, host.batch), rowVars = vars.slice(host.batch, host.batch + host.row);
  const col = vars.slice(host.batch + host.row);
  const terms = ids.map((id, i) =>
    term(ctx, puller, id, i, { batch, row: rowVars, col }, form.coefs.get(CONTRACT + id) ?? null)
  );
  if (puller.reduces.length > 0 || puller.contracts.size > ids.length) {
    throw new Materialise([
      ...puller.reduces.map((r) => r.node),
      ...[...puller.contracts].filter((id) => !ids.includes(id)),
    ]);
  }
  const acc: Expr = { kind: "acc", type: "f32", id: 0 };
  const result = outer(form.rest ? call("add", acc, form.rest) : acc);
  const store = ctx.bindings.store(node.id, node.aval, vars.map(ixVar), result);
  return { form: "contract", batch, row: rowVars, col, terms, stores: [store] };
}

function axisCounts(program: Program, id: number): { batch: number; row: number } {
  const { rules, inputs } = program.nodes[id]!;
  const lower = rules!.lower;
  if (lower.kind !== "contract") throw new Error("not a contraction");
  const [batch] = lower.batch, [inner] = lower.inner;
  return {
    batch: batch.length,
    row: program.nodes[inputs[0]!]!.aval.shape.length - batch.length - inner.length,
  };
}

interface Roles {
  readonly batch: readonly Var[];
  readonly row: readonly Var[];
  readonly col: readonly Var[];
}

function term(
  ctx: Context,
  puller: Puller,
  id: number,
  place: number,
  roles: Roles,
  coef: Expr | null,
): Term {
  const { rules, inputs } = ctx.program.nodes[id]!;
  const lower = rules!.lower;
  if (lower.kind !== "contract") throw new Error("not a contraction");
  const operand = (side: 0 | 1, free: readonly Var[], inner: readonly Var[]): Expr => {
    const { shape } = ctx.program.nodes[inputs[side]!]!.aval;
    let next = 0;
    const index = shape.map((_, axis) => {
      const b = lower.batch[side].indexOf(axis), k = lower.inner[side].indexOf(axis);
      return ixVar(b >= 0 ? roles.batch[b]! : k >= 0 ? inner[k]! : free[next++]!);
    });
    return puller.pull(inputs[side]!, index);
  };
  const shape = ctx.program.nodes[inputs[0]!]!.aval.shape;
  const inner = axisVars(lower.inner[0].map((axis) => shape[axis]!), `k${place}_`);
  const left = operand(0, roles.row, inner);
  return { inner, left: coef ? call("mul", coef, left) : left, right: operand(1, roles.col, inner) };
}

function stages(ctx: Context, puller: Puller, node: Node, vars: readonly Var[]): Form {
  const { program, bindings } = ctx;
  const lower = node.rules!.lower;
  const [x, coefficients, ct] = node.inputs as [number, number, number];
  const slot = contiguous(ctx, puller, coefficients);
  if (lower.kind === "stages") {
    const feature = vars.at(-1)!;
    const store = bindings.store(node.id, node.aval, vars.map(ixVar), { kind: "acc", type: "f32", id: 0 });
    return {
      form: "stages",
      outer: vars.slice(0, -1),
      feature,
      stages: lower.stages,
      transposed: lower.transposed,
      coefficients: slot,
      x: puller.pull(x, vars.map(ixVar)),
      stores: [store],
    };
  }
  if (lower.kind !== "stagesGrad") throw new Error("not a stages op");
  const xVars = axisVars(program.nodes[x]!.aval.shape, "d");
  const index = xVars.map(ixVar);
  return {
    form: "stagesGrad",
    outer: xVars.slice(0, -1),
    feature: xVars.at(-1)!,
    stages: lower.stages,
    coefficients: slot,
    x: puller.pull(x, index),
    ct: puller.pull(ct, index),
    out: bindings.slot(node.id),
  };
}

/** The binding from whose start on a one-dimensional value lies in memory; else it is stored so. */
function contiguous(ctx: Context, puller: Puller, id: number): number {
  const v: Var = { name: "c", extent: sizeOf(ctx.program.nodes[id]!.aval.shape) };
  const load = puller.pull(id, ixUnravel(ixVar(v), ctx.program.nodes[id]!.aval.shape));
  if (load.kind === "load" && load.ix.key === ixVar(v).key && load.valid.length === 0) return load.slot;
  throw new Materialise([id]);
}

function solve(ctx: Context, puller: Puller, node: Node, vars: readonly Var[]): Form {
  const batch = vars.slice(0, -2);
  const [row, col] = vars.slice(-2) as [Var, Var];
  const inner: Var = { name: "k", extent: row.extent };
  const lead = batch.map(ixVar);
  const [a, b] = node.inputs as [number, number];
  return {
    form: "solve",
    batch,
    row,
    inner,
    col,
    a: puller.pull(a, [...lead, ixVar(row), ixVar(inner)]),
    b: puller.pull(b, [...lead, ixVar(row), ixVar(col)]),
    stores: [ctx.bindings.store(node.id, node.aval, vars.map(ixVar), { kind: "acc", type: "f32", id: 0 })],
  };
}

function scatter(ctx: Context, puller: Puller, node: Node, rows: number): Form {
  const [indices, values] = node.inputs as [number, number];
  const item = axisVars(ctx.program.nodes[indices]!.aval.shape, "n");
  const column = axisVars(node.aval.shape.slice(1), "c");
  return {
    form: "scatter",
    rows,
    item,
    column,
    index: puller.pull(indices, item.map(ixVar)),
    value: puller.pull(values, [...item, ...column].map(ixVar)),
    out: ctx.bindings.slot(node.id),
  };
}
