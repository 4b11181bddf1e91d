/**
 * What the passes of attention on matrix units have in common: a workgroup owns some rows (queries, or keys), and walks
 * along the rows of the other side, a block of them in workgroup memory at a time. @module
 */
import { LANES, type Layout, MARKS, OWN, upTo } from "./wgsl_attention_layout.ts";
import type { Scope } from "./wgsl_expr.ts";
import { plus } from "./wgsl_operand.ts";
import { SIDE, SUBGROUP } from "./wgsl_tile.ts";

/** Views of workgroup memory, and an invocation's own row. */
export function begin(scope: Scope, { bytes, stats, marks, block }: Layout): void {
  scope.module.globals.push(`var<workgroup> memory: buffer<${bytes}>;`);
  const floats = stats + LANES;
  scope.line(
    `let halves = bufferView<array<f16, ${bytes / 2}>>(&memory, 0u);`,
    `let quads = bufferView<array<vec4<f16>, ${bytes / 8}>>(&memory, 0u);`,
    `let sums = bufferView<array<f32, ${floats}>>(&memory, 0u);`,
    `let sums4 = bufferView<array<vec4f, ${floats / 4}>>(&memory, 0u);`,
    `let marks = bufferView<array<i32, ${MARKS}>>(&memory, ${4 * marks}u);`,
    `let marks4 = bufferView<array<vec4i, ${MARKS / 4}>>(&memory, ${4 * marks}u);`,
    `let segments = bufferView<array<i32, ${block}>>(&memory, ${4 * (marks + MARKS)}u);`,
    `let strip = lane / ${SUBGROUP}u * ${SIDE}u;`,
    "let row = lane / 2u;",
    "let side = lane % 2u;",
  );
}

/** `name`: the least or greatest of a number of each invocation, known to be the same in all of them. */
export function ofAll(op: "min" | "max", name: string, value: string): string[] {
  return [
    `let ${name}_here = subgroup${op === "min" ? "Min" : "Max"}(${value});`,
    `if (lane % ${SUBGROUP}u == 0u) { marks[lane / ${SUBGROUP}u] = ${name}_here; }`,
    `let ${name}_4 = workgroupUniformLoad(&marks4[0]);`,
    `let ${name} = ${op}(${op}(${name}_4.x, ${name}_4.y), ${op}(${name}_4.z, ${name}_4.w));`,
  ];
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

/** Moves one after the other. */
export function together(all: readonly Moves[]): Moves {
  return {
    declare: all.flatMap((m) => m.declare),
    fetch: all.flatMap((m) => m.fetch),
    put: all.flatMap((m) => m.put),
  };
}

/** Scores of the owned rows with a block: matrices `score0`, … of `left`·operandᵀ, and from there into the strips of sums. */
export function scoresOf(l: Layout, left: string, operand: 0 | 1): string[] {
  const across = upTo(l.block / SIDE);
  const lines = across.map((j) => `var score${j} = subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>();`);
  for (const k of upTo(l.depth / SIDE)) {
    for (const j of across) {
      const at = l.operands[operand] + j * SIDE * l.pitch + k * SIDE;
      lines.push(
        "{",
        `  let r = subgroupMatrixLoad<subgroup_matrix_right<f16, ${SIDE}, ${SIDE}>, col_major>(halves, ${at}u, ${l.pitch}u);`,
        `  score${j} = subgroupMatrixMultiplyAccumulate(${left}${k}, r, score${j});`,
        "}",
      );
    }
  }
  return ["{", ...[...lines, ...across.map((j) => keep(l, `score${j}`, j))].map((t) => `  ${t}`), "}"];
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
