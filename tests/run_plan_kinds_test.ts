/** `plan.ts` of encoders for a task, and of runs that tasks of `--eval` measure: the bytes of what is then run. @module */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { aval } from "../core/mod.ts";
import { openCpu } from "../core/cpu/mod.ts";
import {
  adamW,
  loadCheckpoint,
  loadTokenizer,
  methodClasses,
  openSession,
  parsePlanFlags,
  planRun,
  type RunPlan,
  showRunPlan,
  UserError,
  weightShapes,
} from "../train/mod.ts";
import { batches, bucketLengths, type TokenBatch } from "../train/batches.ts";
import { openClassifier } from "../train/classifier.ts";
import { outputsOf } from "../train/classifier_objective.ts";
import type { Example } from "../train/data.ts";
import { encoderShapes, headShapes } from "../train/encoder.ts";
import { freshOf, loadEncoder } from "../train/encoder_checkpoint.ts";
import { parseEncoderConfig } from "../train/encoder_config.ts";
import { parseAsked } from "../train/evaluation/asked.ts";
import { prepareAsked, taskLength } from "../train/evaluation/during.ts";
import { GLUE_TASKS } from "../train/evaluation/glue_tasks.ts";
import { layoutClasses } from "../train/methods.ts";
import { writeSafetensors } from "../train/safetensors.ts";
import { inTempDir, root } from "./runs.ts";

const site = { root, now: new Date() };
const plan = (...argv: string[]): Promise<RunPlan> => planRun(parsePlanFlags(argv, site)!);

function near(planned: number, measured: number, what: string): void {
  assert(Math.abs(planned / measured - 1) < 0.1, `${what}: planned ${planned}, measured ${measured}`);
}

type Family = "bert" | "roberta";

const configOf = (family: Family) => ({
  ...{ model_type: family, vocab_size: 800, hidden_size: 96, intermediate_size: 192, num_hidden_layers: 3 },
  ...{ num_attention_heads: 4, max_position_embeddings: 80, hidden_dropout_prob: 0 },
});

/** An encoder's directory; without a head's weights but those named. */
function writeEncoder(dir: string, family: Family, kept: RegExp): void {
  const json = configOf(family), config = parseEncoderConfig(json, "config.json");
  Deno.writeTextFileSync(`${dir}/config.json`, JSON.stringify(json));
  const shapes = [
    ...encoderShapes(config),
    ...[...headShapes(config, 3)].filter(([name]) => kept.test(name)),
  ];
  const tensors = shapes.map(([name, { shape }]) => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i) / 20);
    return [name, { aval: aval(shape), data }] as const;
  });
  writeSafetensors(`${dir}/model.safetensors`, new Map(tensors), {});
}

/** Rows of two kinds of tokens. */
function examplesOf(rows: number, length: number): Example[] {
  return Array.from({ length: rows }, (_, row): Example => {
    const ids = Array.from({ length }, (_, i) => 3 + (row + i) % 90);
    const classified = { types: ids.map((_, i) => Number(2 * i >= length)), target: row % 2 };
    return { ids, trained: ids.map(() => false), promptLength: length, prompt: "", classified };
  });
}

for (const [family, task] of [["bert", "rte"], ["roberta", "stsb"]] as const) {
  for (const method of ["full", "lora", "lora-ga", "boft", "hybrid"]) {
    Deno.test(`plans: ${method} on ${family} for ${task} needs what is measured: a step, and a whole run with its start and evaluation`, () =>
      inTempDir(async (dir) => {
        writeEncoder(dir, family, /pooler/);
        const rows = 8, seq = 64, lengths = bucketLengths(seq);
        const argv = [
          ...["--model", dir, "--task", task, "--data", "rows.tsv", "--eval", "held.tsv", "--method", method],
          ...`--rank 4 --batch ${rows} --seq ${seq} --device cpu --start-batches 2`.split(" "),
        ];
        const { train } = parsePlanFlags(argv, site)!, planned = await plan(...argv);
        const { target } = GLUE_TASKS[task];
        const { config, weights, layout } = loadEncoder(dir, {
          dtype: "f32",
          outputs: outputsOf(target),
          seed: 0,
        });
        const batchOf = (length: number): TokenBatch =>
          [...batches(examplesOf(rows, length), { batch: rows, seq: length, seed: 0, epochs: 1 })][0]!;
        const device = await openCpu({ threads: 1 });
        try {
          const session = await openClassifier({
            ...{ device, weights, accumulate: 1, seed: 0 },
            subject: { config, target, classes: layoutClasses(train, layout) },
            optimiser: adamW({ clip: train.clip }),
            startBatches: [batchOf(seq), batchOf(lengths.at(-2)!)],
          });
          const rates = { plain: 1e-3, orthogonal: 1e-3 }, start = device.memory().peakBytes;
          await session.step(batchOf(seq), rates);
          const { weights: frozen, trained, optimiser, temporaries, total } = planned.step;
          assertEquals(session.stats().step, { weights: frozen, trained, optimiser, temporaries, total });
          await session.predict(lengths.flatMap((length) => examplesOf(32, length)), { rows: 32, seq });
          for (const length of lengths) await session.step(batchOf(length), rates);
          near(planned.run.start, start, "start");
          near(planned.run.peak, device.memory().peakBytes, "peak");
          assertEquals([planned.run.answers, planned.run.tasks], [0, 0]);
        } finally {
          await device.close();
        }
      }));
  }
}

Deno.test("plans: an encoder's head is what its files lack of it", () =>
  inTempDir(async (dir) => {
    const config = parseEncoderConfig(configOf("bert"), "config.json");
    const classifier = ["classifier.weight", "classifier.bias"];
    const all = ["bert.pooler.dense.weight", "bert.pooler.dense.bias", ...classifier];
    const names = (outputs: number): readonly string[] => freshOf(dir, config, outputs);
    // A directory of the hub's cache of which only the configuration is there.
    assertEquals(names(3), classifier);
    for (
      const [kept, outputs, fresh] of [[/pooler/, 3, classifier], [/^$/, 3, all], [/./, 3, []], [
        /./,
        2,
        classifier,
      ]] as const
    ) {
      writeEncoder(dir, "bert", kept);
      assertEquals(names(outputs), fresh, `${kept} ${outputs}`);
      assertEquals(loadEncoder(dir, { dtype: "f32", outputs, seed: 0 }).fresh, fresh);
    }
    const flags = [
      "--task",
      "rte",
      "--data",
      "x.tsv",
      "--seq",
      "16",
      "--batch",
      "2",
      "--method",
      "lora",
      "--device",
      "cpu",
    ];
    const small = await plan("--model", dir, ...flags, "--memory", "0.001");
    assert(!small.fits && small.advice.length > 0);
    assertStringIncludes(showRunPlan(small), "DOES NOT FIT");
    assert(small.weights["feed-forward"]! > 0 && small.weights["head"]! > 0 && small.weights["norms"]! > 0);
  }));

Deno.test("plans: tasks of --eval count as they are asked", () =>
  inTempDir(async (dir) => {
    const held = `${dir}/held.jsonl`, model = `${root}/examples/base`;
    const lines = Deno.readTextFileSync(`${root}/examples/data/eval.jsonl`).split("\n").slice(0, 20);
    Deno.writeTextFileSync(held, lines.join("\n"));
    const asked = `gsm8k:${held},perplexity:${held}`;
    const argv = ["--eval", asked, "--eval-limit", "12", "--method", "lora", "--device", "cpu"];
    const planned = await plan("--model", model, ...argv), { train } = parsePlanFlags(argv, site)!;
    const { config, weights } = loadCheckpoint(model, { dtype: "f32", shapes: weightShapes });
    const tokenizer = loadTokenizer(model), seq = taskLength(config);
    const device = await openCpu({ threads: 1 });
    try {
      const session = await openSession({
        ...{ device, subject: { config, classes: methodClasses(train, config) }, weights },
        ...{ optimiser: adamW({ clip: train.clip }), accumulate: 1, seed: 0, maxLength: seq },
      });
      const before = device.memory().bytes;
      for (const { prepared } of await prepareAsked(parseAsked(asked), 12)) {
        await prepared.run({ session, tokenizer, seq }, () => {});
      }
      near(planned.run.tasks, device.memory().bytes - before, "tasks");
    } finally {
      await device.close();
    }
    const { staying, evaluations, tasks, answers, steps } = planned.run;
    assertEquals([evaluations, answers], [0, 0]);
    assert(planned.run.peak >= staying + tasks + steps);
    assertStringIncludes(showRunPlan(planned), ", tasks ");
    const without = await plan("--model", model, ...argv.slice(4), "--eval", "none");
    assert(without.run.peak < planned.run.peak && without.run.tasks === 0);
    // Sizes alone have no tokenizer: that of --model makes the tokens, and says so.
    const said: string[] = [];
    const sized = ["--shape", "SmolLM2-135M", ...argv.slice(4), "--seq", "32", "--batch", "2"];
    const shape = await planRun(
      parsePlanFlags([...sized, "--eval", `perplexity:${held}`, "--eval-limit", "1"], site)!,
      (line) => said.push(line),
    );
    assert(shape.run.tasks > 0);
    assertStringIncludes(said.join("\n"), "counted by the tokenizer of ");
  }));

Deno.test("plans: what a task cannot be planned with is named", async () => {
  const task = ["--task", "rte", "--data", "x.tsv"];
  await assertRejects(() => plan(...task, "--shape", "Llama-3.1-8B"), UserError, "is a language model");
  await assertRejects(
    () => plan(...task, "--model", `${root}/examples/base`),
    UserError,
    "--task trains encoders",
  );
});
