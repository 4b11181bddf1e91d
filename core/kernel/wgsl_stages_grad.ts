/**
 * Cotangent of the coefficients of `stages` in WGSL. A workgroup takes one stage and one chunk of features; it goes
 * over all rows, brings x forward to the stage and ct back to it, and sums their products in registers. The sums of
 * its invocations meet in a fixed order at the end. Going over the other stages again is cheaper than keeping the
 * inputs of all of them. @module
 */
import { blockOf, type Stage, stageOffsets } from "../ir/lowering.ts";
import { extentOf, type StagesGradForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
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
const FEATURES = 32;
/** Sums that an invocation keeps. */
const SUMS = 32;

/** Workgroups for a stage and a chunk: each takes some of the invocation's positions and some columns of the blocks. */
interface Job {
  readonly stage: Stage;
  readonly number: number;
  /** First job number of the stage. */
  readonly start: number;
  /** Columns of a block that one job takes; a divisor of the block. */
  readonly columns: number;
}

/** Print a `stagesGrad` kernel into the scope of its entry point. */
export function stagesGrad(scope: Scope, body: StagesGradForm): Grid {
  const { module } = scope;
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
  const total = last.start + chunk.turns * (blockOf(last.stage) / last.columns);

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
    ...Array.from({ length: Math.max(...jobs.map((j) => j.columns)) }, (_, k) => `var a${k} = 0.0f;`),
  );
  scope.block(`for (var start = 0u; start < ${rows}u; start += ${step}u)`, {}, (loop) => {
    overRows(loop, body, chunk, jobs, rows, step);
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
    const job = { stage, number, start, columns };
    start += chunk.turns * (block / columns);
    return job;
  });
}

function overRows(
  scope: Scope,
  body: StagesGradForm,
  chunk: Chunk,
  jobs: readonly Job[],
  rows: number,
  step: number,
): void {
  const d = body.feature.extent, slot = body.coefficients;
  scope.line(`let row = start + own * ${chunk.width}u;`);
  eachTurn(scope, chunk, (inner) => {
    const zero = (
      r: string,
      text: string,
    ): string => (rows % step ? `select(0.0f, ${text}, ${r} < ${rows}u)` : text);
    inner.line(
      `let f = chunk * ${chunk.size}u + position;`,
      `xs[own * ${chunk.size}u + position] = ${gatherRows(chunk, rows, step, (r) => `x(${r}, f)`)};`,
      // Rows beyond the end must not count: their cotangents are zero.
      `cts[own * ${chunk.size}u + position] = ${
        gatherRows(chunk, rows, step, (r) => zero(r.replace(/^min\((.*), .*\)$/, "$1"), `ct(${r}, f)`))
      };`,
    );
  });
  scope.line("workgroupBarrier();");
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
      mine(inner, chunk, job, (at) => {
        at.line(`let y: ${vectorType(chunk)} = cts[own * ${chunk.size}u + position];`);
        eachColumn(job, chunk, (k, place) => {
          const x = `xs[own * ${chunk.size}u + first + ${place}]`;
          at.line(`a${k} ${chunk.width === 1 ? `= fma(y, ${x}, a${k})` : `+= dot(y, ${x})`};`);
        });
      });
    });
  }
  scope.line("workgroupBarrier();");
}

/** Where the invocation's position of this job is inside the chunk. */
function mine(scope: Scope, chunk: Chunk, job: Job, body: (inner: Scope) => void): void {
  scope.line(
    `let position = p + local % ${chunk.turns}u * ${chunk.lanes}u;`,
    `let part = local / ${chunk.turns}u;`,
  );
  const guard = chunk.turns * chunk.lanes > chunk.size ? `if (position < ${chunk.size}u)` : "";
  scope.block(guard, {}, (inner) => {
    inner.line(...locate(job.stage, chunk));
    body(inner);
  });
}

/** For each column that a job takes: its number there, and its distance from the block's first element. */
function eachColumn({ stage, columns }: Job, _chunk: Chunk, body: (k: number, place: string) => void): void {
  for (let k = 0; k < columns; k++) {
    if (columns === blockOf(stage)) body(k, `${legOffset(stage, k)}u`);
    else {body(
        k,
        `(part * ${columns}u + ${k}u) / ${stage.piece}u * ${
          stage.stride * stage.piece
        }u + (part * ${columns}u + ${k}u) % ${stage.piece}u`,
      );}
  }
}

/** Add up the rows' shares, and write them. */
function write(scope: Scope, body: StagesGradForm, chunk: Chunk, job: Job, d: number): void {
  const block = blockOf(job.stage), offset = stageOffsets(body.stages, d)[job.number]!;
  for (let k = 0; k < job.columns; k++) {
    scope.line(`sums[lane] = a${k};`, "workgroupBarrier();");
    const shares = Array.from({ length: chunk.vectors }, (_, v) => `sums[p + ${v * chunk.lanes}u]`);
    scope.block("if (own == 0u)", {}, (inner) => {
      mine(inner, chunk, job, (at) => {
        const place = `${offset}u + (n * ${block}u + j) * ${block}u + part * ${job.columns}u + ${k}u`;
        at.line(scope.module.store(body.out, place, shares.join(" + "), "f32"));
      });
    });
    scope.line("workgroupBarrier();");
  }
}
