/**
 * Rows of `stages` in small groups, where invocations of a subgroup can hand each other numbers: each reads its four
 * features once and gets the rest of the group from its neighbours. Nothing waits for a workgroup then, nor takes
 * workgroup memory, of which a processor has room for few workgroups; rows are asked for while those before them are
 * multiplied, so that memory is what bounds it. Drivers put the invocations of a workgroup of one dimension into subgroups
 * in their order. All take part in every row: one beyond the end reads the last, and is not stored. @module
 */
import { extentOf, type StagesForm, type Store } from "./kernel.ts";
import { PARTS, Scope } from "./wgsl_expr.ts";
import type { WgslLimits } from "./wgsl_memory.ts";
import { plus } from "./wgsl_operand.ts";
import { rowFunction } from "./wgsl_stage.ts";
import type { Rows, Spread } from "./wgsl_stages_own.ts";
import { foldGroup } from "./wgsl_stages_fold.ts";

/**
 * Rows that an invocation asks for at a time. With those that it multiplies and 16 vectors of the matrix it has about 120
 * registers, so that an H200 runs 16 subgroups on a processor, with 32 KiB on their way to each.
 */
const TOGETHER = 4;
/**
 * Rows of an invocation at most: folding costs as much as four of them, and large parts leave processors idle at the end.
 * [2048, 8192] takes 41 µs on an H200 with 64 rows, and 46 with 32.
 */
const ROWS = 64;
/** Workgroups for each processor, as far as there are rows. */
const BUSY = 4;

/** Whether the invocations of a group of features can hand each other numbers. */
export function canShuffle({ subgroup }: WgslLimits, quads: number): boolean {
  // Partners are found by flipping bits of their numbers.
  return quads === 1 || (subgroup !== null && (quads & (quads - 1)) === 0 && subgroup.size % quads === 0);
}

/** Rows of an invocation, and how many of them it asks for at a time, where `chunks · teams` share each row. */
export function shuffledRows(
  rows: number,
  chunks: number,
  teams: number,
  { busyWorkgroups }: WgslLimits,
): Pick<Spread, "own" | "together"> {
  const together = Math.min(TOGETHER, rows);
  const wanted = Math.ceil(rows * chunks / (BUSY * busyWorkgroups * teams) / together);
  const most = Math.max(1, Math.min(Math.floor(ROWS / together), wanted));
  // Where all have the same number of rows, none needs to ask whether one is there.
  const times = Array.from({ length: Math.ceil(most / 2) }, (_, i) => most - i);
  return { together, own: together * (times.find((n) => rows % (teams * together * n) === 0) ?? most) };
}

/** Multiply and store the rows from `start` on. */
export function shuffleRows(
  scope: Scope,
  body: StagesForm,
  { quads, spread, read, stores, isWhole }: Rows,
): void {
  const { own, together } = spread;
  const { module } = scope, each = Array.from({ length: together }, (_, i) => i);
  if (quads > 1) module.directives = module.limits.subgroup!.directives;
  storeAll(scope, stores, together, isWhole ? null : extentOf(body.outer));
  scope.line(...each.map((i) => `var q${i} = ${read(plus("start", i))};`));
  const matrix = byDistance(scope, foldGroup(scope, body, `f4 % ${quads}u`), quads);
  scope.block(`for (var r = 0u; r < ${own}u; r += ${together}u)`, {}, (loop) => {
    loop.line(...each.map((i) => `let x${i}_0 = q${i};`));
    if (own > together) {
      // The last ones again, at the end: behind a condition, drivers would wait for what is computed of them.
      loop.line(
        `let next = start + min(r + ${together}u, ${own - together}u);`,
        ...each.map((i) => `q${i} = ${read(plus("next", i))};`),
      );
    }
    for (const i of each) {
      for (let q = 1; q < quads; q++) loop.line(`let x${i}_${q} = subgroupShuffleXor(x${i}_0, ${q}u);`);
      const terms = matrix.map((column, k) => `${column} * x${i}_${k >> 2}.${PARTS[k & 3]}`);
      loop.line(`let y${i}_0 = ${terms.join(" + ")};`);
    }
    loop.line(`store(start + r, f4, ${each.map((i) => `y${i}_0`).join(", ")});`);
  });
}

/**
 * Define `store(row, f4, …)` for so many rows from `row` on, of which only those below `rows` are there. Whatever the
 * stores read is asked for before the first of them, as drivers do not take a read over a write.
 */
function storeAll(
  scope: Scope,
  stores: readonly (readonly Store[])[],
  count: number,
  rows: number | null,
): void {
  const values: string[] = [], statements: string[] = [];
  for (let i = 0; i < count; i++) {
    const at = plus("row", i);
    const y = new Scope(scope.module, {
      vars: { row: `row${i}`, f: "f4" },
      accs: new Map([[0, PARTS.map((p) => `result${i}.${p}`)]]),
    });
    y.line(`let row${i} = ${rows === null ? at : `min(${at}, ${rows - 1}u)`};`);
    const own = y.storing(stores);
    values.push(...y.lines);
    statements.push(...(rows === null ? own : [`if (${at} < ${rows}u) {`, ...own.map((s) => `  ${s}`), "}"]));
  }
  const results = Array.from({ length: count }, (_, i) => `result${i}: vec4f`);
  rowFunction(scope, `fn store(row: u32, f4: u32, ${results.join(", ")})`, [...values, ...statements]);
}

/** The columns of an invocation's own four features, then those of the neighbour whose number differs in bit 0, and so on. */
function byDistance(scope: Scope, columns: readonly string[], quads: number): readonly string[] {
  let names = columns;
  for (let bit = 1; bit < quads; bit *= 2) {
    const flips = scope.module.fresh("flips"), from = names;
    scope.line(`let ${flips} = (f4 & ${bit}u) != 0u;`);
    names = from.map((name, k) => {
      const moved = scope.module.fresh("m");
      scope.line(`let ${moved} = select(${name}, ${from[k ^ (4 * bit)]}, ${flips});`);
      return moved;
    });
  }
  return names;
}
