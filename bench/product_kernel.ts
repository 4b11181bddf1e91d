/**
 * A product of two squares of halves on matrix units, as text, with parts left out: what is missing takes no time, and
 * shows so what bounds the rest. The way of the product's own printer (`core/kernel/wgsl_matrix.ts`) in its simplest form,
 * with other sizes, widths and orders to compare. @module
 */
import { MATRIX_DIRECTIVES } from "../core/kernel/wgsl_matrix.ts";
import { PAD, SIDE, SUBGROUP } from "../core/kernel/wgsl_tile.ts";

/** A kernel; what is not given is as in {@linkcode PRODUCT}. */
export interface ProductKernel {
  /** Results of a workgroup, 64 × 64 to a subgroup. */
  readonly rows: number;
  readonly cols: number;
  /** Steps of the inner axis in workgroup memory at a time. */
  readonly depth: number;
  /** Halves of one move: 4 or 8. */
  readonly vector: 4 | 8;
  /** Pieces of the operands that are on their way from memory: 1 or 2. */
  readonly ahead: 1 | 2;
  /** Whether rows that are written at once are apart, so that they are in different banks. */
  readonly apart: boolean;
  /** Bytes of workgroup memory at least. */
  readonly room: number;
  /** All pieces are among the first of each row: they come from the nearest cache. The result is wrong. */
  readonly near: boolean;
  /** What is left out. The result is wrong. */
  readonly without: "moves" | "products" | "barriers" | null;
}

/** The kernel that the others differ from. */
export const PRODUCT: ProductKernel = {
  ...{ rows: 128, cols: 128, depth: 32, vector: 4, ahead: 1, apart: true, room: 0 },
  ...{ near: false, without: null },
};

/** Rows and columns of a subgroup's results. */
const OWN = 64;

/** Text of c = a · b for squares of n × n, a and b row by row, and its grid. Sizes must divide n. */
export function productText(
  k: ProductKernel,
  n: number,
): { readonly code: string; readonly workgroups: number; readonly bytes: number } {
  const { rows, cols, depth, vector, ahead, without } = k;
  const lanes = rows / OWN * (cols / OWN) * SUBGROUP, across = n / cols;
  const pitches = { a: depth + PAD, b: cols + PAD }, second = rows * pitches.a;
  const bytes = Math.max(k.room, 2 * (second + depth * pitches.b));
  const type = vector === 8 ? "vec4<u32>" : "vec4<f16>";
  const moves = [...movesOf("a", rows, depth, lanes, k), ...movesOf("b", depth, cols, lanes, k)];
  const sums = upTo(OWN / SIDE).flatMap((i) => upTo(OWN / SIDE).map((j) => `c${i}_${j}`));
  const places = moves.map(({ name, of, row, column }) => {
    const from = of === "a"
      ? `(m0 + ${row}) * ${n / vector}u + ${column}`
      : `(${row}) * ${n / vector}u + n0 / ${vector}u + ${column}`;
    const base = of === "a" ? 0 : second / vector;
    return `let from_${name} = ${from}; let to_${name} = ${base}u + (${row}) * ${
      pitches[of] / vector
    }u + ${column};`;
  });
  const fetch = (set: number, at: string): string[] =>
    moves.map(({ name, of }) => {
      const step = of === "a" ? `(${at}) / ${vector}u` : `(${at}) * ${n / vector}u`;
      return `t${set}_${name} = ${of}[from_${name} + ${step}];`;
    });
  const piece = (offset: number): string => k.near ? `(k0 + ${offset}u) & 96u` : `k0 + ${offset}u`;
  const barrier = without === "barriers" ? [] : ["workgroupBarrier();"];
  const turn = (set: number): string[] => [
    ...(without === "moves" ? [] : moves.map(({ name }) => `quads[to_${name}] = t${set}_${name};`)),
    ...barrier,
    ...(without === "moves" ? [] : [
      `if (k0 + ${(ahead + set) * depth}u < ${n}u) {`,
      ...fetch(set, piece((ahead + set) * depth)),
      "}",
    ]),
    ...(without === "products" ? [] : products(depth, pitches, second)),
    ...barrier,
  ];
  const code = [
    ...MATRIX_DIRECTIVES,
    `@group(0) @binding(0) var<storage, read> a: array<${type}>;`,
    `@group(0) @binding(1) var<storage, read> b: array<${type}>;`,
    "@group(0) @binding(2) var<storage, read_write> c: array<f32>;",
    `var<workgroup> memory: buffer<${bytes}>;`,
    `@compute @workgroup_size(${lanes})`,
    "fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {",
    `let halves = bufferView<array<f16, ${bytes / 2}>>(&memory, 0u);`,
    `let quads = bufferView<array<${type}, ${bytes / 2 / vector}>>(&memory, 0u);`,
    `let m0 = group.x / ${across}u * ${rows}u;`,
    `let n0 = group.x % ${across}u * ${cols}u;`,
    `let ms = lane / ${SUBGROUP}u / ${cols / OWN}u * ${OWN}u;`,
    `let ns = lane / ${SUBGROUP}u % ${cols / OWN}u * ${OWN}u;`,
    ...sums.map((sum) => `var ${sum}: subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>;`),
    ...places,
    ...upTo(ahead).flatMap((set) => moves.map(({ name }) => `var t${set}_${name}: ${type};`)),
    "var k0 = 0u;",
    ...upTo(ahead).flatMap((set) => fetch(set, `${set * depth}u`)),
    "loop {",
    ...upTo(ahead).flatMap(turn),
    `k0 += ${ahead * depth}u;`,
    `if (k0 >= ${n}u) { break; }`,
    "}",
    ...sums.map((sum) => {
      const [i, j] = sum.slice(1).split("_").map((x) => Number(x) * SIDE);
      return `subgroupMatrixStore<row_major>(&c, (m0 + ms + ${i}u) * ${n}u + n0 + ns + ${j}u, ${sum}, ${n}u);`;
    }),
    "}",
    "",
  ].join("\n");
  return { code, workgroups: across * (n / rows), bytes };
}

interface Move {
  readonly name: string;
  readonly of: "a" | "b";
  /** Row, and vector within it, of the piece. */
  readonly row: string;
  readonly column: string;
}

/** What each invocation moves of an operand's piece of `rows` × `width`. */
function movesOf(
  of: "a" | "b",
  rows: number,
  width: number,
  lanes: number,
  { vector, apart }: ProductKernel,
): Move[] {
  const per = width / vector, row = `(lane / ${per}u)`;
  const swapped = apart && 2 * width < 128
    ? `((${row} & ~7u) | ((${row} & 1u) << 2u) | ((${row} >> 1u) & 3u))`
    : row;
  return upTo(rows * per / lanes).map((i) => ({
    ...{ name: `${of}${i}`, of, row: `${swapped} + ${i * lanes / per}u`, column: `lane % ${per}u` },
  }));
}

function products(
  depth: number,
  pitches: { readonly a: number; readonly b: number },
  second: number,
): string[] {
  const load = (side: string, at: string, pitch: number): string =>
    `subgroupMatrixLoad<subgroup_matrix_${side}<f16, ${SIDE}, ${SIDE}>, row_major>(halves, ${at}, ${pitch}u)`;
  return upTo(depth / SIDE).flatMap((step) => [
    "{",
    ...upTo(OWN / SIDE).map((i) =>
      `let l${i} = ${load("left", `(ms + ${i * SIDE}u) * ${pitches.a}u + ${step * SIDE}u`, pitches.a)};`
    ),
    ...upTo(OWN / SIDE).flatMap((j) => [
      `{ let r = ${load("right", `${second + step * SIDE * pitches.b}u + ns + ${j * SIDE}u`, pitches.b)};`,
      ...upTo(OWN / SIDE).map((i) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(l${i}, r, c${i}_${j});`),
      "}",
    ]),
    "}",
  ]);
}

function upTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}
