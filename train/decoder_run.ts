/** Runs of decoders, which learn rows as text. @module */
import type * as Effect from "effect/Effect";
import type { Checkpoint } from "./checkpoint.ts";
import { pickExamples } from "./data/hold_out.ts";
import { type OpenRows, openRows, type RowHooks } from "./data/open_rows.ts";
import type { DecoderConfig } from "./decoder.ts";
import {
  answerHeld,
  describeHeld,
  evaluateDecoder,
  type Held,
  longestOf,
  tellAnswers,
} from "./decoder_held.ts";
import { type DryRun, type DryRunHooks, dryRunOf } from "./dry_run.ts";
import type { UserError } from "./errors.ts";
import { parseAsked } from "./evaluation/asked.ts";
import { prepareAsked, rehearse, taskLength } from "./evaluation/during.ts";
import type { RunHooks } from "./guarded.ts";
import { loadModel, requirePositions } from "./load_model.ts";
import { loadRows } from "./load_rows.ts";
import { decoderLayout } from "./methods.ts";
import { lossScaleOf } from "./loss_scale.ts";
import { adamW } from "./optimiser.ts";
import type { TrainOptions } from "./options.ts";
import { trainRun } from "./run.ts";
import type { HeldOut, LoadedRun, RunKind, RunNumbers, RunSubject } from "./run_kind.ts";
import { checkOutput } from "./run_output.ts";
import { openSession, type Session } from "./session.ts";
import { planStep } from "./step_plan.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What a run of a decoder reports; the keys are those of `--json`. Null where something was not measured. */
export interface RunResult extends RunNumbers {
  /** Held-out exact match, as a share of 1. */
  readonly exact_before: number | null;
  readonly exact_after: number | null;
}

/** What a run of a decoder reads. */
interface LoadedDecoder extends LoadedRun, Held {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly held: Held["held"];
}

const DECODER_RUN: RunKind<LoadedDecoder, Session, HeldOut, RunResult> = {
  load,
  task: () => null,
  planStep: (of, capabilities, batch) => {
    const { weights, options: { clip, accumulate, pack } } = of;
    return planStep({
      capabilities,
      subject: subjectOf(of),
      weights: new Map([...weights].map(([name, t]) => [name, t.aval])),
      optimiser: adamW({ clip, lossScale: lossScaleOf(of.options) }),
      accumulate,
      maxLength: maxLengthOf(of),
      batch,
      packed: pack,
    });
  },
  open: (of, start) => openSession({ ...start, subject: subjectOf(of), maxLength: maxLengthOf(of) }),
  measuredBy: ({ held, tasks }, { seq }) =>
    [...(held ? [describeHeld(held, seq)] : []), ...tasks.map(({ name }) => name)].join(", "),
  evaluate: evaluateDecoder,
  rehearse: (session, { tasks, taskSeq, tokenizer }) => rehearse(tasks, { session, tokenizer, seq: taskSeq }),
  complete: answerHeld,
  mergedFields: () => ({}),
  tellHeld: ({ before, after }, options, say) => tellAnswers(before, after?.measured ?? null, options, say),
  result: (numbers, { before, after }) => ({
    ...numbers,
    exact_before: before?.exact ?? null,
    exact_after: after?.measured.exact ?? null,
  }),
  describeRow: ({ ids, trained }) =>
    `${ids.length} tokens, ${trained.filter((t, at) => t && at > 0).length} trained`,
  describeRows: () => "",
};

/** Fine-tune a decoder as asked. Fails with UserError for what the user can mend. */
export function fineTune(options: TrainOptions, hooks: RunHooks): Effect.Effect<RunResult, UserError> {
  return trainRun(DECODER_RUN, options, hooks);
}

/** Tell what {@linkcode fineTune} would do; see {@linkcode dryRunOf}. */
export function dryRun(options: TrainOptions, hooks: DryRunHooks): Effect.Effect<DryRun, UserError> {
  return dryRunOf(DECODER_RUN, options, hooks);
}

async function load(options: TrainOptions, hooks: RowHooks): Promise<LoadedDecoder> {
  const { say } = hooks;
  if (!options.dryRun) checkOutput(options);
  const { checkpoint, tokenizer } = await loadModel(options, say);
  const { config } = checkpoint, { seq } = options;
  requirePositions(seq, config);
  const read = async (names: string): Promise<OpenRows> => {
    const data = await openRows(names, tokenizer, options, hooks);
    say(
      `${names}: ${data.examples.length} rows` +
        (data.truncated ? `, ${data.truncated} cut to ${seq} tokens` : "") +
        (data.dropped ? `, ${data.dropped} left out (nothing to learn within ${seq} tokens)` : ""),
    );
    return data;
  };
  say(`model: ${options.model}, ${config.layers} layers of ${config.hiddenSize}`);
  sayDropout(config, say);
  const { dir, weights, lost } = checkpoint;
  const tasks = await prepareAsked(parseAsked(options.eval), options.evalLimit);
  return {
    ...{ checkpoint, tokenizer, dir, weights, lost, layout: decoderLayout(config) },
    ...{ tasks, taskSeq: taskLength(config) },
    ...await loadRows(options, { read, pick: pickExamples, say }),
  };
}

/** Say what the model's own training had and this one has not. */
function sayDropout(config: DecoderConfig, say: RunHooks["say"]): void {
  const fields = config.family === "gpt2" ? Object.keys(config.dropout) : [];
  if (fields.length > 0) say(`the model trains without dropout (config.json: ${fields.join(", ")})`);
}

function subjectOf({ loaded, classes }: RunSubject<LoadedDecoder>) {
  return { config: loaded.checkpoint.config, classes };
}

function maxLengthOf({ loaded, options }: RunSubject<LoadedDecoder>): number {
  const { checkpoint, held, tasks, taskSeq } = loaded;
  const longest = Math.min(checkpoint.config.maxPositions, longestOf(options, held));
  return tasks.length === 0 ? longest : Math.max(longest, taskSeq);
}
