/** Training of an encoder for a task of GLUE: whole runs with a small model, their results, and what is refused. @module */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import * as Effect from "effect/Effect";
import { aval } from "../core/mod.ts";
import {
  classifyDryRun,
  type ClassifyResult,
  DataError,
  encoderShapes,
  evaluateModel,
  type Evaluation,
  fineTuneClassifier,
  GLUE_TASKS,
  type GlueTaskName,
  loadEncoder,
  mergeAdapter,
  METHODS,
  parseCommandLine,
  parseEncoderConfig,
  parseEvaluateFlags,
  parseMergeFlags,
  readPeft,
  UserError,
  writeSafetensors,
} from "../train/mod.ts";
import { noise } from "./op_rows.ts";

const fixtures = decodeURIComponent(new URL("fixtures/encoders", import.meta.url).pathname);
const CONFIG = {
  model_type: "bert",
  vocab_size: 120,
  hidden_size: 24,
  num_attention_heads: 3,
  intermediate_size: 32,
  num_hidden_layers: 2,
  max_position_embeddings: 40,
};

/** A small encoder without a head and without a pooler, its names as old files of the family have them. */
function writeModel(dir: string): void {
  Deno.mkdirSync(dir, { recursive: true });
  Deno.writeTextFileSync(`${dir}/config.json`, JSON.stringify(CONFIG));
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    Deno.copyFileSync(`${fixtures}/bert_tokenizer/${name}`, `${dir}/${name}`);
  }
  const random = noise(3);
  const weights = [...encoderShapes(parseEncoderConfig(CONFIG, "config.json"))].map(([name, { shape }]) => {
    const old = name.replace(/^bert\./, "").replace("LayerNorm.weight", "LayerNorm.gamma")
      .replace("LayerNorm.bias", "LayerNorm.beta");
    const size = shape.reduce((a, b) => a * b, 1);
    const data = Float32Array.from({ length: size }, () => random() * (shape.length > 1 ? 0.3 : 0.1));
    return [old, { aval: aval(shape), data: old.endsWith("gamma") ? data.map((x) => 1 + x) : data }] as const;
  });
  const table = { aval: aval([1, 40]), data: new Float32Array(40) };
  writeSafetensors(`${dir}/model.safetensors`, new Map([...weights, ["embeddings.position_ids", table]]));
}

const SUBJECTS = ["the cat", "a plane", "our rain", "the mat", "an analysis"];
const VERBS = ["sat on", "is taking off", "was falling on", "won't buy"];

/** Rows whose label says whether a plane is in them; those of stsb count it. */
function writeRows(file: string, task: GlueTaskName, count: number): void {
  const rows = Array.from({ length: count }, (_, i) => {
    const first = SUBJECTS[i % 5]!, second = SUBJECTS[(3 * i + 1) % 5]!, verb = VERBS[i % 4]!;
    const text = `${first} ${verb} ${second}`, has = text.includes("plane");
    switch (task) {
      case "cola":
        return `gj04\t${has ? 1 : 0}\t\t${text}`;
      case "sst2":
        return `${text}\t${has ? 1 : 0}`;
      case "rte":
        return `${i}\t${text}\t${second} ${verb}\t${has ? "entailment" : "not_entailment"}`;
      default:
        return `${text}\t${second} ${verb}\t${has ? 4.5 : 0.5}`;
    }
  });
  const head = {
    sst2: "sentence\tlabel",
    rte: "index\tsentence1\tsentence2\tlabel",
    stsb: "sentence1\tsentence2\tscore",
  };
  const first = task in head ? [head[task as keyof typeof head]] : [];
  Deno.writeTextFileSync(file, [...first, ...rows, ""].join("\n"));
}

const dir = Deno.makeTempDirSync();
const model = `${dir}/model`;
writeModel(model);
for (const task of ["cola", "sst2", "rte", "stsb"] as const) {
  writeRows(`${dir}/${task}.tsv`, task, 40);
  writeRows(`${dir}/${task}-dev.tsv`, task, 23);
}
globalThis.addEventListener("unload", () => Deno.removeSync(dir, { recursive: true }));

const quiet = (): void => {};

async function optionsOf(task: GlueTaskName, argv: readonly string[]) {
  const own = [
    `--model=${model}`,
    `--task=${task}`,
    `--data=${dir}/${task}.tsv`,
    `--eval=${dir}/${task}-dev.tsv`,
  ];
  // An adapter has a rank of its own.
  const rank = argv.some((flag) => flag.startsWith("--adapter=")) ? [] : ["--rank=2"];
  const small = ["--device=cpu", "--seq=24", "--batch=8", ...rank];
  return await parseCommandLine([...own, ...small, ...argv], { root: dir, now: new Date() });
}

/** Run in this process; what the user can mend is thrown. */
async function run(
  task: GlueTaskName,
  argv: readonly string[],
  stopped: () => boolean = () => false,
): Promise<ClassifyResult> {
  const result = await Effect.runPromise(
    Effect.match(fineTuneClassifier(await optionsOf(task, argv), { say: quiet, stopped }), {
      onFailure: (error) => error,
      onSuccess: (value) => value,
    }),
  );
  if (result instanceof UserError) throw result;
  return result;
}

/** What `evaluate.ts` finds; what the user can mend is thrown. */
async function evaluated(...argv: readonly string[]): Promise<Evaluation> {
  const flags = ["--task=glue", "--subset=sst2", "--device=cpu", ...argv];
  const result = await Effect.runPromise(
    Effect.match(
      evaluateModel(parseEvaluateFlags(flags, { root: dir }), { say: quiet, follow: quiet }),
      { onFailure: (error) => error, onSuccess: (value) => value },
    ),
  );
  if (result instanceof UserError) throw result;
  return result;
}

const RATES: Readonly<Record<string, string>> = { full: "1e-2", "lora-ga": "2e-2", hybrid: "2e-2" };

for (const method of METHODS) {
  Deno.test(`${method}: an encoder learns which rows have a plane, and its directories hold adapter and head`, async () => {
    const out = `${dir}/run-${method}`;
    const result = await run("sst2", [
      `--out=${out}`,
      `--method=${method}`,
      "--steps=25",
      `--lr=${RATES[method] ?? "2e-2"}`,
    ]);
    assert(result.eval_after! < result.eval_before! - 0.05, `${result.eval_before} → ${result.eval_after}`);
    assertEquals(Object.keys(result.metrics_after!), ["accuracy"]);
    assertEquals(result.metrics_after!.accuracy, result.score_after);
    const lines = Deno.readTextFileSync(`${out}/predictions.tsv`).trimEnd().split("\n");
    assertEquals(lines.length, 1 + 23);
    const truth = Deno.readTextFileSync(`${dir}/sst2-dev.tsv`).trimEnd().split("\n").slice(1)
      .map((row) => row.split("\t")[1]);
    const right = lines.slice(1).filter((line, i) => line === `${i}\t${truth[i]}`).length;
    assertAlmostEquals(right / 23, result.metrics_after!.accuracy!, 1e-12);
    const described = JSON.parse(Deno.readTextFileSync(`${out}/adapter/adapter.json`));
    assertEquals([described.method, described.task], [method, "sst2"]);
    const page = Deno.readTextFileSync(`${out}/report.html`);
    for (const says of ["held-out accuracy", "<h3>Loss</h3>", "Singular values"]) {
      assertStringIncludes(page, says);
    }
    const [events] = [...Deno.readDirSync(out)].filter(({ name }) => name.includes("tfevents"));
    assertStringIncludes(Deno.readTextFileSync(`${out}/${events!.name}`), "held_out/accuracy");
  });
}

Deno.test("a head that was trained for another task is measured, and that is said", async () => {
  const out = `${dir}/run-other`;
  await run("rte", [`--out=${out}`, "--method=lora", "--steps=1", "--eval=none"]);
  const argv = [`--model=${model}`, `--adapter=${out}/adapter`];
  const { notes } = await evaluated(...argv, `--data=${dir}/sst2-dev.tsv`);
  assertEquals(notes, [
    "the head was trained for rte, not for sst2: its outputs stand for sst2's labels in order",
  ]);
  assertEquals((await evaluated(...argv, "--subset=rte", `--data=${dir}/rte-dev.tsv`)).notes, []);
});

Deno.test("a parquet file of the hub is learnt and measured as the published one", async () => {
  const rows = [
    "It is a fine day.\tThe sea is calm.\tnot_entailment",
    "The rain has stopped.\tThe rain has stopped.\tentailment",
  ];
  Deno.writeTextFileSync(`${dir}/published.tsv`, ["sentence1\tsentence2\tlabel", ...rows].join("\n"));
  const hub = decodeURIComponent(new URL("fixtures/parquet/hub/rte.parquet", import.meta.url).pathname);
  const [found, expected] = await Promise.all([hub, `${dir}/published.tsv`].map(async (file, i) => {
    const argv = [
      `--model=${model}`,
      "--task=rte",
      `--data=${file}`,
      `--eval=${file}`,
      `--out=${dir}/run-form-${i}`,
    ];
    const small = ["--device=cpu", "--seq=24", "--batch=2", "--rank=2", "--steps=3", "--lr=2e-2"];
    const options = await parseCommandLine([...argv, ...small], { root: dir, now: new Date() });
    const { loss_before, loss_after, eval_after, metrics_after } = await Effect.runPromise(
      fineTuneClassifier(options, { say: quiet, stopped: () => false }),
    );
    return [loss_before, loss_after, eval_after, metrics_after];
  }));
  assertEquals(found, expected);
  assert(found!.every((x) => x !== null));
});

for (const task of ["cola", "rte", "stsb"] as const) {
  Deno.test(`${task}: its own metrics, before and after`, async () => {
    const result = await run(task, [`--out=${dir}/run-${task}`, "--method=lora", "--steps=25", "--lr=2e-2"]);
    assertEquals(Object.keys(result.metrics_after!), [...GLUE_TASKS[task].metrics]);
    assert(result.eval_after! < result.eval_before!, `${result.eval_before} → ${result.eval_after}`);
  });
}

Deno.test("a run that is stopped and continued is the other to the bit, accumulation included", async () => {
  const flags = ["--method=dora", "--steps=8", "--accumulate=2", "--save-every=3"];
  const whole = await run("rte", [...flags, `--out=${dir}/whole`]);
  let asked = 0;
  await run("rte", [...flags, `--out=${dir}/parts`], () => ++asked > 4);
  const parts = await run("rte", ["--resume", `--out=${dir}/parts`, `--model=${model}`]);
  assertEquals([parts.steps, parts.metrics_before], [8, whole.metrics_before]);
  assertEquals([parts.loss_after, parts.eval_after, parts.metrics_after], [
    whole.loss_after,
    whole.eval_after,
    whole.metrics_after,
  ]);
  const adapter = (name: string) => Deno.readFileSync(`${dir}/${name}/adapter/adapter.safetensors`);
  assertEquals(adapter("parts"), adapter("whole"));
  await assertRejects(
    () => run("stsb", ["--resume", `--out=${dir}/parts`]),
    UserError,
    "--data was",
  );
});

Deno.test("metrics are measured between steps, the best state is left, and a stopped run goes on to the same", async () => {
  const flags = [
    "--method=lora",
    "--steps=8",
    "--lr=1",
    "--schedule=constant",
    "--eval-every=2",
    "--save-every=3",
    "--keep-best",
  ];
  const lines = (out: string) =>
    Deno.readTextFileSync(`${out}/metrics.jsonl`).trimEnd().split("\n")
      .map((line) => JSON.parse(line)).filter((line) => line.held_out !== undefined);
  const whole = await run("cola", [...flags, `--out=${dir}/often`]);
  const found = lines(`${dir}/often`);
  assertEquals(found.map((line) => line.step), [0, 2, 4, 6, 8]);
  for (const { held_out } of found) assertEquals(Object.keys(held_out), ["loss", "matthews"]);
  const best = found.slice(1).reduce((a, b) => b.held_out.loss < a.held_out.loss ? b : a);
  assert(best.step < 8, JSON.stringify(found));
  assertEquals([whole.best_step, whole.eval_after, whole.metrics_after], [best.step, best.held_out.loss, {
    matthews: best.held_out.matthews,
  }]);
  let asked = 0;
  await run("cola", [...flags, `--out=${dir}/often-parts`], () => ++asked > 8);
  const parts = await run("cola", ["--resume", `--out=${dir}/often-parts`]);
  const { out: _, tokens_per_s: __, peak_bytes: ___, ...rest } = parts;
  const { out: _o, tokens_per_s: _t, peak_bytes: _p, ...expected } = whole;
  assertEquals(rest, expected);
  const adapter = (name: string) => Deno.readFileSync(`${dir}/${name}/adapter/adapter.safetensors`);
  assertEquals(adapter("often-parts"), adapter("often"));
  assertEquals(
    lines(`${dir}/often-parts`).map(({ seconds: _, ...line }) => line),
    found.map(({ seconds: _, ...line }) => line),
  );
  const page = Deno.readTextFileSync(`${dir}/often/report.html`);
  assertStringIncludes(page, "<h3>Held-out matthews</h3>");
});

Deno.test("trained adapters go on where they were: Gyre's directory, PEFT's, and the merged model", async () => {
  const out = `${dir}/first`;
  const first = await run("sst2", [`--out=${out}`, "--method=lora", "--steps=12", "--lr=1e-2", "--merge"]);
  for (const name of ["adapter", "peft"]) {
    const next = await run("sst2", [`--adapter=${out}/${name}`, `--out=${dir}/next-${name}`, "--steps=1"]);
    assertEquals(next.metrics_before, first.metrics_after, name);
    assertAlmostEquals(next.eval_before!, first.eval_after!, 1e-5, name);
  }
  const merged = await run("sst2", [
    `--model=${out}/merged`,
    `--out=${dir}/next`,
    "--method=lora",
    "--steps=1",
  ]);
  assertAlmostEquals(merged.eval_before!, first.eval_after!, 1e-5);
  const flags = parseMergeFlags([`--adapter=${out}/adapter`, `--out=${out}/later`])!;
  assertEquals((await Effect.runPromise(mergeAdapter(flags, quiet))).model, model);
  for (const name of ["model.safetensors", "config.json"]) {
    assertEquals(Deno.readFileSync(`${out}/later/${name}`), Deno.readFileSync(`${out}/merged/${name}`));
  }
  for (const argv of [[`--model=${model}`, `--adapter=${out}/adapter`], [`--model=${out}/merged`]]) {
    const found = await evaluated(...argv, `--data=${dir}/sst2-dev.tsv`, "--seq=24");
    assertEquals(found.metrics, { ...first.metrics_after, score: first.score_after, rows: 23 });
  }
  const two = await evaluated(
    ...[`--model=${out}/merged`, `--data=${dir}/sst2-dev.tsv`, `--data=${dir}/sst2.tsv`, "--limit=7"],
  );
  assertEquals(two.parts.map(({ name, metrics }) => [name, metrics["rows"]]), [["sst2-dev.tsv", 7], [
    "sst2.tsv",
    7,
  ]]);
  assertEquals(two.metrics["rows"], 14);
  await assertRejects(
    () => evaluated(`--model=${model}`, `--data=${dir}/sst2-dev.tsv`),
    UserError,
    "has no head for sst2",
  );
  const { config, saved } = readPeft(`${out}/peft`);
  assertEquals([config.taskType, config.targets.saved], ["SEQ_CLS", ["bert.pooler.dense", "classifier"]]);
  assert(saved.has("classifier.weight") && saved.has("bert.pooler.dense.bias"));
  const fields = JSON.parse(Deno.readTextFileSync(`${out}/merged/config.json`));
  assertEquals([fields.architectures, fields.id2label], [["BertForSequenceClassification"], {
    0: "0",
    1: "1",
  }]);
});

Deno.test("what a head lacks is drawn from the seed, what is there is kept, and a head for others gives way", () => {
  const load = (outputs: number, seed: number) => loadEncoder(model, { dtype: "f32", outputs, seed });
  const a = load(2, 0), b = load(2, 0), c = load(2, 1);
  assertEquals(a.fresh, [
    "bert.pooler.dense.weight",
    "bert.pooler.dense.bias",
    "classifier.weight",
    "classifier.bias",
  ]);
  const values = (x: typeof a) => [...x.weights.get("classifier.weight")!.data];
  assertEquals(values(a), values(b));
  assert(values(a).some((v, i) => v !== values(c)[i]));
  const bert = `${fixtures}/bert`;
  assertEquals(loadEncoder(bert, { dtype: "f32", outputs: 3, seed: 0 }).fresh, []);
  const other = loadEncoder(bert, { dtype: "f32", outputs: 2, seed: 0 });
  assertEquals(other.fresh, ["classifier.weight", "classifier.bias"]);
  assertEquals(other.layout.whole, other.fresh);
});

Deno.test("a dry run tells of sentences, labels and memory, and writes nothing", async () => {
  const said: string[] = [], out = `${dir}/dry`;
  const options = await optionsOf("rte", [`--out=${out}`, "--dry-run", "--method=lora"]);
  const found = await Effect.runPromise(
    classifyDryRun(options, { say: (line) => said.push(line), colour: false }),
  );
  const text = said.join("\n");
  assertStringIncludes(text, "[CLS]| ");
  assertStringIncludes(text, "label entailment: ");
  assertStringIncludes(text, "of the second sentence from");
  assertEquals([found.rows, found.steps], [40, 5]);
  assert(found.step_bytes.total > 0 && found.seconds > 0);
  assertThrows(() => Deno.statSync(out), Deno.errors.NotFound);
});

for (const method of ["lora", "lora-ga"]) {
  Deno.test(`${method}: the memory that a dry run tells is the run's at its peak, within a tenth`, async () => {
    const out = `${dir}/peak-${method}`;
    // Large enough that the bookkeeping of plans does not count.
    const flags = [`--method=${method}`, "--steps=2", "--batch=40", "--seq=40", `--out=${out}`];
    const told = await Effect.runPromise(
      classifyDryRun(await optionsOf("rte", [...flags, "--dry-run"]), { say: quiet, colour: false }),
    );
    const { peak_bytes } = await run("rte", flags);
    const ratio = told.peak_bytes / peak_bytes;
    assert(ratio > 0.9 && ratio < 1.1, `${told.peak_bytes} told, ${peak_bytes} used`);
  });
}

Deno.test("decoders, missing files and lengths beyond the model are refused", async () => {
  await assertRejects(
    () => run("sst2", [`--out=${dir}/x`, `--seq=41`]),
    UserError,
    "the model has 40 positions",
  );
  await assertRejects(
    () => run("sst2", [`--out=${dir}/x`, `--data=${dir}/no.tsv`]),
    DataError,
    "no.tsv: not found",
  );
  await assertRejects(
    () => run("stsb", [`--out=${dir}/x`, `--data=${dir}/rte.tsv`]),
    DataError,
    "rte.tsv:2: ",
  );
  const decoder = decodeURIComponent(new URL("../examples/base", import.meta.url).pathname);
  await assertRejects(
    () => run("sst2", [`--out=${dir}/x`, `--model=${decoder}`]),
    UserError,
    "--task trains encoders",
  );
});
