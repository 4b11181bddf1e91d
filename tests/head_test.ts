/** The loss in parts: logits of some positions at a time. @module */
import { assert, assertEquals } from "@std/assert";
import { aval, evaluate, type Tensor } from "../core/mod.ts";
import { linearise } from "../core/ir/program.ts";
import { input } from "../core/ir/tensor.ts";
import { foldIn, iota, key, lt, normal, where } from "../ops/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { arenaAval, bind } from "../train/arena.ts";
import { weightShapes } from "../train/decoder.ts";
import { methodClasses } from "../train/methods.ts";
import { bindModel, firstPositions } from "../train/bind_model.ts";
import { lossAndCotangents, rowLosses } from "../train/language_loss.ts";
import { SHAPES } from "../bench/shapes.ts";

/** Hidden states as wide as parts of a buffer must be. */
const ONE_LAYER = { ...SHAPES["tiny"]!, hiddenSize: 64, headDim: 32, heads: 2, kvHeads: 1, layers: 1 };

Deno.test("the loss in parts has the sum and the cotangents of the whole", () => {
  const config = { ...ONE_LAYER, intermediateSize: 12, vocabSize: 11 };
  const classes = methodClasses(
    { ...DEFAULT_SETTINGS, method: "lora", rank: 2, target: "all-linear" },
    config,
  );
  const draw = (i: number, shape: readonly number[]): Tensor => normal(foldIn(key(3), i), shape);
  const weights = Object.fromEntries(
    [...weightShapes(config)].map(([name, { shape }], i) => [name, draw(i, shape)]),
  );
  const leaves = classes.flatMap((c) => c.leaves.map((leaf) => ({ leaf, at: arenaAval(c, leaf) })));
  const { members, wrt } = bind(
    classes,
    Object.fromEntries(leaves.map(({ leaf, at }, i) => [leaf.key, draw(100 + i, at.shape)])),
  );
  Object.assign(weights, { "rotary.cos": draw(200, [3, 32]), "rotary.sin": draw(201, [3, 32]) });
  const model = bindModel({ config, classes }, weights, members, firstPositions(3), foldIn(key(4), 0));
  const ids = iota([4, 3], 0), labels = where(lt(iota([4, 3], 0), 1), -100, iota([4, 3], 1));
  const [whole, parts] = [Infinity, 3 * config.vocabSize].map((most) => {
    const { sum, fresh } = lossAndCotangents(model, { ids, labels }, wrt, false, undefined, most);
    return evaluate([sum, ...fresh.map((x) => x!)]);
  });
  assertEquals(parts!.length, whole!.length);
  whole!.forEach((values, i) =>
    values.forEach((v, j) => {
      const w = parts![i]![j]!;
      assert(
        Math.abs(v - w) <= 1e-9 * Math.max(1, Math.abs(v)),
        `value ${j} of ${i}: ${v} whole, ${w} in parts`,
      );
    })
  );
  assert(
    whole!.slice(1).some((values) => values.some((v) => Math.abs(v) > 1e-3)),
    "the gradients are not all zero",
  );
});

Deno.test("the loss has no more parts than keep its logits below the hidden states", () => {
  const config = { ...ONE_LAYER, vocabSize: 512 };
  const weights = Object.fromEntries(
    [...weightShapes(config)].map(([name, { shape }]) => [name, input(aval(shape), name)]),
  );
  const table = input(aval([4, 32]), "rotary");
  Object.assign(weights, { "rotary.cos": table, "rotary.sin": table });
  const model = bindModel({ config, classes: [] }, weights, new Map(), firstPositions(4));
  const parts = (rows: number): number => {
    const ids = input(aval([rows, 4], "i32"), "ids"), labels = input(aval([rows, 4], "i32"), "labels");
    const { nodes } = linearise([...new Set([...Object.values(weights), ids, labels])], [
      rowLosses(model, { ids, labels }),
    ]);
    return Math.max(0, ...nodes.filter((n) => n.op === "pack").map((n) => n.inputs.length));
  };
  // 2²⁵ logits at a time, then half as many numbers as the hidden states have.
  assertEquals([2 ** 15, 2 ** 17, 2 ** 21, 2 ** 23].map(parts), [2, 8, 16, 16]);
});
