/** Runs of encoders, which learn a task of GLUE with a head: scored by the task's metrics. @module */
import type * as Effect from "effect/Effect";
import type { Capabilities, Compiled } from "../core/mod.ts";
import { type Classifier, openClassifier } from "./classifier.ts";
import {
  classifierAvals,
  classifierObjective,
  type ClassifierSubject,
  outputsOf,
} from "./classifier_objective.ts";
import { loadLabelled } from "./classify_data.ts";
import type { Example } from "./data.ts";
import type { OpenRows, RowHooks } from "./data/open_rows.ts";
import { digestRows } from "./data/row_digest.ts";
import { rowFiles } from "./data/row_files.ts";
import { type DryRun, type DryRunHooks, dryRunOf } from "./dry_run.ts";
import { type EncoderCheckpoint, loadEncoder } from "./encoder_checkpoint.ts";
import { type EncoderConfig, withDropout } from "./encoder_config.ts";
import { evaluateEncoder, type Scored, tellScores } from "./encoder_held.ts";
import { loadSentenceTokenizer, type SentenceTokenizer } from "./encoder_tokenizer.ts";
import { UserError } from "./errors.ts";
import { GLUE_TASKS, type GlueScores, type GlueTarget, type GlueTask } from "./evaluation/glue_tasks.ts";
import { rangeSayer } from "./f16_range.ts";
import type { RunHooks } from "./guarded.ts";
import { modelDirectory } from "./hub.ts";
import { requirePositions, requireVocabulary } from "./load_model.ts";
import { loadRows } from "./load_rows.ts";
import type { PlanShape } from "./memory.ts";
import { lossScaleOf } from "./loss_scale.ts";
import { adamW } from "./optimiser.ts";
import type { TrainOptions } from "./options.ts";
import { trainRun } from "./run.ts";
import type { LoadedRun, RunKind, RunNumbers, RunSubject } from "./run_kind.ts";
import { checkOutput } from "./run_output.ts";
import { planObjective } from "./step_plan.ts";

/** What a run for a task reports; the keys are those of `--json`. Null where something was not measured. */
export interface ClassifyResult extends RunNumbers {
  readonly task: string;
  /** The task's metrics on the held-out rows, and their mean. */
  readonly metrics_before: GlueScores["metrics"] | null;
  readonly metrics_after: GlueScores["metrics"] | null;
  readonly score_after: number | null;
}

/** What a run for a task reads. */
interface LoadedEncoder extends LoadedRun<readonly Example[]> {
  readonly task: GlueTask;
  readonly checkpoint: EncoderCheckpoint;
  readonly tokenizer: SentenceTokenizer;
}

const ENCODER_RUN: RunKind<LoadedEncoder, Classifier, Scored, ClassifyResult> = {
  load,
  task: ({ task }) => task.name,
  planStep,
  open: (of, start) => openClassifier({ ...start, subject: subjectOf(of) }),
  measuredBy: ({ held }) => held ? `${held.length} held-out rows` : "",
  evaluate: evaluateEncoder,
  rehearse: () => Promise.resolve(),
  complete: (_session, _loaded, found) => Promise.resolve(found),
  mergedFields: ({ checkpoint: { config }, task }) => headFields(config, task),
  tellHeld: ({ loaded, before, after }, options, say) => tellScores(loaded.task, before, after, options, say),
  result: (numbers, { loaded, before, after }) => ({
    task: loaded.task.name,
    ...numbers,
    metrics_before: before?.metrics ?? null,
    metrics_after: after?.scores.metrics ?? null,
    score_after: after?.scores.score ?? null,
  }),
  describeRow: ({ ids, classified }, { task: { target } }) => {
    const { types, target: value } = classified!, second = types.indexOf(1);
    const where = second < 0 ? "" : `, of the second sentence from ${second + 1} on`;
    return `${ids.length} tokens${where}; ${
      target.kind === "classes" ? `label ${target.labels[value]}` : `score ${value}`
    }`;
  },
  describeRows: ({ task: { target }, train }) =>
    describeTargets(target, train.map((e) => e.classified!.target)),
};

/** Fine-tune an encoder as asked. Fails with UserError for what the user can mend. */
export function fineTuneClassifier(
  options: TrainOptions,
  hooks: RunHooks,
): Effect.Effect<ClassifyResult, UserError> {
  return trainRun(ENCODER_RUN, options, hooks);
}

/** Tell what {@linkcode fineTuneClassifier} would do; see {@linkcode dryRunOf}. */
export function classifyDryRun(
  options: TrainOptions,
  hooks: DryRunHooks,
): Effect.Effect<DryRun, UserError> {
  return dryRunOf(ENCODER_RUN, options, hooks);
}

async function load(options: TrainOptions, { say }: RowHooks): Promise<LoadedEncoder> {
  if (!options.dryRun) checkOutput(options);
  const task = taskOf(options), { model, dtype, seed, seq } = options;
  const dir = await modelDirectory(model, { say });
  const found = loadEncoder(dir, { dtype, seed, outputs: outputsOf(task.target), lost: rangeSayer(say) });
  const checkpoint = { ...found, config: withDropout(found.config, options.modelDropout) };
  const { config, fresh, layout, weights, lost } = checkpoint;
  const tokenizer = loadSentenceTokenizer(dir, config);
  requireVocabulary(model, tokenizer, config);
  requirePositions(seq, config);
  say(`model: ${model}, ${config.layers} layers of ${config.hiddenSize}`);
  const { hidden, attention, head } = config.dropout;
  if (hidden + attention + head > 0) {
    say(`dropout of a step: hidden states ${hidden}, attention ${attention}, head ${head}`);
  }
  if (fresh.length > 0) say(`new for this task, drawn from --seed: ${fresh.join(", ")}`);
  const read = async (names: string): Promise<OpenRows<readonly Example[]>> => {
    const all = await Promise.all(rowFiles(names).map((file) => loadLabelled(file, task, tokenizer, seq)));
    const examples = all.flatMap((d) => d.examples), truncated = all.reduce((n, d) => n + d.truncated, 0);
    say(`${names}: ${examples.length} rows${truncated ? `, ${truncated} cut to ${seq} tokens` : ""}`);
    return {
      ...{ examples, truncated, dropped: 0, digest: digestRows(examples), share: 1 },
      [Symbol.dispose]: () => {},
    };
  };
  const pick = (examples: readonly Example[], numbers: Uint32Array): readonly Example[] =>
    Array.from(numbers, (i) => examples[i]!);
  return {
    ...{ task, dir, checkpoint, tokenizer, layout, weights, lost },
    ...await loadRows(options, { read, pick, say }),
  };
}

/** The task that was asked for. Throws UserError where none was. */
function taskOf({ task }: Pick<TrainOptions, "task">): GlueTask {
  if (task !== null) return GLUE_TASKS[task];
  throw new UserError("--task: give the task of GLUE that the encoder is to learn.");
}

function subjectOf({ loaded: { checkpoint, task }, classes }: RunSubject<LoadedEncoder>): ClassifierSubject {
  return { config: checkpoint.config, target: task.target, classes };
}

function planStep(of: RunSubject<LoadedEncoder>, capabilities: Capabilities, shape: PlanShape): Compiled {
  const { classes, weights, options } = of;
  return planObjective({
    capabilities,
    classes,
    objective: classifierObjective(subjectOf(of)),
    weights: new Map([...weights].map(([name, t]) => [name, t.aval])),
    optimiser: adamW({ clip: options.clip, lossScale: lossScaleOf(options) }),
    accumulate: options.accumulate,
    batch: classifierAvals(shape),
  });
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

/** How often each class occurs, or where the numbers lie. */
function describeTargets(target: GlueTarget, values: readonly number[]): string {
  if (target.kind === "classes") {
    return target.labels.map((label, i) => `label ${label}: ${values.filter((v) => v === i).length} rows`)
      .join(", ");
  }
  const mean = values.reduce((a, b) => a + b) / values.length;
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return `scores from ${least} to ${most}, ${mean.toFixed(2)} on average`;
}
