/**
 * Attention on matrix units in WGSL: the forward pass. A workgroup takes 64 queries of a head and walks along the keys that
 * they see. Scores pass through workgroup memory as f32 sums and come back as f16 weights, relative to a top that each row
 * keeps until a score is 2⁸ times above it: the sums of values then stay in the registers of the matrix units for almost the
 * whole way. Milakov and Gimelshein, arXiv:1805.02867; Dao, arXiv:2307.08691. @module
 */
import type { AttentionForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import {
  addMixed,
  begin,
  chooseLayout,
  clamped,
  declareSums,
  edgeOf,
  finish,
  headsOf,
  keep,
  LANES,
  type Layout,
  moves,
  OWN,
  ownRows,
  putWeights,
  Rows,
  scoresOf,
  sumsAt,
  take,
  upTo,
  vectorsOf,
} from "./wgsl_attention_parts.ts";
import type { Scope } from "./wgsl_expr.ts";
import { MATRIX_DIRECTIVES } from "./wgsl_matrix.ts";
import { SIDE } from "./wgsl_tile.ts";

/** Rows of keys in memory, where they fit. */
const BLOCK = 64;
/** How far, as a power of 2, a score may be above the top of its row before all of the row is scaled anew. */
const SLACK = 8;
/** A top below any score, and a hidden score far below that. */
const NO_TOP = "-1e29f", HIDDEN = "-1e30f";

/** Print a kernel of attention into the scope of its entry point. */
export function attention(scope: Scope, body: AttentionForm): Grid {
  const { module } = scope;
  if (module.limits.matrix === null) {
    throw new Error(
      "A kernel of attention needs matrix units: plan without products in f16 for this device.",
    );
  }
  module.directives = MATRIX_DIRECTIVES;
  return forward(scope, body);
}

function forward(scope: Scope, body: AttentionForm): Grid {
  const { module } = scope, { scores, query, key, group, feature } = body;
  const l = chooseLayout(feature.extent, BLOCK, module.limits);
  const blocks = Math.ceil(query.extent / OWN), heads = headsOf(body, "query");
  const hasOutput = body.stores.some((s) => s.result === "output");
  const rows = new Rows(module, body);
  rows.operand("q_at", body.q, "query");
  rows.operand("k_at", body.k, "key");
  rows.operand("v_at", body.v, "key");
  if (body.segments) {
    rows.number("segment_of_query", body.segments[0], "query", true);
    rows.number("segment_of_key", body.segments[1], "key", true);
  }
  rows.result("output");
  rows.result("logSumExp");
  rows.declare();
  begin(scope, l);
  const last = scores.causal ? `min(own0 + ${OWN}u, ${key.extent}u)` : `${key.extent}u`;
  module.globals.push("var<workgroup> raised: atomic<u32>;");
  scope.line(
    // Those that see the most keys come first.
    `let own0 = (${blocks - 1}u - unit / ${heads}u) * ${OWN}u;`,
    `let b = unit % ${heads}u;`,
    `let kb = b / ${group.extent}u;`,
    `let at = ${clamped("own0 + row", query.extent, OWN)};`,
    `let stop = ${last};`,
    `let start = ${firstKey(scores.window, l.block)};`,
  );
  ownRows(scope, l, "q", (row, k4) => `q_at(b, ${clamped(`own0 + ${row}`, query.extent, OWN)}, ${k4})`);
  const move = moves(
    l,
    ["k_at", "v_at"].map((name) => (row, k4) =>
      `${name}(kb, ${clamped(`next0 + ${row}`, key.extent, l.block)}, ${k4})`
    ),
  );
  const batch = `b / ${heads / body.batch.extent}u`;
  if (body.segments) {
    module.globals.push(`var<workgroup> segments: array<i32, ${l.block}>;`);
    scope.line(`let segment = segment_of_query(${batch}, at);`);
  }
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
    loop.line("workgroupBarrier();", ...move.put);
    if (body.segments) {
      loop.line(
        `if (lane < ${l.block}u) { segments[lane] = segment_of_key(${batch}, ${
          clamped("other0 + lane", key.extent, l.block)
        }); }`,
      );
    }
    loop.line("if (lane == 0u) { atomicStore(&raised, 0u); }", "workgroupBarrier();");
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

/** The first key that a block of queries sees, rounded down to a block of keys. */
function firstKey(window: number | null, block: number): string {
  if (window === null) return "0u";
  return `(max(own0 + 1u, ${window}u) - ${window}u) / ${block}u * ${block}u`;
}

/** From an invocation's scores to its weights, with the row's top and the sum of its weights kept up. */
function softmax(scope: Scope, body: AttentionForm, l: Layout): void {
  const vectors = vectorsOf(l);
  vectors.forEach((at, i) => scope.line(`var x${i} = ${scored(body, sumsAt(l, at))};`));
  const edge = edgeOf(body, l, "query");
  if (edge !== null) {
    scope.block(edge ? `if (${edge})` : "", {}, (inner) => {
      vectors.forEach((at, i) =>
        inner.line(`x${i} = select(vec4f(${HIDDEN}), x${i}, ${seen(body, "other0", "at", at)});`)
      );
    });
  }
  const most = vectors.map((_, i) => `x${i}`).reduce((a, b) => `max(${a}, ${b})`);
  scope.line(
    `let most4 = ${most};`,
    "let most = max(max(most4.x, most4.y), max(most4.z, most4.w));",
    `if (most > top + ${SLACK}.0f) { atomicStore(&raised, 1u); }`,
  );
  scope.block("if (workgroupUniformLoad(&raised) != 0u)", {}, (inner) => {
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

/** The text of four scores, as powers of 2, from four products. */
export function scored({ scores: { scale, cap } }: AttentionForm, products: string): string {
  if (cap === null) return `${products} * ${scale * Math.LOG2E}f`;
  return `tanh(clamp(${products} * ${scale / cap}f, vec4f(-10.0f), vec4f(10.0f))) * ${cap * Math.LOG2E}f`;
}

/** Which of four neighbouring keys from `first` + 4 · `at` on the query at `query` sees. */
export function seen(
  { scores: { causal, window, segmented }, key }: AttentionForm,
  first: string,
  query: string,
  at: string,
): string {
  const keys = `(${first} + (${at}) * 4u + vec4u(0u, 1u, 2u, 3u))`;
  const own = [0, 1, 2, 3].map((i) => `segments[(${at}) * 4u + ${i}u]`).join(", ");
  return [
    `(${keys} < vec4u(${key.extent}u))`,
    ...(causal ? [`(${keys} <= vec4u(${query}))`] : []),
    ...(window === null ? [] : [`(${keys} + ${window}u > vec4u(${query}))`]),
    ...(segmented ? [`(vec4i(${own}) == vec4i(segment))`] : []),
  ].join(" & ");
}
