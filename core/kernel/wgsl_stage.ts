/** One stage over features in workgroup memory: what the kernels of `stages` and of its cotangent share. @module */
import { blockOf, type Stage, stageOffsets } from "../ir/lowering.ts";
import { type Module, PARTS, type Scope } from "./wgsl_expr.ts";
import type { WgslLimits } from "./wgsl_memory.ts";

/**
 * Features `chunk · size` to `(chunk + 1) · size` mix only among themselves. An invocation `(p, own)` of a workgroup
 * handles positions p, p + lanes, … of them, for vector `own` of rows; a vector holds the same feature of `width` rows.
 */
export interface Chunk {
  readonly size: number;
  /** Chunks on the whole axis. */
  readonly count: number;
  /** Invocations along the features, and positions that each handles. */
  readonly lanes: number;
  readonly turns: number;
  /** Rows in a vector: 1, 2 or 4; and vectors of rows. */
  readonly width: number;
  readonly vectors: number;
}

const LANES = 256;

/** Features that the stages mix: a multiple of every stage's span. */
export function groupOf(stages: readonly Stage[]): number {
  return stages.map((s) => s.radix * s.stride * s.piece).reduce(lcm, 1);
}

/** Cut an axis of `d` features, where `tiles` arrays of a chunk's features must fit into workgroup memory. */
export function chunkOf(
  kernel: string,
  stages: readonly Stage[],
  d: number,
  rows: number,
  want: number,
  tiles: number,
  limits: WgslLimits,
): Chunk {
  const group = groupOf(stages);
  const most = Math.floor(limits.maxWorkgroupBytes / 4 / tiles);
  if (group > most) {
    throw new Error(
      `Kernel ${kernel} mixes ${group} features and workgroup memory holds ${most} of them; use fewer or smaller stages.`,
    );
  }
  let size = group;
  for (let next = 2 * group; next <= Math.min(want, most); next += group) if (d % next === 0) size = next;
  const lanes = Math.min(size, LANES, limits.maxInvocations);
  let width = rows >= 3 ? 4 : rows;
  while (width * size > most) width /= 2;
  const fitting = Math.min(
    Math.floor(LANES / lanes),
    Math.floor(most / (size * width)),
    Math.ceil(rows / width),
  );
  return {
    size,
    count: d / size,
    lanes,
    turns: Math.ceil(size / lanes),
    width,
    vectors: Math.max(1, fitting),
  };
}

function lcm(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y) [x, y] = [y, x % y];
  return a / x * b;
}

/** The WGSL type of a vector of rows. */
export function vectorType({ width }: Chunk): string {
  return width === 1 ? "f32" : `vec${width}f`;
}

/** A workgroup variable for the features of a chunk. */
export function tileOf(module: Module, chunk: Chunk, name: string): void {
  module.globals.push(`var<workgroup> ${name}: array<${vectorType(chunk)}, ${chunk.size * chunk.vectors}>;`);
}

/** For each position of an invocation: `position` is its place in the chunk, `turn` a literal number. */
export function eachTurn(scope: Scope, chunk: Chunk, body: (inner: Scope, turn: number) => void): void {
  for (let turn = 0; turn < chunk.turns; turn++) {
    const start = turn === 0 ? "p" : `p + ${turn * chunk.lanes}u`;
    const guard = (turn + 1) * chunk.lanes > chunk.size ? `if (${start} < ${chunk.size}u)` : "";
    scope.block(guard, {}, (inner) => {
      inner.line(`let position = ${start};`);
      body(inner, turn);
    });
  }
}

/** The vector of `call(row, f)` for the rows of an invocation; rows beyond the end repeat the last one. */
export function gatherRows(
  { width }: Chunk,
  rows: number,
  step: number,
  call: (row: string) => string,
): string {
  const texts = Array.from({ length: width }, (_, i) => {
    const row = i === 0 ? "row" : `row + ${i}u`;
    return call(rows % step === 0 ? row : `min(${row}, ${rows - 1}u)`);
  });
  return width === 1 ? texts[0]! : `vec${width}f(${texts.join(", ")})`;
}

/**
 * Statements that find, for `position`, its block `n` (numbered on the whole axis), its element `j` in it, and the
 * place `first` of the block's first element.
 */
export function locate(stage: Stage, chunk: Chunk): string[] {
  const { radix, stride, piece } = stage;
  const span = radix * stride * piece;
  return [
    `let inside = position / ${piece}u % ${stride}u;`,
    `let n = chunk * ${chunk.size / blockOf(stage)}u + position / ${span}u * ${stride}u + inside;`,
    `let j = position / ${stride * piece}u % ${radix}u * ${piece}u + position % ${piece}u;`,
    `let first = position / ${span}u * ${span}u + inside * ${piece}u;`,
  ];
}

/** Distance from a block's first element to its element `k`. */
export function legOffset({ stride, piece }: Stage, k: number): number {
  return Math.floor(k / piece) * stride * piece + k % piece;
}

/** Blocks up to this size are unrolled. */
const UNROLL = 16;

/** Whether a block's coefficients can be read four at a time: they are contiguous along the input, not transposed. */
export function readsInFours(stages: readonly Stage[], transposed: boolean): boolean {
  return !transposed && stages.every((s) => (blockOf(s) <= UNROLL ? blockOf(s) : s.piece) % 4 === 0);
}

/** Apply stage `number` to the features in `tile`, in place. All invocations must take part. */
export function mix(
  scope: Scope,
  chunk: Chunk,
  stages: readonly Stage[],
  number: number,
  coefficients: number,
  d: number,
  tile: string,
  transposed: boolean,
): void {
  const { module } = scope, stage = stages[number]!, { piece, radix, stride } = stage;
  const block = blockOf(stage), offset = stageOffsets(stages, d)[number]!;
  const type = vectorType(chunk);
  const step = module.wide.has(coefficients) ? 4 : 1;
  /** Adds products with elements k, k + 1, … of the block, which lie at `legs`. */
  const add = (into: Scope, y: string, k: string, legs: readonly string[]): void => {
    let at = `${offset}u + (n * ${block}u + j) * ${block}u + ${k}`;
    if (transposed) at = `${offset}u + (n * ${block}u + ${k}) * ${block}u + j`;
    const c = module.fresh("c");
    into.line(
      `let ${c} = ${
        step === 4 ? module.wideLoad(coefficients, `(${at}) / 4u`) : module.load(coefficients, at, "f32")
      };`,
    );
    legs.forEach((leg, i) => {
      const x = `${tile}[own * ${chunk.size}u + first + ${leg}]`;
      into.line(`${y} = fma(${type}(${step === 4 ? `${c}.${PARTS[i]}` : c}), ${x}, ${y});`);
    });
  };
  const some = Array.from({ length: step }, (_, i) => i);
  scope.block("", {}, (outer) => {
    for (let turn = 0; turn < chunk.turns; turn++) outer.line(`var y${turn} = ${type}();`);
    eachTurn(outer, chunk, (inner, turn) => {
      inner.line(...locate(stage, chunk));
      if (block <= UNROLL) {
        for (let k = 0; k < block; k += step) {
          add(
            inner,
            `y${turn}`,
            `${k}u`,
            some.map((i) => `${legOffset(stage, k + i)}u`),
          );
        }
        return;
      }
      const unroll = [8, 4, 3, 2, 1].find((u) => piece % u === 0)!;
      inner.line(`for (var leg = 0u; leg < ${radix}u; leg++) {`);
      inner.block(`for (var q = 0u; q < ${piece}u; q += ${unroll}u)`, {}, (loop) => {
        for (let k = 0; k < unroll; k += step) {
          const legs = some.map((i) => `leg * ${stride * piece}u + q + ${k + i}u`);
          add(loop, `y${turn}`, `(leg * ${piece}u + q + ${k}u)`, legs);
        }
      });
      inner.line("}");
    });
    outer.line("workgroupBarrier();");
    eachTurn(
      outer,
      chunk,
      (inner, turn) => inner.line(`${tile}[own * ${chunk.size}u + position] = y${turn};`),
    );
    outer.line("workgroupBarrier();");
  });
}

/** Define a function of the kernel `fn name(row, f) -> f32` or, with `returns` empty, one that stores. */
export function rowFunction(scope: Scope, head: string, lines: readonly string[]): void {
  scope.module.globals.push(`${head} {`, ...lines.map((l) => `  ${l}`), "}");
}
