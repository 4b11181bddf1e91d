/**
 * Attention on matrix units in WGSL: the forward pass. A workgroup takes 64 queries of a head and walks along the keys that
 * they see. Scores pass through workgroup memory as f32 sums and come back as f16 weights, relative to a top that each row
 * keeps until a score is 2⁸ times above it: the sums of values then stay in the registers of the matrix units for almost the
 * whole way. Milakov and Gimelshein, arXiv:1805.02867; Dao, arXiv:2307.08691. @module
 */
import { type AttentionForm, passOf } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { ofKeys, ofQueries } from "./wgsl_attention_grad.ts";
import {
  chooseLayout,
  clamped,
  headsOf,
  LANES,
  type Layout,
  OWN,
  upTo,
  vectorsOf,
} from "./wgsl_attention_layout.ts";
import {
  addMixed,
  begin,
  declareSums,
  finish,
  keep,
  moves,
  ofAll,
  ownRows,
  putWeights,
  scoresOf,
  take,
  together,
} from "./wgsl_attention_parts.ts";
import { Rows } from "./wgsl_attention_rows.ts";
import { declareRange, readScores, segmentMoves } from "./wgsl_attention_scores.ts";
import type { Scope } from "./wgsl_expr.ts";
import { MATRIX_DIRECTIVES } from "./wgsl_matrix.ts";
import { SIDE } from "./wgsl_tile.ts";

/** How far, as a power of 2, a score may be above the top of its row before all of the row is scaled anew. */
const SLACK = 8;
/** A top below any score, and far above hidden ones. */
const NO_TOP = "-1e29f";

/** Print a kernel of attention into the scope of its entry point. */
export function attention(scope: Scope, body: AttentionForm): Grid {
  const { module } = scope;
  if (module.limits.matrix === null) {
    throw new Error(
      "A kernel of attention needs matrix units: plan without products in f16 for this device.",
    );
  }
  module.directives = MATRIX_DIRECTIVES;
  switch (passOf(body.stores[0]!.result)) {
    case "forward":
      return forward(scope, body);
    case "queries":
      return ofQueries(scope, body);
    case "keys":
      return ofKeys(scope, body);
  }
}

function forward(scope: Scope, body: AttentionForm): Grid {
  const { module } = scope, { query, key, group, feature } = body;
  const l = chooseLayout(feature.extent, module.limits);
  const blocks = Math.ceil(query.extent / OWN), heads = headsOf(body, "query");
  const hasOutput = body.stores.some((s) => s.result === "output");
  const rows = new Rows(module, body);
  rows.segments();
  rows.operand("q_at", body.q, "query");
  rows.operand("k_at", body.k, "key");
  rows.operand("v_at", body.v, "key");
  rows.result("output");
  rows.result("logSumExp");
  rows.declare();
  begin(scope, l);
  const nextKey = (row: string): string => clamped(`next0 + ${row}`, key.extent, l.block);
  scope.line(
    // Those that see the most keys come first.
    `let own0 = (${blocks - 1}u - unit / ${heads}u) * ${OWN}u;`,
    `let b = unit % ${heads}u;`,
    `let kb = b / ${group.extent}u;`,
    `let at = ${clamped("own0 + row", query.extent, OWN)};`,
  );
  declareRange(scope, body, l, "query");
  ownRows(scope, l, "q", (row, k4) => `q_at(b, ${clamped(`own0 + ${row}`, query.extent, OWN)}, ${k4})`);
  const move = together([
    moves(l, ["k_at", "v_at"].map((name) => (row, k4) => `${name}(kb, ${nextKey(row)}, ${k4})`)),
    ...(body.segments ? [segmentMoves(l, "query", nextKey)] : []),
  ]);
  scope.line(
    ...declareSums(l, "o"),
    `var top = ${NO_TOP};`,
    "var total = 0.0f;",
    ...move.declare,
    "var other0 = start;",
    "var next0 = start;",
    ...move.fetch,
  );
  scope.block("loop", {}, (loop) => {
    loop.line("workgroupBarrier();", ...move.put, "workgroupBarrier();");
    loop.line(`next0 = other0 + ${l.block}u;`);
    loop.block("if (next0 < stop)", {}, (ahead) => ahead.line(...move.fetch));
    loop.line(...scoresOf(l, "q", 0), "workgroupBarrier();");
    softmax(loop, body, l);
    loop.line("workgroupBarrier();");
    if (hasOutput) loop.line(...addMixed(l, "o", 1));
    loop.line("other0 = next0;", "if (other0 >= stop) { break; }");
  });
  scope.line(
    `sums[${l.stats}u + lane] = total;`,
    "workgroupBarrier();",
    `let whole = total + sums[${l.stats}u + (lane ^ 1u)];`,
    "workgroupBarrier();",
    `if (side == 0u) { sums[${l.stats}u + row] = 1.0f / whole; }`,
  );
  const guard = query.extent % OWN ? (row: string) => `if (own0 + ${row} < ${query.extent}u) ` : () => "";
  if (body.stores.some((s) => s.result === "logSumExp")) {
    const inside = query.extent % OWN ? ` && own0 + row < ${query.extent}u` : "";
    scope.line(
      `if (side == 0u${inside}) { put_logSumExp(b, own0 + row, (top + log2(whole)) * ${Math.LN2}f); }`,
    );
  }
  if (hasOutput) {
    finish(
      scope,
      l,
      "o",
      (row, k4, sum) =>
        `${guard(row)}{ put_output(b, own0 + ${row}, ${k4}, ${sum} * sums[${l.stats}u + ${row}]); }`,
    );
  }
  return { units: blocks * heads, lanes: LANES };
}

/** From an invocation's scores to its weights, with the row's top and the sum of its weights kept up. */
function softmax(scope: Scope, body: AttentionForm, l: Layout): void {
  const vectors = vectorsOf(l);
  readScores(scope, body, l, "query");
  const most = vectors.map((_, i) => `x${i}`).reduce((a, b) => `max(${a}, ${b})`);
  scope.line(
    `let most4 = ${most};`,
    "let most = max(max(most4.x, most4.y), max(most4.z, most4.w));",
    ...ofAll("max", "raised", `select(0, 1, most > top + ${SLACK}.0f)`),
  );
  scope.block("if (raised != 0)", {}, (inner) => {
    inner.line(
      `sums[${l.stats}u + lane] = most;`,
      "workgroupBarrier();",
      `let fresh = max(top, max(most, sums[${l.stats}u + (lane ^ 1u)]));`,
      "let factor = exp2(top - fresh);",
      "total *= factor;",
      "top = fresh;",
    );
    inner.block("if (other0 > start)", {}, (rescale) => {
      for (let done = 0; done < l.depth; done += l.block) {
        const columns = Math.min(l.block, l.depth - done);
        const names = upTo(columns / SIDE).map((j) => `o${done / SIDE + j}`);
        if (done > 0) rescale.line("workgroupBarrier();");
        rescale.line(...names.map((name, j) => keep(l, name, j)), "workgroupBarrier();");
        for (let i = 0; i < columns / 8; i++) {
          const at = `row * ${l.sumPitch / 4}u + side + ${2 * i}u`;
          rescale.line(`sums4[${at}] = factor * sums4[${at}];`);
        }
        rescale.line("workgroupBarrier();", ...names.map((name, j) => take(l, name, j)));
      }
    });
  });
  vectors.forEach((at, i) => {
    scope.block("", {}, (inner) =>
      inner.line(
        `let weight = exp2(x${i} - top);`,
        "total += weight.x + weight.y + weight.z + weight.w;",
        "let short = vec4<f16>(weight);",
        putWeights(l, at, "short"),
      ));
  });
}
