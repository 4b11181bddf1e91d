/**
 * Deep products of few tiles, on a GPU: a product whose result has fewer tiles than there are processors to keep busy,
 * over a long inner axis, is cut along that axis; the parts are computed side by side and added up by a second kernel,
 * which also does what followed the product. So the cotangent of hidden states from a large vocabulary. @module
 */
import { call, type Expr, mapExpr, substitute } from "../ir/expr.ts";
import { type Ix, ixAdd, ixConst, ixLinear, ixScale, ixVar, type Var } from "../ir/ix.ts";
import { aval, stridesOf } from "../ir/aval.ts";
import type { Node } from "../ir/program.ts";
import type { Bindings, Draft } from "../kernel/draft.ts";
import type { Fused } from "../kernel/fuse.ts";
import { type ContractForm, extentOf } from "../kernel/kernel.ts";

/** What decides whether a product is cut. */
export interface Splitting {
  /** Workgroups that keep the device busy. */
  readonly workgroups: number;
  /** Steps of the inner axis that a part has at least; default 2048. */
  readonly least?: number;
}

/** Sides of a tile of the result on matrix units. */
const TILE = 128;
/** Steps of the inner axis that a part has at least if nothing else is said, and that each part's length is a multiple of. */
const LEAST = 2048, MULTIPLE = 32;
/** Parts at most. */
const MOST = 8;

/** Kernels in a line, with those that were cut. */
export function splitDeep(
  { program, drafts, bindings }: Pick<Fused, "program" | "drafts" | "bindings">,
  splitting: Splitting,
): Pick<Fused, "program" | "drafts"> {
  const nodes: Node[] = [...program.nodes];
  const line = drafts.flatMap((draft) => {
    const { body } = draft;
    const parts = body.form === "contract" ? partsOf(body, splitting) : 1;
    return body.form === "contract" && parts > 1 ? cut(nodes, bindings, draft, body, parts) : [draft];
  });
  return { program: { ...program, nodes }, drafts: line };
}

/** Into how many parts a product is cut; 1: it stays as it is. */
function partsOf({ batch, row, col, terms }: ContractForm, { workgroups, least = LEAST }: Splitting): number {
  const [term] = terms, rows = extentOf(row), cols = extentOf(col);
  const outer = term?.inner[0]?.extent;
  if (terms.length !== 1 || outer === undefined || rows < TILE || cols < TILE) return 1;
  const tiles = extentOf(batch) * Math.ceil(rows / TILE) * Math.ceil(cols / TILE);
  const rest = extentOf(term!.inner) / outer;
  for (let parts = Math.min(MOST, Math.floor(workgroups / tiles)); parts > 1; parts--) {
    const own = outer / parts;
    if (Number.isInteger(own) && own * rest >= least && (own * rest) % MULTIPLE === 0) return parts;
  }
  return 1;
}

function cut(nodes: Node[], bindings: Bindings, draft: Draft, body: ContractForm, parts: number): Draft[] {
  const { batch, row, col } = body, term = body.terms[0]!;
  const [outer, ...rest] = term.inner as [Var, ...Var[]];
  const part: Var = { name: `${outer.name}_part`, extent: parts };
  const own: Var = { name: outer.name, extent: outer.extent / parts };
  const by = new Map<string, Ix>([[outer.name, ixAdd(ixScale(ixVar(part), own.extent), ixVar(own))]]);
  const moved = (e: Expr): Expr => substitute(e, by);
  const all = [...batch, ...row, ...col], at = aval([parts, ...all.map((v) => v.extent)]);
  const id = nodes.push({
    id: nodes.length,
    op: "parts",
    params: "",
    inputs: [],
    aval: at,
    rules: null,
  }) - 1;
  const sum: Expr = { kind: "acc", type: "f32", id: 0 };
  const product: ContractForm = {
    ...body,
    batch: [part, ...batch],
    terms: [{ inner: [own, ...rest], left: moved(term.left), right: moved(term.right) }],
    stores: [bindings.store(id, at, [part, ...all].map(ixVar), sum)],
  };
  const slot = bindings.slot(id), strides = stridesOf(at.shape);
  const total = Array.from({ length: parts }, (_, i): Expr => ({
    kind: "load",
    type: "f32",
    slot,
    ix: ixLinear([ixConst(i), ...all.map(ixVar)], strides),
    valid: [],
  })).reduce((a, b) => call("add", a, b));
  const memo = new Map<Expr, Expr>();
  const summed = (e: Expr): Expr => mapExpr(e, (leaf) => (leaf.kind === "acc" ? total : leaf), memo);
  return [
    { writes: [id], body: product, inlined: draft.inlined },
    {
      writes: draft.writes,
      inlined: new Set(),
      body: {
        form: "row",
        outer: [],
        reduces: [],
        rowStores: [],
        inner: all,
        stores: body.stores.map((s) => ({ ...s, value: summed(s.value) })),
      },
    },
  ];
}
