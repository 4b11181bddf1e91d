/**
 * What the passes of attention on matrix units have in common: a workgroup owns some rows (queries, or keys), and walks
 * along the rows of the other side, a block of them in workgroup memory at a time. @module
 */
import type { Expr } from "../ir/expr.ts";
import type { Var } from "../ir/ix.ts";
import type { AttentionResult } from "../ir/lowering.ts";
import { type AttentionForm, extentOf, passOf } from "./kernel.ts";
import { type Module, PARTS, Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import type { WgslLimits } from "./wgsl_memory.ts";
import { plus } from "./wgsl_operand.ts";
import { PAD, SIDE, SUBGROUP, SUM_PAD } from "./wgsl_tile.ts";
import { type Access, four, wideSlots } from "./wgsl_wide.ts";

/** Rows that a workgroup owns, 16 to a subgroup, and its invocations: two to a row. */
export const OWN = 64, LANES = 128;

/** Places in workgroup memory: sums of subgroups in f32, then what matrix units read, in halves. Lengths in elements. */
export interface Layout {
  readonly depth: number;
  /** Rows of the other side in memory. */
  readonly block: number;
  /** Length of a row of sums, of an operand, and of weights. */
  readonly sumPitch: number;
  readonly pitch: number;
  readonly weightPitch: number;
  /** A number for each invocation, behind the sums. */
  readonly stats: number;
  /** Where the two operands of the other side and the weights begin, in halves. */
  readonly operands: readonly [number, number];
  readonly weights: number;
  readonly bytes: number;
}

function layoutOf(depth: number, block: number): Layout {
  const sumPitch = block + SUM_PAD, pitch = depth + PAD, weightPitch = block + PAD;
  const stats = OWN * sumPitch, first = 2 * (stats + LANES), second = first + block * pitch;
  const weights = second + block * pitch, end = weights + OWN * weightPitch;
  // The owned rows pass through the place of all three before the walk begins.
  const bytes = 2 * Math.max(end, first + OWN * pitch);
  return { depth, block, sumPitch, pitch, weightPitch, stats, operands: [first, second], weights, bytes };
}

/** Blocks of the other side, largest first. */
const BLOCKS = [64, 32];

/** The largest block that fits, up to `most` rows. */
export function chooseLayout(depth: number, most: number, { maxWorkgroupBytes }: WgslLimits): Layout {
  const layouts = BLOCKS.filter((block) => block <= most).map((block) => layoutOf(depth, block));
  const fits = layouts.find((l) => l.bytes <= maxWorkgroupBytes);
  if (fits) return fits;
  throw new Error(
    `Attention with heads of ${depth} needs ${
      layouts.at(-1)!.bytes
    } bytes of workgroup memory and the device has ${maxWorkgroupBytes}.`,
  );
}

/** Functions that read and write a form's buffers; rows of queries are counted over batch, head and group. */
export class Rows {
  readonly #accesses: Access[] = [];
  readonly #declare: (() => void)[] = [];

  constructor(readonly module: Module, readonly body: AttentionForm) {}

  /** `name(b, m, k4)`: four neighbours of a row of queries or keys, as halves. */
  operand(name: string, value: Expr, side: "query" | "key"): void {
    const values = four((lane) => [new Flat(this.#lists(side), "k", lane).expr(value)]);
    this.#accesses.push({ values });
    this.#declare.push(() => {
      const inside = new Scope(this.module, { vars: { b: "b", m: "m", k: "k4" } });
      const texts = inside.lanes(values).flat();
      this.#function(
        `fn ${name}(b: u32, m: u32, k4: u32) -> vec4<f16>`,
        inside,
        `return vec4<f16>(vec4f(${texts.join(", ")}));`,
      );
    });
  }

  /** `name(b, m)`: a number of a row; of a segment `b` is the batch alone. */
  number(name: string, value: Expr, side: "query" | "key", isSegment = false): void {
    const { k: _, ...lists } = this.#lists(side);
    const flat = new Flat(isSegment ? { ...lists, b: [this.body.batch] } : lists).expr(value);
    this.#accesses.push({ values: [[flat]] });
    this.#declare.push(() => {
      const inside = new Scope(this.module, { vars: { b: "b", m: "m" } });
      const text = inside.value(flat);
      this.#function(`fn ${name}(b: u32, m: u32) -> ${flat.type}`, inside, `return ${text};`);
    });
  }

  /** `put_…(b, m, k4, sum)` stores four neighbours of a result, or `put_logSumExp(b, m, sum)` one number. */
  result(result: AttentionResult): void {
    const store = this.body.stores.find((s) => s.result === result);
    if (!store) return;
    const { k, ...lists } = this.#lists(passOf(result) === "keys" ? "key" : "query");
    const isRow = result === "logSumExp";
    const stores = isRow
      ? [[new Flat(lists).store(store)]]
      : four((lane) => [new Flat({ ...lists, k }, "k", lane).store(store)]);
    this.#accesses.push({ values: stores.map(() => []), stores });
    this.#declare.push(() => {
      const sum = isRow ? "sum" : PARTS.map((part) => `sum.${part}`);
      const vars = { b: "b", m: "m", ...(isRow ? {} : { k: "k4" }) };
      const inside = new Scope(this.module, { vars, accs: new Map([[0, sum]]) });
      inside.line(...inside.storing(stores));
      const params = isRow ? "sum: f32" : "k4: u32, sum: vec4f";
      this.#function(`fn put_${result}(b: u32, m: u32, ${params})`, inside);
    });
  }

  /** `segment_of_query(b, m)` and `segment_of_key(b, m)`, where scores have segments. */
  segments(): void {
    const { segments } = this.body;
    if (!segments) return;
    this.number("segment_of_query", segments[0], "query", true);
    this.number("segment_of_key", segments[1], "key", true);
  }

  /** Write them all, once it is known which buffers are accessed in vectors. */
  declare(): void {
    this.module.wide = wideSlots(this.module.kernel, this.#accesses);
    for (const write of this.#declare) write();
  }

  #lists(side: "query" | "key"): { b: Var[]; m: Var[]; k: Var[] } {
    const { batch, head, group, query, key, feature } = this.body;
    return side === "query"
      ? { b: [batch, head, group], m: [query], k: [feature] }
      : { b: [batch, head], m: [key], k: [feature] };
  }

  #function(head: string, inside: Scope, ...end: string[]): void {
    this.module.globals.push(`${head} {`, ...[...inside.lines, ...end].map((l) => `  ${l}`), "}");
  }
}

/** Views of workgroup memory, and an invocation's own row. */
export function begin(scope: Scope, { bytes, stats }: Layout): void {
  scope.module.globals.push(`var<workgroup> memory: buffer<${bytes}>;`);
  const floats = stats + LANES;
  scope.line(
    `let halves = bufferView<array<f16, ${bytes / 2}>>(&memory, 0u);`,
    `let quads = bufferView<array<vec4<f16>, ${bytes / 8}>>(&memory, 0u);`,
    `let sums = bufferView<array<f32, ${floats}>>(&memory, 0u);`,
    `let sums4 = bufferView<array<vec4f, ${floats / 4}>>(&memory, 0u);`,
    `let strip = lane / ${SUBGROUP}u * ${SIDE}u;`,
    "let row = lane / 2u;",
    "let side = lane % 2u;",
  );
}

/** Numbers from 0 on. */
export function upTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}

/** `min(text, last)` where rows may lie beyond the end. */
export function clamped(text: string, extent: number, step: number): string {
  return extent % step === 0 ? text : `min(${text}, ${extent - 1}u)`;
}

/**
 * The owned rows of an operand as matrices `name0`, `name1`, … along the features, in the registers of each subgroup; they
 * pass through the place of the blocks. `call` is the text of four features of a row.
 */
export function ownRows(
  scope: Scope,
  l: Layout,
  name: string,
  call: (row: string, k4: string) => string,
): void {
  const width = l.depth / 4, [base] = l.operands;
  scope.line("workgroupBarrier();");
  for (let done = 0; done < OWN * width; done += LANES) {
    const e = plus("lane", done);
    scope.block("", {}, (inner) =>
      inner.line(
        `let value = ${call(`(${e}) / ${width}u`, `(${e}) % ${width}u`)};`,
        `quads[${base / 4}u + (${e}) / ${width}u * ${l.pitch / 4}u + (${e}) % ${width}u] = value;`,
      ));
  }
  scope.line("workgroupBarrier();");
  for (const k of upTo(l.depth / SIDE)) {
    scope.line(
      `let ${name}${k} = subgroupMatrixLoad<subgroup_matrix_left<f16, ${SIDE}, ${SIDE}>, row_major>(halves, ${
        plus(`strip * ${l.pitch}u`, base + k * SIDE)
      }, ${l.pitch}u);`,
    );
  }
}

/** How blocks of the two operands come into workgroup memory: by way of registers, which may be filled ahead. */
export interface Moves {
  readonly declare: readonly string[];
  /** Fill the registers with the block of the given first row. */
  readonly fetch: readonly string[];
  readonly put: readonly string[];
}

/** Moves of both operands; `calls` are texts of four features of a row. */
export function moves(l: Layout, calls: readonly ((row: string, k4: string) => string)[]): Moves {
  const width = l.depth / 4;
  const each = calls.flatMap((call, operand) =>
    upTo(l.block * width / LANES).map((i) => {
      const e = `(${plus("lane", i * LANES)})`, register = `t${operand}_${i}`;
      return {
        declare: `var ${register}: vec4<f16>;`,
        fetch: `${register} = ${call(`${e} / ${width}u`, `${e} % ${width}u`)};`,
        put: `quads[${l.operands[operand]! / 4}u + ${e} / ${width}u * ${
          l.pitch / 4
        }u + ${e} % ${width}u] = ${register};`,
      };
    })
  );
  return {
    declare: each.map((m) => m.declare),
    fetch: each.map((m) => m.fetch),
    put: each.map((m) => m.put),
  };
}

/** A number of each row of a block on its way into workgroup memory, at `place` of its row. */
export function moveNumber(
  l: Layout,
  name: string,
  type: string,
  value: (row: string) => string,
  place: (row: string) => string,
): Moves {
  return {
    declare: [`var ${name}: ${type};`],
    fetch: [`${name} = ${value(`lane % ${l.block}u`)};`],
    put: [`if (lane < ${l.block}u) { ${place("lane")} = ${name}; }`],
  };
}

/** The segments of a block, and `segment` of an invocation's own row; `head` is that of the own side, `other` a row to come. */
export function segmentMoves(
  scope: Scope,
  body: AttentionForm,
  l: Layout,
  own: "query" | "key",
  other: (row: string) => string,
): Moves {
  const [mine, theirs] = own === "query" ? ["query", "key"] : ["key", "query"];
  const batch = `b / ${headsOf(body, own) / body.batch.extent}u`;
  scope.module.globals.push(`var<workgroup> segments: array<i32, ${l.block}>;`);
  scope.line(`let segment = segment_of_${mine}(${batch}, at);`);
  return moveNumber(
    l,
    "kind",
    "i32",
    (row) => `segment_of_${theirs}(${batch}, ${other(row)})`,
    (row) => `segments[${row}]`,
  );
}

/** Moves one after the other. */
export function together(all: readonly Moves[]): Moves {
  return {
    declare: all.flatMap((m) => m.declare),
    fetch: all.flatMap((m) => m.fetch),
    put: all.flatMap((m) => m.put),
  };
}

/** Scores of the owned rows with a block: matrices `s0`, … of `left`·operandᵀ, and from there into the strips of sums. */
export function scoresOf(l: Layout, left: string, operand: 0 | 1): string[] {
  const across = upTo(l.block / SIDE);
  const lines = across.map((j) => `var s${j} = subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>();`);
  for (const k of upTo(l.depth / SIDE)) {
    for (const j of across) {
      const at = l.operands[operand] + j * SIDE * l.pitch + k * SIDE;
      lines.push(
        "{",
        `  let r = subgroupMatrixLoad<subgroup_matrix_right<f16, ${SIDE}, ${SIDE}>, col_major>(halves, ${at}u, ${l.pitch}u);`,
        `  s${j} = subgroupMatrixMultiplyAccumulate(${left}${k}, r, s${j});`,
        "}",
      );
    }
  }
  return ["{", ...[...lines, ...across.map((j) => keep(l, `s${j}`, j))].map((t) => `  ${t}`), "}"];
}

/** Bring a matrix of sums into its strip, at column `j · 16`. */
export function keep(l: Layout, name: string, j: number): string {
  return `subgroupMatrixStore<row_major>(sums, ${
    plus(`strip * ${l.sumPitch}u`, j * SIDE)
  }, ${name}, ${l.sumPitch}u);`;
}

/** The other way. */
export function take(l: Layout, name: string, j: number): string {
  return `${name} = subgroupMatrixLoad<subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>, row_major>(sums, ${
    plus(`strip * ${l.sumPitch}u`, j * SIDE)
  }, ${l.sumPitch}u);`;
}

/** Add weights · operand to the sums `name0`, … along the features. */
export function addMixed(l: Layout, name: string, operand: 0 | 1): string[] {
  return upTo(l.block / SIDE).flatMap((k) => [
    "{",
    `  let l = subgroupMatrixLoad<subgroup_matrix_left<f16, ${SIDE}, ${SIDE}>, row_major>(halves, ${
      plus(`strip * ${l.weightPitch}u`, l.weights + k * SIDE)
    }, ${l.weightPitch}u);`,
    ...upTo(l.depth / SIDE).flatMap((j) => [
      "  {",
      `    let r = subgroupMatrixLoad<subgroup_matrix_right<f16, ${SIDE}, ${SIDE}>, row_major>(halves, ${
        l.operands[operand] + k * SIDE * l.pitch + j * SIDE
      }u, ${l.pitch}u);`,
      `    ${name}${j} = subgroupMatrixMultiplyAccumulate(l, r, ${name}${j});`,
      "  }",
    ]),
    "}",
  ]);
}

/** Sums of a workgroup's rows along the features, zero at first. */
export function declareSums(l: Layout, name: string): string[] {
  return upTo(l.depth / SIDE).map((j) => `var ${name}${j}: subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>;`);
}

/** Vectors of a row of a block that an invocation handles, as the text of their place among those of the row. */
export function vectorsOf(l: Layout): string[] {
  // Neighbours that read at once differ in the place of four vectors: no two of them in one bank.
  return upTo(l.block / 8).map((i) => plus("side * 4u", Math.floor(i / 4) * 8 + i % 4));
}

/** Text of vector `at` of an invocation's row of sums. */
export function sumsAt(l: Layout, at: string): string {
  return `sums4[row * ${l.sumPitch / 4}u + ${at}]`;
}

/** Write vector `at` of an invocation's row of weights; `value` is a name. */
export function putWeights(l: Layout, at: string, value: string): string {
  return `quads[${l.weights / 4}u + row * ${l.weightPitch / 4}u + ${at}] = ${value};`;
}

/**
 * Store the sums `name0`, … of all owned rows: through the strips, then `put(row, k4, sum)` for four features at a time, with
 * neighbouring invocations at neighbouring features.
 */
export function finish(
  scope: Scope,
  l: Layout,
  name: string,
  put: (row: string, k4: string, sum: string) => string,
): void {
  for (let done = 0; done < l.depth; done += l.block) {
    const columns = Math.min(l.block, l.depth - done), width = columns / 4;
    scope.line("workgroupBarrier();");
    scope.line(
      ...upTo(columns / SIDE).map((j) => keep(l, `${name}${done / SIDE + j}`, j)),
      "workgroupBarrier();",
    );
    for (let first = 0; first < OWN * width; first += LANES) {
      const e = `(${plus("lane", first)})`;
      const sum = `sums4[${e} / ${width}u * ${l.sumPitch / 4}u + ${e} % ${width}u]`;
      scope.line(put(`${e} / ${width}u`, plus(`${e} % ${width}u`, done / 4), sum));
    }
  }
}

/**
 * Condition on the first owned and the first other row (uniform in a workgroup) under which some of their pairs are hidden, or
 * some of the others lie beyond the end; null: never; "": perhaps always.
 */
function edgeOf({ scores, query, key }: AttentionForm, l: Layout, own: "query" | "key"): string | null {
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
function seen({ scores, query, key }: AttentionForm, own: "query" | "key", at: string): string {
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
  own: "query" | "key",
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

/** Heads of queries, or of keys, over the whole batch. */
export function headsOf({ batch, head, group }: AttentionForm, side: "query" | "key"): number {
  return extentOf(side === "query" ? [batch, head, group] : [batch, head]);
}
