/**
 * The way back of a cotangent through the stages of small groups, in WGSL: from that of a group's matrix, in workgroup
 * memory, to those of the stages' blocks. @module
 */
import { blockOf, type Stage, stageOffsets } from "../ir/lowering.ts";
import type { StagesGradForm } from "./kernel.ts";
import type { Scope } from "./wgsl_expr.ts";
import { plus } from "./wgsl_operand.ts";
import { groupOf, legOffset } from "./wgsl_stage.ts";
import { firstOf, mixBlock } from "./wgsl_stages_fold.ts";

/** Floats from one row of a group's matrix in workgroup memory to the next, against bank conflicts. */
export const pitchOf = (group: number): number => group + 1;

/** The invocations that work on group `g`. */
export interface Team {
  /** Text of an invocation's number among them, and how many they are: one for each line of each stage's matrix at least. */
  readonly lane: string;
  readonly lanes: number;
  /** Groups of a workgroup; where there are several, the local `team` says which one this is. */
  readonly groups: number;
}

/** Whether so many invocations are enough for a group. */
export function canBringBack(stages: readonly Stage[], lanes: number): boolean {
  return stages.length * groupOf(stages) <= lanes;
}

/** Floats that a group takes of the workgroup's `whole`, where its matrix [ct, x] is, and of `shares`, which may be in use before. */
export function backFloats(stages: readonly Stage[]): { readonly whole: number; readonly shares: number } {
  const size = groupOf(stages) * pitchOf(groupOf(stages));
  return { whole: size, shares: (stages.length - 1) * size };
}

/**
 * Each stage's share of the matrix: its rows go forward through the stages before, its columns back through those after,
 * and what lies in the stage's blocks is its cotangent. Stages are worked on side by side.
 */
export function bringBack(scope: Scope, body: StagesGradForm, { lane, lanes, groups }: Team): void {
  const { module } = scope, { stages } = body, group = groupOf(stages), pitch = pitchOf(group);
  const last = stages.length - 1, size = group * pitch;
  const before = (sizes: number): string => (groups === 1 ? "" : `team * ${sizes * size}u + `);
  const place = (i: number, at: string): string =>
    i === 0 ? `whole[${before(1)}${at}]` : `shares[${before(last)}${plus(at, (i - 1) * size)}]`;
  scope.line(`let part = ${lane} / ${group}u;`, `let line = ${lane} % ${group}u;`);
  for (let i = 1; i <= last; i++) {
    scope.block(`if (part == ${i}u)`, {}, (inner) => {
      const row = (k: string): string => `line * ${pitch}u + ${k}`;
      for (let s = 0; s < i; s++) {
        mixLine(inner, body, s, false, (k) => place(s === 0 ? 0 : i, row(k)), (k) => place(i, row(k)));
      }
    });
  }
  scope.line("workgroupBarrier();");
  for (let i = 0; i < last; i++) {
    scope.block(`if (part == ${i}u)`, {}, (inner) => {
      const column = (j: string): string => place(i, `line + (${j}) * ${pitch}u`);
      for (let s = last; s > i; s--) mixLine(inner, body, s, true, column, column);
    });
  }
  scope.line("workgroupBarrier();");
  const offsets = stageOffsets(stages, body.feature.extent);
  stages.forEach((stage, i) => {
    const block = blockOf(stage), size = group * block;
    for (let done = 0; done < size; done += lanes) {
      scope.block(done + lanes > size ? `if (${plus(lane, done)} < ${size}u)` : "", {}, (inner) => {
        inner.line(
          `let e = ${plus(lane, done)};`,
          `let n = e / ${block * block}u;`,
          `let j = e / ${block}u % ${block}u;`,
          `let k = e % ${block}u;`,
        );
        const value = place(i, `(${position(stage, "j")}) * ${pitch}u + ${position(stage, "k")}`);
        inner.line(module.store(body.out, `${offsets[i]}u + g * ${size}u + e`, value, "f32"));
      });
    }
  });
}

/** Apply stage `number` to one line of a group's matrix in workgroup memory, block by block. */
function mixLine(
  scope: Scope,
  body: StagesGradForm,
  number: number,
  transposed: boolean,
  from: (k: string) => string,
  to: (k: string) => string,
): void {
  const { module } = scope, stage = body.stages[number]!, { radix, stride, piece } = stage;
  const block = blockOf(stage), group = groupOf(body.stages);
  scope.block(`for (var n = 0u; n < ${group / block}u; n++)`, {}, (one) => {
    const at = Array.from({ length: block }, (_, k) => plus("first", legOffset(stage, k)));
    const xs = at.map(() => module.fresh("x")), ys = at.map(() => module.fresh("y"));
    one.line(
      `let first = (n / ${stride}u * ${radix * stride}u + n % ${stride}u) * ${piece}u;`,
      `let base = ${firstOf(body, number)} + n * ${block * block / 4}u;`,
      ...at.map((k, i) => `let ${xs[i]} = ${from(k)};`),
    );
    mixBlock(one, { coefficients: body.coefficients, base: "base", xs, ys, transposed, type: "f32" });
    one.line(...at.map((k, i) => `${to(k)} = ${ys[i]};`));
  });
}

/** Where element `j` of the group's block `n` lies in the group. */
function position({ radix, stride, piece }: Stage, j: string): string {
  return `((n / ${stride}u * ${radix}u + ${j} / ${piece}u) * ${stride}u + n % ${stride}u) * ${piece}u + ${j} % ${piece}u`;
}
