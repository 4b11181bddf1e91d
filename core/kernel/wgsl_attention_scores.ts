/** Scores of attention on matrix units: what is hidden of them, and which blocks are walked along at all. @module */
import type { AttentionForm } from "./kernel.ts";
import { headsOf, LANES, type Layout, OWN, sumsAt, vectorsOf } from "./wgsl_attention_layout.ts";
import { moveNumber, type Moves, ofAll } from "./wgsl_attention_parts.ts";
import type { Scope } from "./wgsl_expr.ts";

/** Which rows a workgroup owns; it walks along the others. */
export type Side = "query" | "key";

/**
 * Condition on the first owned and the first other row (uniform in a workgroup) under which some of their pairs are hidden, or
 * some of the others lie beyond the end; null: never; "": perhaps always.
 */
function edgeOf({ scores, query, key }: AttentionForm, l: Layout, own: Side): string | null {
  const { causal, window, segmented } = scores;
  if (segmented) return "";
  const [m, n, queries, keys, extent] = own === "query"
    ? ["own0", "other0", OWN, l.block, key.extent] as const
    : ["other0", "own0", l.block, OWN, query.extent] as const;
  const parts = [
    ...(causal ? [`${n} + ${keys - 1}u > ${m}`] : []),
    ...(window === null ? [] : [`${n} + ${window}u <= ${m} + ${queries - 1}u`]),
    ...(extent % l.block ? [`other0 + ${l.block}u > ${extent}u`] : []),
  ];
  return parts.length > 0 ? parts.join(" || ") : null;
}

/** A hidden score: far below any top of a row. */
const HIDDEN = "-1e30f";

/** Which of the four others at vector `at` of a block an invocation's own row sees, or is seen by. */
function seen({ scores, query, key }: AttentionForm, own: Side, at: string): string {
  const { causal, window, segmented } = scores;
  const others = `(other0 + (${at}) * 4u + vec4u(0u, 1u, 2u, 3u))`, mine = "vec4u(own0 + row)";
  const [m, n, extent] = own === "query" ? [mine, others, key.extent] : [others, mine, query.extent];
  const kinds = [0, 1, 2, 3].map((i) => `segments[(${at}) * 4u + ${i}u]`).join(", ");
  return [
    `(${others} < vec4u(${extent}u))`,
    ...(causal ? [`(${n} <= ${m})`] : []),
    ...(window === null ? [] : [`(${n} + ${window}u > ${m})`]),
    ...(segmented ? [`(vec4i(${kinds}) == vec4i(segment))`] : []),
  ].join(" & ");
}

/**
 * An invocation's scores of a block, as powers of 2 and with hidden ones far below, in variables `x0`, `x1`, …; with `slopes`
 * also their derivatives after the cap, `y0`, ….
 */
export function readScores(
  scope: Scope,
  body: AttentionForm,
  l: Layout,
  own: Side,
  slopes = false,
): void {
  const { scale, cap } = body.scores, vectors = vectorsOf(l);
  vectors.forEach((at, i) => {
    if (cap === null) return scope.line(`var x${i} = ${sumsAt(l, at)} * ${scale * Math.LOG2E}f;`);
    scope.line(
      // As in other kernels: drivers compute tanh from exponentials that overflow.
      `var x${i} = tanh(clamp(${sumsAt(l, at)} * ${scale / cap}f, vec4f(-10.0f), vec4f(10.0f)));`,
      ...(slopes ? [`let y${i} = 1.0f - x${i} * x${i};`] : []),
      `x${i} *= ${cap * Math.LOG2E}f;`,
    );
  });
  const edge = edgeOf(body, l, own);
  if (edge === null) return;
  scope.block(edge ? `if (${edge})` : "", {}, (inner) => {
    vectors.forEach((at, i) =>
      inner.line(`x${i} = select(vec4f(${HIDDEN}), x${i}, ${seen(body, own, at)});`)
    );
  });
}

/**
 * `start` and `stop`: the other rows that some of the owned ones see, or are seen by; the first one is that of a block. With
 * segments these are the rows between the first and the last of a segment between the least and the greatest of the owned.
 */
export function declareRange(scope: Scope, body: AttentionForm, l: Layout, own: Side): void {
  const { scores: { causal, window }, query, key, batch } = body;
  const block = (first: string): string => `${first} / ${l.block}u * ${l.block}u`;
  const extent = own === "query" ? key.extent : query.extent;
  const [first, last] = own === "query"
    ? [
      window === null ? "0u" : `max(own0 + 1u, ${window}u) - ${window}u`,
      causal ? `min(own0 + ${OWN}u, ${extent}u)` : `${extent}u`,
    ]
    : [
      causal ? "own0" : "0u",
      window === null ? `${extent}u` : `min(own0 + ${OWN - 1 + window}u, ${extent}u)`,
    ];
  if (!body.segments) return scope.line(`let start = ${block(`(${first})`)};`, `let stop = ${last};`);
  const [mine, theirs] = own === "query" ? ["query", "key"] : ["key", "query"];
  scope.line(
    `let sequence = b / ${headsOf(body, own) / batch.extent}u;`,
    `let segment = segment_of_${mine}(sequence, at);`,
  );
  scope.line(
    ...ofAll("min", "low", "segment"),
    ...ofAll("max", "high", "segment"),
    "var nearest = i32(own0);",
    "var farthest = i32(own0);",
  );
  scope.block(`for (var n = ${first} + lane; n < ${last}; n += ${LANES}u)`, {}, (inner) =>
    inner.line(
      `let other = segment_of_${theirs}(sequence, n);`,
      "if (other >= low && other <= high) { nearest = min(nearest, i32(n)); farthest = max(farthest, i32(n)); }",
    ));
  scope.line(
    ...ofAll("min", "least", "nearest"),
    ...ofAll("max", "greatest", "farthest"),
    `let start = ${block("u32(least)")};`,
    "let stop = u32(greatest) + 1u;",
  );
}

/** The segments of a block on their way into workgroup memory; `other` is a row to come. */
export function segmentMoves(l: Layout, own: Side, other: (row: string) => string): Moves {
  return moveNumber(
    l,
    "kind",
    "i32",
    (row) => `segment_of_${own === "query" ? "key" : "query"}(sequence, ${other(row)})`,
    (row) => `segments[${row}]`,
  );
}
