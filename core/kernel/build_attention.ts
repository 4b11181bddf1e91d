/** Building the kernels of attention. @module */
import type { Expr } from "../ir/expr.ts";
import { type Ix, ixAdd, ixScale, ixVar, type Var } from "../ir/ix.ts";
import type { Node } from "../ir/program.ts";
import type { Context } from "./build.ts";
import { type AttentionForm, passOf } from "./kernel.ts";
import type { Puller } from "./pull.ts";

/** The kernel of one result of attention. */
export function attention(ctx: Context, puller: Puller, node: Node): AttentionForm {
  const lower = node.rules!.lower;
  if (lower.kind !== "attention") throw new Error("not attention");
  const { result, scores } = lower;
  const [q, k, v, ...more] = node.inputs as [number, number, number, ...number[]];
  const { nodes } = ctx.program;
  const [b, heads, t, d] = nodes[q]!.aval.shape as [number, number, number, number];
  const [, kvHeads, s] = nodes[k]!.aval.shape as [number, number, number];
  const of = (name: string, extent: number): Var => ({ name, extent });
  const batch = of("b", b), head = of("h", kvHeads), group = of("g", heads / kvHeads);
  const query = of("q", t), key = of("k", s), feature = of("f", d);
  const queryHead = ixAdd(ixScale(ixVar(head), group.extent), ixVar(group));
  const atQuery: Ix[] = [ixVar(batch), queryHead, ixVar(query)];
  const atKey: Ix[] = [ixVar(batch), ixVar(head), ixVar(key)];
  const pull = (id: number, ...index: Ix[]): Expr => puller.pull(id, index);
  const segments = scores.segmented ? more.at(-1)! : null;
  const isBack = passOf(result) !== "forward";
  const [logSumExp, delta, ct] = more;
  const index = result === "logSumExp"
    ? atQuery
    : [...(result === "dk" || result === "dv" ? atKey : atQuery), ixVar(feature)];
  return {
    form: "attention",
    scores,
    batch,
    head,
    group,
    query,
    key,
    feature,
    q: pull(q, ...atQuery, ixVar(feature)),
    k: pull(k, ...atKey, ixVar(feature)),
    v: pull(v, ...atKey, ixVar(feature)),
    segments: segments === null
      ? null
      : [pull(segments, ixVar(batch), ixVar(query)), pull(segments, ixVar(batch), ixVar(key))],
    back: isBack
      ? {
        logSumExp: pull(logSumExp!, ...atQuery),
        delta: pull(delta!, ...atQuery),
        ct: pull(ct!, ...atQuery, ixVar(feature)),
      }
      : null,
    stores: [{
      ...ctx.bindings.store(node.id, node.aval, index, { kind: "acc", type: "f32", id: 0 }),
      result,
    }],
  };
}
