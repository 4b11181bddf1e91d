/** A run for a task of GLUE: an encoder, its head and an adapter are trained and scored by the task's metrics. @module */
import * as Effect from "effect/Effect";
import { peftForms } from "./adapter_directory.ts";
import { drawLambdas } from "./adapter_file.ts";
import { countTrainable, type ShapeClass } from "./arena.ts";
import { writeTextAtomically } from "./atomic_file.ts";
import { type Classifier, openClassifier, outputsOf, type Predictions } from "./classifier.ts";
import { loadLabelled } from "./classify_data.ts";
import type { Dataset, Example } from "./data.ts";
import { describeDevice, openDevice } from "./devices.ts";
import { type EncoderCheckpoint, loadEncoder } from "./encoder_checkpoint.ts";
import type { EncoderConfig } from "./encoder_config.ts";
import { loadSentenceTokenizer, type SentenceTokenizer } from "./encoder_tokenizer.ts";
import { DataError, UserError } from "./errors.ts";
import { GLUE_TASKS, type GlueScores, glueScores, type GlueTask } from "./evaluation/glue_tasks.ts";
import { modelDirectory } from "./hub.ts";
import { describeClasses, describeFit } from "./methods.ts";
import { writeModel } from "./model_directory.ts";
import { adamW } from "./optimiser.ts";
import type { TrainOptions } from "./options.ts";
import { drawLambdaHeatmap } from "./plots/mod.ts";
import {
  attempt,
  branchNames,
  firstBatches,
  guarded,
  type Loaded,
  loadRun,
  overflowSayer,
  type RunHooks,
  sayResumed,
  startsFromFactors,
} from "./run.ts";
import { digestRows, type Measured } from "./run_checkpoint.ts";
import { leaveTrained, processorOf, recording, traineesOf } from "./run_record.ts";
import { leaveReport } from "./run_report/leave.ts";
import { checkOutput, writeResults } from "./run_output.ts";
import { type StepBytes, valuesOf } from "./session.ts";
import { addScalars, heldOutScalars } from "./tensorboard/event_file.ts";
import { NOTHING_YET, totalSteps, trainAll } from "./train_loop.ts";

/** What a run for a task reports; the keys are those of `--json`. Null where something was not measured. */
export interface ClassifyResult {
  readonly task: string;
  readonly method: string;
  readonly device: "cpu" | "gpu";
  readonly adapter_name: string;
  readonly steps: number;
  /** Training loss of the first step and mean of the last tenth (at least one step). */
  readonly loss_before: number | null;
  readonly loss_after: number | null;
  /** Held-out loss, mean per row. */
  readonly eval_before: number | null;
  readonly eval_after: number | null;
  /** The task's metrics on the held-out rows, and their mean. */
  readonly metrics_before: GlueScores["metrics"] | null;
  readonly metrics_after: GlueScores["metrics"] | null;
  readonly score_after: number | null;
  /** Tokens by time, of the steps after the first. */
  readonly tokens_per_s: number | null;
  readonly peak_bytes: number;
  readonly step_bytes: StepBytes | null;
  readonly trainable: number;
  readonly out: string;
}

/** What a run for a task reads. */
export interface LoadedTask extends Pick<Loaded, "data" | "train" | "held" | "rows" | "resumed" | "done"> {
  readonly task: GlueTask;
  /** Where the model is: the directory that was given, or that of the hub's cache. */
  readonly dir: string;
  readonly checkpoint: EncoderCheckpoint;
  readonly tokenizer: SentenceTokenizer;
}

/** Rows whose predictions are computed at once. */
const PREDICTED = 32;

/** The task that was asked for. Throws UserError where none was. */
export function taskOf({ task }: Pick<TrainOptions, "task">): GlueTask {
  if (task !== null) return GLUE_TASKS[task];
  throw new UserError("--task: give the task of GLUE that the encoder is to learn.");
}

/** Rows, encoder and tokenizer, checked against each other; a dry run needs no place to write to. Throws UserError. */
export async function loadTask(
  options: TrainOptions,
  { say }: Pick<RunHooks, "say">,
): Promise<LoadedTask> {
  if (!options.dryRun) checkOutput(options);
  const task = taskOf(options), { model, dtype, seed, seq } = options;
  const dir = await modelDirectory(model, { say });
  const checkpoint = loadEncoder(dir, {
    dtype,
    seed,
    outputs: outputsOf(task.target),
    overflow: overflowSayer(say),
  });
  const { config, fresh } = checkpoint;
  const tokenizer = loadSentenceTokenizer(dir, config);
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new DataError(
      `${model}: tokenizer.json has ${tokenizer.vocabSize} tokens and the model's vocab_size is ${config.vocabSize}; use the tokenizer that belongs to the model.`,
    );
  }
  if (seq > config.maxPositions) {
    throw new UserError(
      `--seq ${seq}: the model has ${config.maxPositions} positions; use at most that many.`,
    );
  }
  say(`model: ${model}, ${config.layers} layers of ${config.hiddenSize}`);
  if (fresh.length > 0) say(`new for this task, drawn from --seed: ${fresh.join(", ")}`);
  const read = (file: string): Dataset => {
    const data = loadLabelled(file, task, tokenizer, seq);
    say(
      `${file}: ${data.examples.length} rows` +
        (data.truncated ? `, ${data.truncated} cut to ${seq} tokens` : ""),
    );
    return data;
  };
  const data = read(options.data), train = data.examples, rows = await digestRows(train);
  return {
    task,
    dir,
    checkpoint,
    tokenizer,
    data,
    train,
    held: options.eval ? read(options.eval).examples : null,
    rows,
    ...(options.resume
      ? await loadRun(options, train, rows)
      : { resumed: null, done: { ...NOTHING_YET, text: "" } }),
  };
}

/** Fine-tune an encoder as asked. Fails with UserError for what the user can mend. */
export function fineTuneClassifier(
  options: TrainOptions,
  hooks: RunHooks,
): Effect.Effect<ClassifyResult, UserError> {
  return guarded(fineTuneOnce, options, hooks);
}

function fineTuneOnce(options: TrainOptions, hooks: RunHooks): Effect.Effect<ClassifyResult, UserError> {
  return Effect.scoped(Effect.gen(function* () {
    const loaded = yield* attempt(() => loadTask(options, hooks));
    const device = yield* openDevice(options.device, options.dtype === "f16");
    const { kind, adapterName } = device.capabilities, { say } = hooks;
    say(`device: ${describeDevice(device.capabilities)}`);
    return yield* attempt(async () => {
      const { task, checkpoint, train, held, rows, resumed } = loaded, { config, layout } = checkpoint;
      const { earlier, classes, own, method, weights } = traineesOf(options, layout, checkpoint.weights);
      const trainable = countTrainable(classes);
      if (earlier) say(`goes on from ${options.adapter}: ${describeClasses(classes)}`);
      say(`task: ${task.name}, method: ${method}, ${trainable.toLocaleString("en")} trainable parameters`);
      const fit = own ? describeFit(own, layout.modules) : "";
      if (fit) say(fit);
      const session = await openClassifier({
        device,
        subject: { config, target: task.target, classes },
        weights,
        optimiser: adamW({ clip: options.clip }),
        accumulate: options.accumulate,
        seed: options.seed,
        startBatches: firstBatches(train, options),
        ...(resumed && startsFromFactors(classes)
          ? { values: valuesOf(classes, resumed.tensors) }
          : earlier
          ? { values: earlier.values }
          : {}),
        say,
      });
      if (resumed) {
        session.restore({ steps: resumed.step, tensors: resumed.tensors });
        sayResumed(resumed, totalSteps(options, train), processorOf(device.capabilities), say);
      }
      const measured = resumed ? null : await measure(session, task, held, options, hooks);
      const before = resumed ? resumed.before : measured?.measured ?? null;
      const record = recording({
        ...{ options, session, device: device.capabilities, rows, before, earlier: loaded.done },
        resumed: resumed !== null,
      });
      const done = await trainAll(
        session,
        train,
        options,
        { stopped: hooks.stopped, ...record },
        loaded.done,
      );
      if (done.steps === 0) throw new UserError("interrupted before the first step: nothing is written.");
      const forms = earlier ? earlier.layouts : peftForms(options, layout);
      const trained = await session.trained();
      const saved = { model: options.model, layout, classes, trained, task: task.name };
      leaveTrained(options.out, saved, { own, forms, done }, say);
      const after = done.interrupted ? null : await measure(session, task, held, options, hooks);
      addScalars(options.out, done.steps, heldOutScalars(after?.measured ?? null));
      if (options.merge) {
        const merged = await session.merged();
        writeResults(
          options.out,
          (to) => writeModel(`${to}/merged`, loaded.dir, merged, "f32", headFields(config, task)),
        );
        say(`the model with the adapter merged in: ${options.out}/merged`);
      }
      await conclude(session, classes, task, options, hooks, before, after);
      const result: ClassifyResult = {
        task: task.name,
        method,
        device: kind,
        adapter_name: adapterName,
        steps: done.steps,
        loss_before: done.first,
        loss_after: done.last,
        eval_before: before?.loss ?? null,
        eval_after: after?.measured.loss ?? null,
        metrics_before: before?.metrics ?? null,
        metrics_after: after?.scores.metrics ?? null,
        score_after: after?.scores.score ?? null,
        tokens_per_s: done.tokensPerSecond,
        peak_bytes: device.memory().peakBytes,
        step_bytes: session.stats().step,
        trainable,
        out: options.out,
      };
      await leaveReport(options.out, { ...result, branches: branchNames(classes) }, {
        session,
        classes,
        base: weights,
      }, hooks);
      return result;
    });
  }));
}

/** Fields of `config.json` that say of an encoder that it has this task's head. */
export function headFields(
  { family }: EncoderConfig,
  { target }: Pick<GlueTask, "target">,
): Record<string, unknown> {
  const labels = target.kind === "classes" ? target.labels : ["score"];
  return {
    architectures: [family === "bert" ? "BertForSequenceClassification" : "RobertaForSequenceClassification"],
    problem_type: target.kind === "classes" ? "single_label_classification" : "regression",
    id2label: Object.fromEntries(labels.map((label, i) => [i, label])),
    label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
  };
}

/** Predictions on the held-out rows, and what they come to. */
interface Scored {
  readonly measured: Measured;
  readonly scores: GlueScores;
  readonly predictions: Predictions;
}

async function measure(
  session: Classifier,
  task: GlueTask,
  held: readonly Example[] | null,
  { seq }: TrainOptions,
  { say, stopped }: RunHooks,
): Promise<Scored | null> {
  if (!held) return null;
  say(`measuring on ${held.length} held-out rows`);
  const predictions = await session.predict(held, { rows: PREDICTED, seq, stopped });
  if (!predictions) return null;
  const scores = glueScores(task, predictions.predicted, held.map((e) => e.classified!.target));
  const { loss } = predictions;
  return { predictions, scores, measured: { loss, exact: null, samples: [], metrics: scores.metrics } };
}

async function conclude(
  session: Classifier,
  classes: readonly ShapeClass[],
  task: GlueTask,
  { out }: TrainOptions,
  { say }: RunHooks,
  before: Measured | null,
  after: Scored | null,
): Promise<void> {
  const names = branchNames(classes);
  const picture = drawLambdas(await session.lambdas(), names);
  if (picture) {
    say(`how each layer shared its steps (λ):\n${picture}`);
    await drawLambdaHeatmap(`${out}/metrics.jsonl`, `${out}/lambda.svg`, names);
  }
  if (after) {
    writeTextAtomically(`${out}/predictions.tsv`, predictionsTsv(task, after.predictions));
    say(`predictions: ${out}/predictions.tsv`);
    const was = (name: string): string => {
      const value = before?.metrics?.[name];
      return value === undefined ? "" : `${value.toFixed(4)} → `;
    };
    const list = Object.entries(after.scores.metrics).map(([name, v]) =>
      `${name} ${was(name)}${v.toFixed(4)}`
    );
    const loss = before ? `${before.loss.toFixed(4)} → ` : "";
    say(`held-out loss ${loss}${after.measured.loss.toFixed(4)}, ${list.join(", ")}`);
  }
  const { compileSeconds } = session.stats();
  say(`compiled in ${compileSeconds.toFixed(1)} s; results in ${out}`);
}

/** Predictions in the form of the benchmark's submissions: a line with the row's number and its label or number. */
export function predictionsTsv(
  { target }: Pick<GlueTask, "target">,
  { predicted }: Pick<Predictions, "predicted">,
): string {
  const show = (x: number): string => target.kind === "classes" ? target.labels[x]! : x.toFixed(4);
  return ["index\tprediction", ...predicted.map((x, i) => `${i}\t${show(x)}`), ""].join("\n");
}
