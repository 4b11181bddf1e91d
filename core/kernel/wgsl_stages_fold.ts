/**
 * The stages of a small group of features as one matrix, in WGSL: an invocation sends the unit vectors of its four outputs
 * through the transposed stages. Its blocks' products are what the cotangent of the blocks uses too. @module
 */
import { blockOf, type Stage, stageOffsets, stagePosition } from "../ir/lowering.ts";
import type { StagesForm } from "./kernel.ts";
import { PARTS, type Scope } from "./wgsl_expr.ts";
import { plus } from "./wgsl_operand.ts";
import { groupOf } from "./wgsl_stage.ts";

/**
 * Locals with the matrix of a group's stages, one vector for each input feature, which holds the coefficients of the four
 * outputs number `quad`: rows of the matrix come from unit vectors that go through the transposed stages.
 */
export function foldGroup(scope: Scope, body: StagesForm, quad: string): string[] {
  const { module } = scope, { stages } = body, name = module.fresh("quad"), order = stages.map((_, i) => i);
  scope.line(`let ${name} = ${quad};`);
  if (!body.transposed) order.reverse();
  const [first, second, ...rest] = order as [number, ...number[]];
  const own = fourOfBlock(scope, body, first, name);
  const met = own && second !== undefined
    ? meetingOf(stages[first]!, stages[second]!, groupOf(stages))
    : null;
  let values: readonly string[];
  if (own && met) values = mixMet(scope, body, second!, own, met);
  else {
    values = own ? spread(scope, body, first, own) : mixGroup(scope, body, first, units(scope, body, name));
    if (second !== undefined) values = mixGroup(scope, body, second, values);
  }
  for (const i of rest) values = mixGroup(scope, body, i, values);
  return [...values];
}

/** The unit vectors of four features: one vector for each feature of the group. */
function units(scope: Scope, body: StagesForm, quad: string): string[] {
  return Array.from({ length: groupOf(body.stages) }, (_, k) => {
    const value = scope.module.fresh("u");
    const one = [0, 1, 2, 3].map((i) => (i === k % 4 ? "1.0f" : "0.0f")).join(", ");
    scope.line(`let ${value} = select(vec4f(), vec4f(${one}), ${quad} == ${k >> 2}u);`);
    return value;
  });
}

/** What a stage makes of the unit vectors of four features that lie in one block. */
interface OfBlock {
  /** The number of the block in the group. */
  readonly n: string;
  /** The block's elements; all others are zero. */
  readonly values: readonly string[];
}

/** What stage `number` makes of the unit vectors of four features: their coefficients. Null where they lie in several blocks. */
function fourOfBlock(scope: Scope, body: StagesForm, number: number, quad: string): OfBlock | null {
  const { module } = scope, stage = body.stages[number]!, { radix, stride, piece } = stage;
  if (stride !== 1 && piece % 4 !== 0) return null;
  const block = blockOf(stage), span = radix * stride * piece, n = module.fresh("n"), k = module.fresh("k");
  scope.line(
    `let ${n} = ${quad} * 4u / ${span}u * ${stride}u + ${quad} * 4u / ${piece}u % ${stride}u;`,
    // The four are elements k to k + 3.
    stride === 1
      ? `let ${k} = ${quad} * 4u % ${block}u;`
      : `let ${k} = ${quad} * 4u / ${stride * piece}u % ${radix}u * ${piece}u + ${quad} * 4u % ${piece}u;`,
  );
  const read = (row: string, column: string): string => {
    const name = module.fresh("c"), within = `(${n} * ${block}u + ${row}) * ${block / 4}u + ${column}`;
    scope.line(
      `let ${name} = ${module.wideLoad(body.coefficients, `${firstOf(body, number)} + ${within}`)};`,
    );
    return name;
  };
  const columns = Array.from({ length: block }, (_, j) => j);
  if (body.transposed) return { n, values: columns.map((j) => read(`${j}u`, `${k} / 4u`)) };
  const values = columns.filter((j) => j % 4 === 0).flatMap((j) => {
    const rows = PARTS.map((_, i) => read(plus(k, i), `${j / 4}u`));
    return PARTS.map((part) => `vec4f(${rows.map((row) => `${row}.${part}`).join(", ")})`);
  });
  return { n, values: values.map((value) => named(scope, value)) };
}

/** All features of the group, those of other blocks zero. */
function spread(scope: Scope, body: StagesForm, number: number, { n, values }: OfBlock): string[] {
  const stage = body.stages[number]!, all: string[] = [];
  for (let other = 0; other < groupOf(body.stages) / blockOf(stage); other++) {
    values.forEach((value, j) => {
      const place = stagePosition(stage, other, j);
      all[place] = named(scope, `select(vec4f(), ${value}, ${n} == ${other}u)`);
    });
  }
  return all;
}

/**
 * How any block n of one stage meets the blocks of the next: block m of that one has `elements[m]` of it, in order, as its
 * own elements from `n · step` on.
 */
interface Meeting {
  readonly step: number;
  readonly elements: readonly (readonly number[])[];
}

/** Null where blocks do not all meet so, or not by four elements side by side. */
function meetingOf(one: Stage, next: Stage, group: number): Meeting | null {
  const block = blockOf(one), blocks = group / block, each = block / (group / blockOf(next));
  const step = blockOf(next) / blocks;
  const at = new Map<number, readonly [m: number, k: number]>();
  for (let m = 0; m < group / blockOf(next); m++) {
    for (let k = 0; k < blockOf(next); k++) at.set(stagePosition(next, m, k), [m, k]);
  }
  const elements = Array.from({ length: group / blockOf(next) }, (): number[] => []);
  for (let i = 0; i < block; i++) {
    const [m, k] = at.get(stagePosition(one, 0, i))!;
    for (let n = 0; n < blocks; n++) {
      const [other, place] = at.get(stagePosition(one, n, i))!;
      if (other !== m || place !== k + n * step) return null;
    }
    elements[m]![k] = i;
  }
  const isWhole = elements.every((of) => of.length === each && Object.keys(of).length === each);
  return isWhole && step % 4 === 0 && each % 4 === 0 ? { step, elements } : null;
}

/** Apply stage `number` to what the stage before made of four features' block. */
function mixMet(
  scope: Scope,
  body: StagesForm,
  number: number,
  { n, values }: OfBlock,
  { step, elements }: Meeting,
): string[] {
  const { module } = scope, stage = body.stages[number]!, block = blockOf(stage), ys: string[] = [];
  const base = named(
    scope,
    `${firstOf(body, number)} + ${n} * ${step * (body.transposed ? 1 : block) / 4}u`,
  );
  elements.forEach((of, m) => {
    const own = Array.from({ length: block }, (_, j) => ys[stagePosition(stage, m, j)] = module.fresh("y"));
    mixBlock(scope, {
      coefficients: body.coefficients,
      base: plus(base, m * block * block / 4),
      xs: of.map((i) => values[i]!),
      ys: own,
      ...{ transposed: !body.transposed, type: "vec4f" },
    });
  });
  return ys;
}

function named(scope: Scope, text: string): string {
  const name = scope.module.fresh("v");
  scope.line(`let ${name} = ${text};`);
  return name;
}

/** Where the coefficients of stage `number` for group `g` begin, in fours. */
export function firstOf(
  { stages, feature }: Pick<StagesForm, "stages" | "feature">,
  number: number,
): string {
  const each = groupOf(stages) * blockOf(stages[number]!);
  return plus(`g * ${each / 4}u`, stageOffsets(stages, feature.extent)[number]! / 4);
}

/** Apply stage `number` of group `g`, transposed, to the features in the locals `xs`, vectors of four; returns those of the result. */
function mixGroup(scope: Scope, body: StagesForm, number: number, xs: readonly string[]): string[] {
  const { module } = scope, stage = body.stages[number]!, block = blockOf(stage), group = xs.length;
  const base = module.fresh("b");
  scope.line(`let ${base} = ${firstOf(body, number)};`);
  const ys = xs.map(() => module.fresh("y"));
  for (let n = 0; n < group / block; n++) {
    const places = Array.from({ length: block }, (_, j) => stagePosition(stage, n, j));
    mixBlock(scope, {
      coefficients: body.coefficients,
      base: plus(base, n * block * block / 4),
      xs: places.map((p) => xs[p]!),
      ys: places.map((p) => ys[p]!),
      ...{ transposed: !body.transposed, type: "vec4f" },
    });
  }
  return ys;
}

/**
 * Define the locals `ys` as a block times the features in the locals `xs`, of this type, which are its first elements. Its
 * coefficients begin at `base`, in fours.
 */
export function mixBlock(scope: Scope, { coefficients, base, xs, ys, transposed, type }: {
  readonly coefficients: number;
  readonly base: string;
  readonly xs: readonly string[];
  readonly ys: readonly string[];
  readonly transposed: boolean;
  readonly type: "f32" | "vec4f";
}): void {
  const { module } = scope, block = ys.length;
  /** Elements [i, k] to [i, k + 3] of the block. */
  const read = (i: number, k: number): string => {
    const name = module.fresh("c");
    scope.line(`let ${name} = ${module.wideLoad(coefficients, plus(base, (i * block + k) / 4))};`);
    return name;
  };
  const fours = (length: number): number[] => Array.from({ length: length / 4 }, (_, i) => 4 * i);
  if (!transposed) {
    ys.forEach((y, j) => {
      const terms = fours(xs.length).flatMap((k) => {
        const c = read(j, k);
        return PARTS.map((part, i) => `${c}.${part} * ${xs[k + i]}`);
      });
      scope.line(`let ${y} = ${terms.join(" + ")};`);
    });
    return;
  }
  ys.forEach((y) => scope.line(`var ${y} = ${type}();`));
  xs.forEach((x, k) =>
    fours(block).forEach((j) => {
      const c = read(k, j);
      PARTS.forEach((part, i) => scope.line(`${ys[j + i]} += ${c}.${part} * ${x};`));
    })
  );
}
