/**
 * Cotangent of the coefficients of `stages` in WGSL. A workgroup takes one stage and one chunk of features; it goes
 * over all rows, brings x forward to the stage and ct back to it, and sums their products in registers; the next rows are
 * read meanwhile. The sums of
 * its invocations meet in a fixed order at the end. Going over the other stages again is cheaper than keeping the
 * inputs of all of them. @module
 */
import { blockOf, type Stage, stageOffsets } from "../ir/lowering.ts";
import { extentOf, type StagesGradForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { gradOwnsGroups, stagesGradOwn } from "./wgsl_stages_grad_own.ts";
import {
  type Chunk,
  chunkOf,
  eachTurn,
  gatherRows,
  legOffset,
  locate,
  mix,
  rowFunction,
  tileOf,
  vectorType,
} from "./wgsl_stage.ts";

/** Features that one workgroup takes when their groups are smaller. */
const FEATURES = 16;
/** Sums that an invocation keeps. */
const SUMS = 64;

/** Workgroups for a stage and a chunk: each takes some of the invocation's positions and some columns of the blocks. */
interface Job {
  readonly stage: Stage;
  readonly number: number;
  /** First job number of the stage. */
  readonly start: number;
  /** Columns of a block that one job takes; a divisor of the block. */
  readonly columns: number;
  /** Positions of an invocation that one job takes, and jobs that it takes for all of them. */
  readonly turns: number;
  readonly parts: number;
}

/** Print a `stagesGrad` kernel into the scope of its entry point. */
export function stagesGrad(scope: Scope, body: StagesGradForm): Grid {
  const { module } = scope;
  if (gradOwnsGroups(module, body)) return stagesGradOwn(scope, body);
  const d = body.feature.extent, rows = extentOf(body.outer);
  const chunk = chunkOf(module.kernel.name, body.stages, d, rows, FEATURES, 2, {
    ...module.limits,
    maxWorkgroupBytes: module.limits.maxWorkgroupBytes - 4 * module.limits.maxInvocations,
  });
  const lanes = chunk.lanes * chunk.vectors, step = chunk.width * chunk.vectors;
  tileOf(module, chunk, "xs");
  tileOf(module, chunk, "cts");
  module.globals.push(`var<workgroup> sums: array<f32, ${lanes}>;`);
  const flat = new Flat({ row: body.outer, f: [body.feature] });
  for (const [name, value] of [["x", body.x], ["ct", body.ct]] as const) {
    const inside = new Scope(module, { vars: { row: "row", f: "f" } });
    const [text] = inside.values([flat.expr(value)]);
    rowFunction(scope, `fn ${name}(row: u32, f: u32) -> f32`, [...inside.lines, `return ${text};`]);
  }
  const jobs = jobsOf(body.stages, chunk);
  const last = jobs.at(-1)!;
  const total = last.start + last.parts * (blockOf(last.stage) / last.columns);
  const sums = jobs.flatMap((job) => eachSum(job, (name) => name));

  scope.line(
    `let p = lane % ${chunk.lanes}u;`,
    `let own = lane / ${chunk.lanes}u;`,
    `let chunk = unit % ${chunk.count}u;`,
    `let job = unit / ${chunk.count}u;`,
    "var chosen = 0u;",
    "var local = job;",
    ...jobs.slice(1).map((j) =>
      `if (job >= ${j.start}u) { chosen = ${j.number}u; local = job - ${j.start}u; }`
    ),
    ...[...new Set(sums)].map((name) => `var ${name} = 0.0f;`),
  );
  const fetch = fetchRows(chunk, rows, step);
  scope.line(...fetch.declare);
  scope.block("", {}, (first) => first.line(`let row = own * ${chunk.width}u;`, ...fetch.lines));
  scope.block(`for (var start = 0u; start < ${rows}u; start += ${step}u)`, {}, (loop) => {
    overRows(loop, body, chunk, jobs, rows, step, fetch.lines);
  });
  for (const job of jobs) {
    scope.block(`if (chosen == ${job.number}u)`, {}, (inner) => write(inner, body, chunk, job, d));
  }
  return { units: chunk.count * total, lanes };
}

function jobsOf(stages: readonly Stage[], chunk: Chunk): Job[] {
  let start = 0;
  return stages.map((stage, number) => {
    const block = blockOf(stage);
    let columns = Math.min(block, SUMS);
    while (block % columns !== 0) columns--;
    const turns = Math.min(chunk.turns, Math.floor(SUMS / columns)), parts = Math.ceil(chunk.turns / turns);
    const job = { stage, number, start, columns, turns, parts };
    start += parts * (block / columns);
    return job;
  });
}

/** Statements that bring the features of an invocation's rows, from `row` on, into registers. */
function fetchRows(
  chunk: Chunk,
  rows: number,
  step: number,
): { readonly declare: readonly string[]; readonly lines: readonly string[] } {
  const type = vectorType(chunk);
  const zero = (r: string, text: string): string =>
    rows % step ? `select(0.0f, ${text}, ${r} < ${rows}u)` : text;
  const turns = Array.from({ length: chunk.turns }, (_, turn) => {
    const position = turn === 0 ? "p" : `p + ${turn * chunk.lanes}u`;
    // Positions beyond the chunk's end read its last feature, and are not kept.
    const guarded = (turn + 1) * chunk.lanes > chunk.size ? `min(${position}, ${chunk.size - 1}u)` : position;
    const at = `chunk * ${chunk.size}u + ${guarded}`;
    return [
      `x${turn} = ${gatherRows(chunk, rows, step, (r) => `x(${r}, ${at})`)};`,
      // Rows beyond the end must not count: their cotangents are zero.
      `ct${turn} = ${
        gatherRows(chunk, rows, step, (r) => zero(r.replace(/^min\((.*), .*\)$/, "$1"), `ct(${r}, ${at})`))
      };`,
    ];
  });
  return {
    declare: turns.flatMap((_, turn) => [`var x${turn}: ${type};`, `var ct${turn}: ${type};`]),
    lines: turns.flat(),
  };
}

function overRows(
  scope: Scope,
  body: StagesGradForm,
  chunk: Chunk,
  jobs: readonly Job[],
  rows: number,
  step: number,
  fetch: readonly string[],
): void {
  const d = body.feature.extent, slot = body.coefficients;
  eachTurn(scope, chunk, (inner, turn) => {
    inner.line(
      `xs[own * ${chunk.size}u + position] = x${turn};`,
      `cts[own * ${chunk.size}u + position] = ct${turn};`,
    );
  });
  scope.line("workgroupBarrier();");
  if (rows > step) {
    scope.block(`if (start + ${step}u < ${rows}u)`, {}, (next) => {
      next.line(`let row = start + ${step}u + own * ${chunk.width}u;`, ...fetch);
    });
  }
  for (const { number } of jobs.slice(0, -1)) {
    scope.block(
      `if (chosen > ${number}u)`,
      {},
      (inner) => mix(inner, chunk, body.stages, number, slot, d, "xs", false),
    );
  }
  for (const { number } of jobs.slice(1).reverse()) {
    scope.block(
      `if (chosen < ${number}u)`,
      {},
      (inner) => mix(inner, chunk, body.stages, number, slot, d, "cts", true),
    );
  }
  for (const job of jobs) {
    scope.block(`if (chosen == ${job.number}u)`, {}, (inner) => {
      mine(inner, chunk, job, (at, turn) => {
        at.line(`let y: ${vectorType(chunk)} = cts[own * ${chunk.size}u + position];`);
        for (let k = 0; k < job.columns; k++) {
          const x = `xs[own * ${chunk.size}u + first + ${columnOffset(job, k)}]`, sum = `a${turn}_${k}`;
          at.line(`${sum} ${chunk.width === 1 ? `= fma(y, ${x}, ${sum})` : `+= dot(y, ${x})`};`);
        }
      });
    });
  }
  scope.line("workgroupBarrier();");
}

/** For each position of the invocation that this job takes: where it is inside the chunk. */
function mine(scope: Scope, chunk: Chunk, job: Job, body: (inner: Scope, turn: number) => void): void {
  scope.line(`let part = local / ${job.parts}u;`);
  for (let turn = 0; turn < job.turns; turn++) {
    const guard = job.parts * job.turns * chunk.lanes > chunk.size;
    const start = `p + (local % ${job.parts}u * ${job.turns}u + ${turn}u) * ${chunk.lanes}u`;
    scope.block(guard ? `if (${start} < ${chunk.size}u)` : "", {}, (inner) => {
      inner.line(`let position = ${start};`, ...locate(job.stage, chunk));
      body(inner, turn);
    });
  }
}

/** Names of a job's sums: `a0_3` belongs to its first position and to its fourth column. */
function eachSum<T>({ turns, columns }: Job, of: (name: string) => T): T[] {
  return Array.from({ length: turns * columns }, (_, i) => of(`a${Math.floor(i / columns)}_${i % columns}`));
}

/** Distance of a job's column `k` from the block's first element. */
function columnOffset({ stage, columns }: Job, k: number): string {
  if (columns === blockOf(stage)) return `${legOffset(stage, k)}u`;
  const column = `(part * ${columns}u + ${k}u)`;
  return `${column} / ${stage.piece}u * ${stage.stride * stage.piece}u + ${column} % ${stage.piece}u`;
}

/** Add up the shares of the invocations that took different rows, and write the sums. */
function write(scope: Scope, body: StagesGradForm, chunk: Chunk, job: Job, d: number): void {
  const block = blockOf(job.stage), offset = stageOffsets(body.stages, d)[job.number]!;
  const store = (at: Scope, k: number, value: string): void => {
    const place = `${offset}u + (n * ${block}u + j) * ${block}u + part * ${job.columns}u + ${k}u`;
    at.line(scope.module.store(body.out, place, value, "f32"));
  };
  const columns = Array.from({ length: job.columns }, (_, k) => k);
  if (chunk.vectors === 1) {
    mine(scope, chunk, job, (at, turn) => columns.forEach((k) => store(at, k, `a${turn}_${k}`)));
    return;
  }
  const shares = Array.from({ length: chunk.vectors }, (_, v) => `sums[p + ${v * chunk.lanes}u]`).join(" + ");
  for (const k of columns) {
    scope.line(`sums[lane] = a0_${k};`, "workgroupBarrier();");
    scope.block("if (own == 0u)", {}, (inner) => mine(inner, chunk, job, (at) => store(at, k, shares)));
    scope.line("workgroupBarrier();");
  }
}
