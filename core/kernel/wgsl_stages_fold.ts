/**
 * The stages of a small group of features as one matrix, in WGSL: an invocation sends the unit vectors of its four outputs
 * through the transposed stages. Its blocks' products are what the cotangent of the blocks uses too. @module
 */
import { blockOf, stageOffsets, stagePosition } from "../ir/lowering.ts";
import type { StagesForm } from "./kernel.ts";
import { PARTS, type Scope } from "./wgsl_expr.ts";
import { plus } from "./wgsl_operand.ts";
import { groupOf } from "./wgsl_stage.ts";

/**
 * Locals with the matrix of a group's stages, one vector for each input feature, which holds the coefficients of the four
 * outputs number `quad`: rows of the matrix come from unit vectors that go through the transposed stages.
 */
export function foldGroup(scope: Scope, body: StagesForm, quad: string): string[] {
  const name = scope.module.fresh("quad"), order = body.stages.map((_, i) => i);
  scope.line(`let ${name} = ${quad};`);
  if (!body.transposed) order.reverse();
  const [first, ...rest] = order as [number, ...number[]];
  let values = mixUnits(scope, body, first, name);
  for (const i of rest) values = mixGroup(scope, body, i, values, !body.transposed);
  return values;
}

/** What stage `number` makes of the unit vectors of four features: their coefficients in its block, zeros elsewhere. */
function mixUnits(scope: Scope, body: StagesForm, number: number, quad: string): string[] {
  const { module } = scope, stage = body.stages[number]!, { radix, stride, piece } = stage;
  const block = blockOf(stage), group = groupOf(body.stages), span = radix * stride * piece;
  if (stride !== 1 && piece % 4 !== 0) {
    const units = Array.from({ length: group }, (_, k) => {
      const value = module.fresh("u");
      const one = [0, 1, 2, 3].map((i) => (i === k % 4 ? "1.0f" : "0.0f")).join(", ");
      scope.line(`let ${value} = select(vec4f(), vec4f(${one}), ${quad} == ${k >> 2}u);`);
      return value;
    });
    return mixGroup(scope, body, number, units, !body.transposed);
  }
  // The four features are elements k to k + 3 of one block.
  const n = module.fresh("n"), k = module.fresh("k");
  scope.line(
    `let ${n} = ${quad} * 4u / ${span}u * ${stride}u + ${quad} * 4u / ${piece}u % ${stride}u;`,
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
  const found = body.transposed ? columns.map((j) => read(`${j}u`, `${k} / 4u`)) : columns
    .filter((j) => j % 4 === 0)
    .flatMap((j) => {
      const rows = PARTS.map((_, i) => read(plus(k, i), `${j / 4}u`));
      return PARTS.map((part) => `vec4f(${rows.map((row) => `${row}.${part}`).join(", ")})`);
    });
  const ys: string[] = [];
  for (let other = 0; other < group / block; other++) {
    columns.forEach((j) => {
      const y = ys[stagePosition(stage, other, j)] = module.fresh("y");
      scope.line(`let ${y} = select(vec4f(), ${found[j]}, ${n} == ${other}u);`);
    });
  }
  return ys;
}

/** Where the coefficients of stage `number` for group `g` begin, in fours. */
export function firstOf(
  { stages, feature }: Pick<StagesForm, "stages" | "feature">,
  number: number,
): string {
  const each = groupOf(stages) * blockOf(stages[number]!);
  return plus(`g * ${each / 4}u`, stageOffsets(stages, feature.extent)[number]! / 4);
}

/** Apply stage `number` of group `g` to the features in the locals `xs`, vectors of four; returns the locals of the result. */
function mixGroup(
  scope: Scope,
  body: StagesForm,
  number: number,
  xs: readonly string[],
  transposed: boolean,
): string[] {
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
      ...{ transposed, type: "vec4f" },
    });
  }
  return ys;
}

/** Define the locals `ys` as the features in the locals `xs`, of this type, times the block whose coefficients begin at `base`, in fours. */
export function mixBlock(scope: Scope, { coefficients, base, xs, ys, transposed, type }: {
  readonly coefficients: number;
  readonly base: string;
  readonly xs: readonly string[];
  readonly ys: readonly string[];
  readonly transposed: boolean;
  readonly type: "f32" | "vec4f";
}): void {
  const { module } = scope, block = xs.length;
  /** Elements [i, k] to [i, k + 3] of the block. */
  const read = (i: number, k: number): string => {
    const name = module.fresh("c");
    scope.line(`let ${name} = ${module.wideLoad(coefficients, plus(base, (i * block + k) / 4))};`);
    return name;
  };
  const eachFour = Array.from({ length: block / 4 }, (_, i) => 4 * i);
  if (!transposed) {
    ys.forEach((y, j) => {
      const terms = eachFour.flatMap((k) => {
        const c = read(j, k);
        return PARTS.map((part, i) => `${c}.${part} * ${xs[k + i]}`);
      });
      scope.line(`let ${y} = ${terms.join(" + ")};`);
    });
    return;
  }
  ys.forEach((y) => scope.line(`var ${y} = ${type}();`));
  xs.forEach((x, k) =>
    eachFour.forEach((j) => {
      const c = read(k, j);
      PARTS.forEach((part, i) => scope.line(`${ys[j + i]} += ${c}.${part} * ${x};`));
    })
  );
}
