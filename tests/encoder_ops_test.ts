/** The normal distribution and the exact GELU against tabulated values. @module */
import { assert } from "@std/assert";
import { evaluate } from "../core/eval/mod.ts";
import { aval, input, linearise, type Tensor } from "../core/ir/mod.ts";
import { interpretPlan, makePlan } from "../core/plan/mod.ts";
import { geluExact, normalCdf } from "../ops/mod.ts";

// From scipy 1.17.1, scipy.special.ndtr.
const TABLE: readonly (readonly [x: number, cdf: number])[] = [
  [-9, 1.1285884059538324e-19],
  [-5, 2.866515718791933e-7],
  [-3, 0.0013498980316300933],
  [-1.25, 0.10564977366685535],
  [-0.1, 0.460172162722971],
  [0, 0.5],
  [0.5, 0.6914624612740131],
  [2, 0.9772498680518208],
  [3.5, 0.9997673709209645],
];

const OPS:
  readonly (readonly [name: string, f: (x: Tensor) => Tensor, of: (x: number, cdf: number) => number])[] = [
    ["normalCdf", normalCdf, (_, cdf) => cdf],
    ["geluExact", geluExact, (x, cdf) => x * cdf],
  ];

for (const [name, f, of] of OPS) {
  Deno.test(`${name}: the reference is that of scipy, the kernel is to 11 digits, of small tails too`, () => {
    const x = input(aval([TABLE.length]), "x"), y = f(x);
    const values = Float64Array.from(TABLE, ([at]) => at);
    const [reference] = evaluate([y], new Map([[x, values]]));
    const [kernel] = interpretPlan(makePlan(linearise([x], [y]), { maxSlots: 8 }), [values]);
    TABLE.forEach(([at, cdf], i) => {
      const expected = of(at, cdf);
      // The reference takes small values from ½: it is good to the rounding of ½ there.
      const gap = Math.abs(reference![i]! - expected);
      assert(gap <= 1e-15 * Math.max(1, Math.abs(at)), `reference at ${at}: ${gap}`);
      assert(
        Math.abs(kernel![i]! - expected) <= 3e-11 * Math.abs(expected),
        `kernel at ${at}: ${kernel![i]}, ${expected} expected`,
      );
    });
  });
}
