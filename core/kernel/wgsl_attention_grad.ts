/**
 * The derivative of attention on matrix units in WGSL, in two passes: the queries' cotangent walks along keys, that of keys
 * and values along the queries of all heads that share them, so that nothing is added up outside of a workgroup. Weights are
 * made again from the scores and the logarithms of their sums. Dao, arXiv:2307.08691, algorithm 2. @module
 */
import type { AttentionResult } from "../ir/lowering.ts";
import type { AttentionForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import {
  chooseLayout,
  clamped,
  headsOf,
  LANES,
  type Layout,
  OWN,
  sumsAt,
  vectorsOf,
} from "./wgsl_attention_layout.ts";
import {
  addMixed,
  begin,
  declareSums,
  finish,
  moveNumber,
  moves,
  ownRows,
  putWeights,
  scoresOf,
  together,
} from "./wgsl_attention_parts.ts";
import { Rows } from "./wgsl_attention_rows.ts";
import { declareRange, readScores, segmentMoves } from "./wgsl_attention_scores.ts";
import type { Scope } from "./wgsl_expr.ts";
import { plus } from "./wgsl_operand.ts";

/** Up to which head size the sums of both keys and values are kept in registers. */
const BOTH = 64;

/** Functions of all that the derivative reads, and of its results. */
function declareRows(scope: Scope, body: AttentionForm): void {
  const rows = new Rows(scope.module, body), { back } = body;
  if (!back) throw new Error("The derivative of attention needs the output's cotangent.");
  rows.segments();
  rows.operand("q_at", body.q, "query");
  rows.operand("k_at", body.k, "key");
  rows.operand("v_at", body.v, "key");
  rows.operand("ct_at", back.ct, "query");
  rows.number("sum_at", back.logSumExp, "query");
  rows.number("delta_at", back.delta, "query");
  body.stores.forEach((s) => rows.result(s.result));
  rows.declare();
}

/** Print the pass that computes the queries' cotangent. */
export function ofQueries(scope: Scope, body: AttentionForm): Grid {
  const { module } = scope, { query, key, group, feature } = body;
  const l = chooseLayout(feature.extent, module.limits);
  const blocks = Math.ceil(query.extent / OWN), heads = headsOf(body, "query");
  declareRows(scope, body);
  begin(scope, l);
  const own = (row: string): string => clamped(`own0 + ${row}`, query.extent, OWN);
  const next = (row: string): string => clamped(`next0 + ${row}`, key.extent, l.block);
  scope.line(
    // Those that see the most keys come first.
    `let own0 = (${blocks - 1}u - unit / ${heads}u) * ${OWN}u;`,
    `let b = unit % ${heads}u;`,
    `let kb = b / ${group.extent}u;`,
    `let at = ${own("row")};`,
    `let top = sum_at(b, at) * ${Math.LOG2E}f;`,
    "let delta = delta_at(b, at);",
  );
  declareRange(scope, body, l, "query");
  ownRows(scope, l, "q", (row, k4) => `q_at(b, ${own(row)}, ${k4})`);
  ownRows(scope, l, "c", (row, k4) => `ct_at(b, ${own(row)}, ${k4})`);
  const move = together([
    moves(l, ["k_at", "v_at"].map((name) => (row, k4) => `${name}(kb, ${next(row)}, ${k4})`)),
    ...(body.segments ? [segmentMoves(l, "query", next)] : []),
  ]);
  scope.line(
    ...declareSums(l, "o"),
    ...move.declare,
    "var other0 = start;",
    "var next0 = other0;",
    ...move.fetch,
  );
  scope.block("loop", {}, (loop) => {
    loop.line("workgroupBarrier();", ...move.put, "workgroupBarrier();", `next0 = other0 + ${l.block}u;`);
    loop.block("if (next0 < stop)", {}, (ahead) => ahead.line(...move.fetch));
    loop.line(...scoresOf(l, "q", 0), "workgroupBarrier();");
    readScores(loop, body, l, "query", true);
    vectorsOf(l).forEach((_, i) => loop.line(`x${i} = exp2(x${i} - top);`));
    loop.line("workgroupBarrier();", ...scoresOf(l, "c", 1), "workgroupBarrier();");
    putCotangents(loop, body, l, () => "delta");
    loop.line("workgroupBarrier();", ...addMixed(l, "o", 0));
    loop.line("other0 = next0;", "if (other0 >= stop) { break; }");
  });
  finishRows(scope, body, l, "o", "dq", query.extent);
  return { units: blocks * heads, lanes: LANES };
}

/** Cotangents of the scores before their scale, from weights `x0`, … and the products of the output's cotangent with values. */
function putCotangents(
  scope: Scope,
  { scores: { cap } }: AttentionForm,
  l: Layout,
  delta: (at: string) => string,
): void {
  vectorsOf(l).forEach((at, i) => {
    const slope = cap === null ? "" : ` * y${i}`;
    scope.block("", {}, (inner) =>
      inner.line(
        `let short = vec4<f16>(x${i}${slope} * (${sumsAt(l, at)} - ${delta(at)}));`,
        putWeights(l, at, "short"),
      ));
  });
}

/** Store a result; scores were scaled, and so are their cotangents. */
function finishRows(
  scope: Scope,
  { scores: { scale } }: AttentionForm,
  l: Layout,
  name: string,
  result: AttentionResult,
  extent: number,
): void {
  const factor = result === "dv" ? "" : ` * ${scale}f`;
  finish(scope, l, name, (row, k4, sum) => {
    const guard = extent % OWN ? `if (own0 + ${row} < ${extent}u) ` : "";
    return `${guard}{ put_${result}(b, own0 + ${row}, ${k4}, ${sum}${factor}); }`;
  });
}

/** Print the pass that computes the cotangents of keys, of values, or of both. */
export function ofKeys(scope: Scope, body: AttentionForm): Grid {
  const { module } = scope, { key, feature, stores } = body;
  const l = chooseLayout(feature.extent, module.limits);
  const blocks = Math.ceil(key.extent / OWN), heads = headsOf(body, "key");
  declareRows(scope, body);
  begin(scope, l);
  const own = (row: string): string => clamped(`own0 + ${row}`, key.extent, OWN);
  scope.line(
    // Keys that are seen by the most queries come first.
    `let own0 = unit / ${heads}u * ${OWN}u;`,
    `let b = unit % ${heads}u;`,
    `let at = ${own("row")};`,
  );
  declareRange(scope, body, l, "key");
  const results = stores.map((s) => s.result);
  const needsValues = results.includes("dk");
  ownRows(scope, l, "k", (row, k4) => `k_at(b, ${own(row)}, ${k4})`);
  if (needsValues) ownRows(scope, l, "v", (row, k4) => `v_at(b, ${own(row)}, ${k4})`);
  const walks = feature.extent > BOTH ? results.map((r) => [r]) : [results];
  const segments = body.segments
    ? [segmentMoves(l, "key", (row) => clamped(`next0 + ${row}`, body.query.extent, l.block))]
    : [];
  for (const walk of walks) {
    scope.block("", {}, (inner) => alongQueries(inner, body, l, walk, segments));
  }
  return { units: blocks * heads, lanes: LANES };
}

/** One walk along the queries of all heads of a group, for some of the results. */
function alongQueries(
  scope: Scope,
  body: AttentionForm,
  l: Layout,
  results: readonly AttentionResult[],
  segments: readonly ReturnType<typeof segmentMoves>[],
): void {
  const { query, key, group } = body;
  const next = (row: string): string => clamped(`next0 + ${row}`, query.extent, l.block);
  const head = `b * ${group.extent}u + next_head`;
  const number = (name: string, from: string, factor: string, place: number) =>
    moveNumber(
      l,
      name,
      "f32",
      (row) => `${from}(${head}, ${next(row)})${factor}`,
      (row) => `sums[${plus(row, l.stats + place)}]`,
    );
  const hasKeys = results.includes("dk"), hasValues = results.includes("dv");
  const move = together([
    moves(l, ["q_at", "ct_at"].map((name) => (row, k4) => `${name}(${head}, ${next(row)}, ${k4})`)),
    number("top", "sum_at", ` * ${Math.LOG2E}f`, 0),
    ...(hasKeys ? [number("delta", "delta_at", "", l.block)] : []),
    ...segments,
  ]);
  scope.line(
    ...(hasKeys ? declareSums(l, "o") : []),
    ...(hasValues ? declareSums(l, "p") : []),
    ...move.declare,
    "var other0 = start;",
    "var next0 = start;",
    "var next_head = 0u;",
    ...move.fetch,
  );
  scope.block("loop", {}, (loop) => {
    loop.line("workgroupBarrier();", ...move.put, "workgroupBarrier();", `next0 = other0 + ${l.block}u;`);
    loop.block("if (next0 >= stop)", {}, (turn) => turn.line("next0 = start;", "next_head += 1u;"));
    loop.block(`if (next_head < ${group.extent}u)`, {}, (ahead) => ahead.line(...move.fetch));
    loop.line(...scoresOf(l, "k", 0), "workgroupBarrier();");
    readScores(loop, body, l, "key", hasKeys);
    vectorsOf(l).forEach((at, i) => {
      loop.line(`x${i} = exp2(x${i} - sums4[${l.stats / 4}u + ${at}]);`);
      if (hasValues) {
        loop.block(
          "",
          {},
          (inner) => inner.line(`let short = vec4<f16>(x${i});`, putWeights(l, at, "short")),
        );
      }
    });
    loop.line("workgroupBarrier();");
    if (hasValues) loop.line(...addMixed(l, "p", 1));
    if (hasKeys) {
      loop.line(...scoresOf(l, "v", 1), "workgroupBarrier();");
      putCotangents(loop, body, l, (at) => `sums4[${(l.stats + l.block) / 4}u + ${at}]`);
      loop.line("workgroupBarrier();", ...addMixed(l, "o", 0));
    }
    loop.line("other0 = next0;", `if (next_head >= ${group.extent}u) { break; }`);
  });
  if (hasKeys) finishRows(scope, body, l, "o", "dk", key.extent);
  if (hasValues) finishRows(scope, body, l, "p", "dv", key.extent);
}
