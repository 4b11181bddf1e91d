/**
 * Cotangent of small blocks where invocations of a subgroup can hand each other numbers, in WGSL: each reads four features
 * of both sides once and gets the rest of the group's from its neighbours. A workgroup takes several groups side by side,
 * so that what it reads of a row is long, and its rows are asked for while those before them are multiplied. Sums meet
 * within subgroups first, by shuffles, so that few are left for workgroup memory. All additions are in a fixed order.
 * @module
 */
import { extentOf, type StagesGradForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import { PARTS, type Scope } from "./wgsl_expr.ts";
import type { WgslLimits } from "./wgsl_memory.ts";
import { plus } from "./wgsl_operand.ts";
import { groupOf } from "./wgsl_stage.ts";
import { backFloats, bringBack, canBringBack, pitchOf } from "./wgsl_stages_back.ts";
import { canShuffle } from "./wgsl_stages_shuffle.ts";

/** Invocations of a workgroup: with their sums they fill the registers of an H200's processor, and half as many for larger groups. */
const LANES = 512, SMALL_GROUP = 16;
/** Rows that an invocation asks for at a time. */
const TOGETHER = 2;
/** Bytes of workgroup memory in which sums meet. */
const MEETING = 24576;
/** Workgroups are as wide as they can be without processors having this many times more to do. */
const SLACK = 1.15;

/** How a cotangent is spread over invocations. */
interface Spread {
  readonly lanes: number;
  /** Groups side by side in a workgroup, and vectors of four features of these. */
  readonly groups: number;
  readonly across: number;
  /** Invocations of a subgroup, and vectors of sums that meet in workgroup memory at a time. */
  readonly size: number;
  readonly atOnce: number;
}

/** Null where subgroups cannot do it. */
export function shuffledGrad(limits: WgslLimits, { stages, feature }: StagesGradForm): Spread | null {
  const { subgroup, maxInvocations, busyWorkgroups } = limits;
  if (subgroup === null) return null;
  const { size } = subgroup, group = groupOf(stages), quads = group / 4;
  const most = group > SMALL_GROUP ? LANES / 2 : LANES;
  const lanes = 2 ** Math.floor(Math.log2(Math.min(most, maxInvocations)));
  if (!canShuffle(limits, quads) || !Number.isInteger(Math.log2(size)) || lanes % size !== 0) return null;
  // As wide as a whole subgroup, sums would be in too many places to meet in few rounds.
  const count = feature.extent / group, steps = Math.max(1, Math.log2(size / quads));
  const widths = Array.from({ length: steps }, (_, i) => 2 ** i)
    .filter((groups) => count % groups === 0 && canBringBack(stages, lanes / groups));
  /** Groups that a processor takes one after the other. */
  const turns = (groups: number): number => groups * Math.ceil(count / groups / busyWorkgroups);
  const fewest = Math.min(...widths.map(turns));
  const groups = widths.findLast((wide) => turns(wide) <= SLACK * fewest);
  if (groups === undefined) return null;
  const across = groups * quads, room = Math.min(MEETING, limits.maxWorkgroupBytes) / 4;
  for (let atOnce = group; atOnce >= 1; atOnce /= 2) {
    const spread = { lanes, groups, across, size, atOnce };
    if (4 * atOnce * across <= lanes && floatsOf(stages, spread) <= room) return spread;
  }
  return null;
}

/** Floats between the sums of one part of a vector and those of the next: against bank conflicts, one place more than needed. */
function strideOf({ lanes, size, across }: Spread): number {
  return (lanes / size + 1) * across;
}

function sharesOf(stages: StagesGradForm["stages"], of: Spread): number {
  return Math.max(4 * of.atOnce * strideOf(of), of.groups * backFloats(stages).shares);
}

function floatsOf(stages: StagesGradForm["stages"], of: Spread): number {
  return sharesOf(stages, of) + of.groups * backFloats(stages).whole;
}

/** Print it; `load_x` and `load_ct` are defined. */
export function shuffleGrad(scope: Scope, body: StagesGradForm, spread: Spread): Grid {
  const { module } = scope, { stages } = body, { lanes, groups, across, size } = spread;
  module.directives = module.limits.subgroup!.directives;
  module.globals.push(
    `var<workgroup> shares: array<f32, ${sharesOf(stages, spread)}>;`,
    `var<workgroup> whole: array<f32, ${groups * backFloats(stages).whole}>;`,
  );
  const group = groupOf(stages);
  scope.line(
    `let quad = lane % ${across}u;`,
    `let own = lane / ${across}u;`,
    `let f4 = unit * ${across}u + quad;`,
    ...Array.from({ length: group }, (_, k) => `var a${k} = vec4f();`),
  );
  sumRows(scope, extentOf(body.outer), group / 4, lanes / across);
  for (let apart = across; apart < size; apart *= 2) {
    for (let k = 0; k < group; k++) scope.line(`a${k} += subgroupShuffleXor(a${k}, ${apart}u);`);
  }
  meet(scope, group, spread);
  const each = lanes / groups;
  scope.line(
    `let team = lane / ${each}u;`,
    `let back = lane % ${each}u;`,
    `let g = unit * ${groups}u + team;`,
  );
  bringBack(scope, body, { lane: "back", lanes: each, groups });
  return { units: body.feature.extent / group / groups, lanes };
}

/**
 * Sums over an invocation's rows, each `along` after the one before: `a3` holds the products of its four features of `ct`
 * with feature 3 of `x`; those of the neighbour whose number differs in bit 0 begin with `a4`, and so on.
 */
function sumRows(scope: Scope, rows: number, quads: number, along: number): void {
  const step = TOGETHER * along, turns = Math.ceil(rows / step), isWhole = rows % step === 0;
  const each = Array.from({ length: TOGETHER }, (_, i) => i);
  const fetch = (from: string): string[] =>
    each.flatMap((i) => {
      const row = plus(from, i * along),
        at = isWhole ? row : `min(${row}, ${rows - 1}u)`,
        ct = `load_ct(${at}, f4)`;
      // Rows beyond the end must not count.
      return [
        `p${i} = load_x(${at}, f4);`,
        `q${i} = ${isWhole ? ct : `select(vec4f(), ${ct}, ${row} < ${rows}u)`};`,
      ];
    });
  scope.line(...each.flatMap((i) => [`var p${i}: vec4f;`, `var q${i}: vec4f;`]), ...fetch("own"));
  // All invocations take as many turns: they need each other in every one.
  scope.block(`for (var r = 0u; r < ${turns * step}u; r += ${step}u)`, {}, (loop) => {
    loop.line(...each.flatMap((i) => [`let x${i}_0 = p${i};`, `let c${i} = q${i};`]));
    if (turns > 1) {
      // The last ones again, at the end: behind a condition, drivers would wait for what is computed of them.
      loop.line(`let next = own + min(r + ${step}u, ${(turns - 1) * step}u);`, ...fetch("next"));
    }
    for (const i of each) {
      for (let q = 0; q < quads; q++) {
        if (q > 0) loop.line(`let x${i}_${q} = subgroupShuffleXor(x${i}_0, ${q}u);`);
        PARTS.forEach((part, j) => loop.line(`a${4 * q + j} += c${i} * x${i}_${q}.${part};`));
      }
    }
  });
}

/** Add up the sums of all subgroups in `whole`, the matrices [ct, x] of the groups. */
function meet(scope: Scope, group: number, spread: Spread): void {
  const { lanes, groups, across, size, atOnce } = spread, quads = group / 4, pitch = pitchOf(group);
  const stride = strideOf(spread),
    floats = 4 * atOnce,
    subgroups = lanes / size,
    some = Math.min(8, subgroups);
  const before = groups === 1 ? "" : `quad / ${quads}u * ${group * pitch}u + `;
  for (let from = 0; from < group; from += atOnce) {
    if (from > 0) scope.line("workgroupBarrier();");
    // All of a subgroup have the same sums.
    scope.block(`if (lane % ${size}u < ${across}u)`, {}, (one) => {
      one.line(`let place = lane / ${size}u * ${across}u + quad;`);
      for (let f = 0; f < floats; f++) {
        one.line(`shares[${plus("place", f * stride)}] = a${from + (f >> 2)}.${PARTS[f & 3]};`);
      }
    });
    scope.line("workgroupBarrier();");
    const guard = floats * across < lanes ? `if (own < ${floats}u)` : "";
    scope.block(guard, {}, (one) => {
      one.line("var total = 0.0f;");
      one.block(`for (var s = 0u; s < ${subgroups}u; s += ${some}u)`, {}, (loop) => {
        const at = `own * ${stride}u + quad + s * ${across}u`;
        const all = Array.from({ length: some }, (_, i) => `shares[${plus(at, i * across)}]`);
        loop.line(`total += ${all.join(" + ")};`);
      });
      one.line(
        `let k = ${plus("own / 4u", from)};`,
        `let row = quad % ${quads}u * 4u + own % 4u;`,
        `let column = ((quad % ${quads}u) ^ (k / 4u)) * 4u + k % 4u;`,
        `whole[${before}row * ${pitch}u + column] = total;`,
      );
    });
  }
  scope.line("workgroupBarrier();");
}
