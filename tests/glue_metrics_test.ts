/** GLUE's metrics beside numbers of other implementations, their identities. @module */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import {
  accuracy,
  averageRanks,
  f1,
  matthews,
  METRICS,
  pearson,
  spearman,
} from "../train/evaluation/glue_metrics.ts";
import { GLUE_TASKS, glueScores } from "../train/evaluation/glue_tasks.ts";

// From scikit-learn 1.9.1 (accuracy, F1, Matthews) and scipy 1.17.1 (correlations).
Deno.test("metrics equal those of scikit-learn and scipy", () => {
  const p = [1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0], t = [1, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0];
  assertAlmostEquals(accuracy(p, t), 0.6363636363636364, 1e-15);
  assertAlmostEquals(f1(p, t), 0.6666666666666666, 1e-15);
  assertAlmostEquals(matthews(p, t), 0.3105295017040594, 1e-15);
  const p3 = [0, 1, 2, 2, 1, 0, 2, 1, 0], t3 = [0, 1, 2, 1, 1, 0, 2, 0, 0];
  assertAlmostEquals(accuracy(p3, t3), 0.7777777777777778, 1e-15);
  assertAlmostEquals(matthews(p3, t3), 0.6793662204867574, 1e-15);
  const x = [2.5, 0.1, 4.75, 3, 3, 1.2, 5.3, 3, -0.2], y = [3, 0, 5, 2.6, 3.8, 1, 5, 3.8, 1];
  assertAlmostEquals(pearson(x, y), 0.9529410312392999, 1e-14);
  assertAlmostEquals(spearman(x, y), 0.918463394680545, 1e-14);
  assertEquals(averageRanks(x), [4, 2, 8, 6, 6, 3, 9, 6, 1]);
});

Deno.test("identities: Matthews's is Pearson's of two classes, Spearman's sees only the order, F1 is 2PR / (P + R)", () => {
  const rows = (value: fc.Arbitrary<number>) =>
    fc.array(fc.tuple(value, value), { minLength: 2, maxLength: 40 });
  const apart = (list: readonly (readonly [number, number])[]): [number[], number[]] => [
    list.map(([a]) => a),
    list.map(([, b]) => b),
  ];
  fc.assert(fc.property(rows(fc.integer({ min: 0, max: 1 })), (list) => {
    const [p, t] = apart(list), both = pearson(p, t);
    assertAlmostEquals(matthews(p, t), Number.isNaN(both) ? 0 : both, 1e-12);
    const hits = list.filter(([a, b]) => a === 1 && b === 1).length;
    const precision = hits / p.filter((a) => a === 1).length, recall = hits / t.filter((b) => b === 1).length;
    if (hits > 0) assertAlmostEquals(f1(p, t), 2 * precision * recall / (precision + recall), 1e-12);
    else assertEquals(f1(p, t), 0);
  }));
  fc.assert(fc.property(rows(fc.integer({ min: -9, max: 9 })), (list) => {
    const [p, t] = apart(list), stretched = p.map((x) => x ** 3 + 5 * x);
    const before = spearman(p, t), after = spearman(stretched, t);
    assert(Number.isNaN(before) ? Number.isNaN(after) : Math.abs(before - after) < 1e-12);
    const ranks = averageRanks(p);
    assertEquals(ranks.reduce((a, b) => a + b), p.length * (p.length + 1) / 2);
  }));
});

Deno.test("what has no answer: constant lists, lists of other lengths, no rows", () => {
  assertEquals(matthews([1, 1, 1], [0, 1, 1]), 0);
  assertEquals(f1([0, 0], [0, 0]), 0);
  // A mean that is rounded must not make noise of a constant list.
  assert(Number.isNaN(pearson([0.1, 0.1, 0.1], [1, 2, 3])));
  assert(Number.isNaN(spearman([1, 2, 3], [5, 5, 5])));
  for (const metric of Object.values(METRICS)) {
    assertThrows(() => metric([1], [1, 2]), RangeError, "1 predictions, 2 rows");
    assertThrows(() => metric([], []), RangeError);
  }
});

Deno.test("a task's score is the mean of its metrics", () => {
  const p = [1, 1, 0, 1], t = [1, 0, 0, 1];
  assertEquals(glueScores(GLUE_TASKS.mrpc, p, t), {
    metrics: { accuracy: 0.75, f1: 0.8 },
    score: (0.75 + 0.8) / 2,
  });
  const { metrics, score } = glueScores(GLUE_TASKS.stsb, [1, 2, 3.5], [1, 4, 5]);
  assertEquals(Object.keys(metrics), ["pearson", "spearman"]);
  assertAlmostEquals(score, (metrics.pearson! + metrics.spearman!) / 2, 1e-15);
});
