/** A whole run: load, evaluate, train, evaluate again, save. The edge of the program: every effect is here or below. @module */
import * as Effect from "effect/Effect";
import { countTrainable, type ShapeClass } from "./arena.ts";
import { peftForms } from "./adapter_directory.ts";
import { drawLambdas } from "./adapter_file.ts";
import { batches, type TokenBatch } from "./batches.ts";
import { type Checkpoint, loadCheckpoint } from "./checkpoint.ts";
import { lockOutput } from "./run_lock.ts";
import {
  checkpointSteps,
  digestRows,
  type Measured,
  readCheckpoint,
  requireSameRun,
  type RunCheckpoint,
} from "./run_checkpoint.ts";
import { checkOutput, writeResults } from "./run_output.ts";
import { type Dataset, type Example, openDataset } from "./data.ts";
import { describeDevice, openDevice } from "./devices.ts";
import { DataError, LostError, ResumeError, UserError } from "./errors.ts";
import { answerAll, exactMatch } from "./exact_match.ts";
import { type DecoderConfig, weightShapes } from "./decoder.ts";
import { decoderLayout, describeClasses, describeFit } from "./methods.ts";
import { adamW } from "./optimiser.ts";
import type { TrainOptions } from "./options.ts";
import { drawLambdaHeatmap } from "./plots/mod.ts";
import { readMetrics } from "./run_files.ts";
import { leaveTrained, processorOf, recording, traineesOf } from "./run_record.ts";
import { modelDirectory } from "./hub.ts";
import { writeModel } from "./model_directory.ts";
import { openSession, type Session, type StepBytes, valuesOf } from "./session.ts";
import { epochShape } from "./data/preview.ts";
import { freeMemory, requireRoom } from "./memory.ts";
import { planStep } from "./step_plan.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";
import { DeviceLostError, PlanError, ShapeError, showBytes } from "../core/mod.ts";
import { type Earlier, NOTHING_YET, totalSteps, trainAll } from "./train_loop.ts";
import { writeTextAtomically } from "./atomic_file.ts";
import { leaveReport } from "./run_report/leave.ts";
import { addScalars, heldOutScalars } from "./tensorboard/event_file.ts";

/** What a run reports; the keys are those of `--json`. Null where something was not measured. */
export interface RunResult {
  readonly method: string;
  readonly device: "cpu" | "gpu";
  readonly adapter_name: string;
  readonly steps: number;
  /** Training loss of the first step and mean of the last tenth (at least one step). */
  readonly loss_before: number | null;
  readonly loss_after: number | null;
  /** Held-out loss, mean per trained token. */
  readonly eval_before: number | null;
  readonly eval_after: number | null;
  /** Held-out exact match, as a share of 1. */
  readonly exact_before: number | null;
  readonly exact_after: number | null;
  /** Positions of the batches, padding left out, by the time of the steps after the first. */
  readonly tokens_per_s: number | null;
  /** Most bytes on the device at one time, evaluation and generation included. */
  readonly peak_bytes: number;
  /** What a training step alone needs on the device. */
  readonly step_bytes: StepBytes | null;
  readonly trainable: number;
  readonly out: string;
}

/** How the caller watches and stops a run. */
export interface RunHooks {
  /** A line for people. */
  readonly say: (line: string) => void;
  /** Whether to stop after the current step. */
  readonly stopped: () => boolean;
}

/** Held-out rows that are answered in full. */
const ANSWERED = 128;
/** Samples shown before and after. */
const SHOWN = 3;

/** Fine-tune as asked. Fails with UserError for what the user can mend; sizes that do not fit become one as well. */
export function fineTune(options: TrainOptions, hooks: RunHooks): Effect.Effect<RunResult, UserError> {
  return guarded(fineTuneOnce, options, hooks);
}

/** Make a run while nobody else writes into its directory; it goes on once where the device goes away. */
export function guarded<T>(
  once: (options: TrainOptions, hooks: RunHooks) => Effect.Effect<T, UserError>,
  options: TrainOptions,
  hooks: RunHooks,
): Effect.Effect<T, UserError> {
  /** From the newest checkpoint, or from the beginning where there is none. */
  const goOn = (lost: LostError): Effect.Effect<T, UserError> => {
    const resume = checkpointSteps(options.out).length > 0;
    hooks.say(
      `${lost.message} ${resume ? "Going on from the newest checkpoint" : "Beginning again"}, this once.`,
    );
    return once({ ...options, resume }, hooks);
  };
  return Effect.scoped(Effect.gen(function* () {
    yield* lockOutput(options.out);
    return yield* Effect.matchEffect(once(options, hooks), {
      onSuccess: (result) => Effect.succeed(result),
      // Once: a device that goes away again will not stay.
      onFailure: (error) => error instanceof LostError && !hooks.stopped() ? goOn(error) : Effect.fail(error),
    });
  }));
}

function fineTuneOnce(options: TrainOptions, hooks: RunHooks): Effect.Effect<RunResult, UserError> {
  return Effect.scoped(Effect.gen(function* () {
    const { tokenizer, checkpoint, train, held, rows, resumed, done: earlierSteps } = yield* attempt(() =>
      load(options, hooks)
    );
    const device = yield* openDevice(options.device, options.dtype === "f16");
    const { kind, adapterName } = device.capabilities;
    hooks.say(`device: ${describeDevice(device.capabilities)}`);
    return yield* attempt(async () => {
      const { config } = checkpoint, layout = decoderLayout(config);
      const { earlier, classes, own, method, weights } = traineesOf(options, layout, checkpoint.weights);
      const trainable = countTrainable(classes);
      if (earlier) hooks.say(`goes on from ${options.adapter}: ${describeClasses(classes)}`);
      hooks.say(`method: ${method}, ${trainable.toLocaleString("en")} trainable parameters`);
      if (options.compose !== null || options.saveModules !== null) hooks.say(describeClasses(classes));
      const fit = own ? describeFit(own, layout.modules) : "";
      if (fit) hooks.say(fit);
      const maxLength = Math.min(config.maxPositions, longestOf(options, held));
      const planned = planStep({
        capabilities: device.capabilities,
        subject: { config, classes },
        weights: new Map([...weights].map(([name, t]) => [name, t.aval])),
        optimiser: adamW({ clip: options.clip }),
        accumulate: options.accumulate,
        maxLength,
        batch: { rows: options.batch, length: epochShape(train, options).longest },
        packed: options.pack,
      });
      requireRoom(planned, device.capabilities, freeMemory());
      const session = await openSession({
        device,
        subject: { config, classes },
        weights,
        optimiser: adamW({ clip: options.clip }),
        accumulate: options.accumulate,
        seed: options.seed,
        maxLength,
        startBatches: firstBatches(train, options),
        ...(resumed && startsFromFactors(classes)
          ? { values: valuesOf(classes, resumed.tensors) }
          : earlier
          ? { values: earlier.values }
          : {}),
        say: hooks.say,
      });
      if (resumed) {
        session.restore({ steps: resumed.step, tensors: resumed.tensors });
        sayResumed(resumed, totalSteps(options, train), processorOf(device.capabilities), hooks.say);
      }
      const before = resumed ? resumed.before : await measure(session, tokenizer, held, options, hooks);
      const record = recording({
        ...{ options, session, device: device.capabilities, rows, before, earlier: earlierSteps },
        resumed: resumed !== null,
      });
      const done = await trainAll(
        session,
        train,
        options,
        { stopped: hooks.stopped, ...record },
        earlierSteps,
      );
      if (done.steps === 0) throw new UserError("interrupted before the first step: nothing is written.");
      const forms = earlier ? earlier.layouts : peftForms(options, layout);
      const saved = { model: options.model, layout, classes, trained: await session.trained() };
      leaveTrained(options.out, saved, { own, forms, done }, hooks.say);
      const after = done.interrupted ? null : await measure(session, tokenizer, held, options, hooks);
      addScalars(options.out, done.steps, heldOutScalars(after));
      if (options.merge) {
        const merged = await session.merged();
        writeResults(options.out, (to) => writeModel(`${to}/merged`, checkpoint.dir, merged));
        hooks.say(`the model with the adapter merged in: ${options.out}/merged`);
      }
      await conclude(session, classes, options, hooks, before, after);
      const result: RunResult = {
        method,
        device: kind,
        adapter_name: adapterName,
        steps: done.steps,
        loss_before: done.first,
        loss_after: done.last,
        eval_before: before?.loss ?? null,
        eval_after: after?.loss ?? null,
        exact_before: before?.exact ?? null,
        exact_after: after?.exact ?? null,
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

/** Whether adapters start from factors of weights or gradients, which take time and are not needed again. */
export function startsFromFactors(classes: readonly ShapeClass[]): boolean {
  return classes.some((c) => (c.fitted?.asks.length ?? 0) > 0);
}

/** Run a promise; errors that the user can mend fail, all others are defects. */
export function attempt<T>(run: () => Promise<T>): Effect.Effect<T, UserError> {
  return Effect.catchDefect(Effect.promise(() => Promise.resolve().then(run)), (error: unknown) => {
    if (error instanceof UserError) return Effect.fail(error);
    if (error instanceof DeviceLostError) return Effect.fail(new LostError(error.message));
    if (error instanceof ShapeError || error instanceof PlanError) {
      return Effect.fail(new UserError(error.message.replace(/\.?\n\s*/g, "; ")));
    }
    if (error instanceof RangeError && /allocation failed|Invalid typed array length/.test(error.message)) {
      return Effect.fail(
        new UserError(`There is not enough memory (${error.message}): try a smaller --batch or --seq.`),
      );
    }
    if (isFileError(error)) {
      return Effect.fail(new UserError(`A file cannot be read or written: ${error.message}`));
    }
    return Effect.die(error);
  });
}

/** Whether the file system refused: permissions, a file in the place of a directory, no space left. */
function isFileError(error: unknown): error is Error {
  return error instanceof Error &&
    (/\(os error \d+\)/.test(error.message) || error instanceof Deno.errors.NotCapable);
}

/** Says once of each weight how many of its values are too large for f16: a weight may be read more than once. */
export function overflowSayer(say: RunHooks["say"]): (name: string, count: number) => void {
  const said = new Set<string>();
  return (name, count) => {
    if (!said.has(name)) say(`warning: ${count} values of ${name} are too large for f16; use --dtype f32`);
    said.add(name);
  };
}

/**
 * A model, by its directory or its id on the hub, and its tokenizer, checked against each other. Throws CheckpointError,
 * TokenizerError and DataError.
 */
export async function loadModel(
  { model, dtype }: Pick<TrainOptions, "model" | "dtype">,
  say: RunHooks["say"],
): Promise<{ readonly checkpoint: Checkpoint; readonly tokenizer: Tokenizer }> {
  const dir = await modelDirectory(model, { say });
  const checkpoint = loadCheckpoint(dir, { dtype, shapes: weightShapes, overflow: overflowSayer(say) });
  const tokenizer = loadTokenizer(dir);
  const { config } = checkpoint;
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new DataError(
      `${model}: tokenizer.json has ${tokenizer.vocabSize} tokens and the model's vocab_size is ${config.vocabSize}; use the tokenizer that belongs to the model.`,
    );
  }
  return { checkpoint, tokenizer };
}

/** What a run reads: the model, its tokenizer, rows to learn and rows to measure on. */
export interface Loaded {
  readonly tokenizer: Tokenizer;
  readonly checkpoint: Checkpoint;
  readonly data: Dataset;
  /** The examples of `data`. */
  readonly train: readonly Example[];
  readonly held: readonly Example[] | null;
  /** Digest of the examples. */
  readonly rows: string;
  /** The checkpoint that the run goes on from, and how far its metrics are, with their text. */
  readonly resumed: RunCheckpoint | null;
  readonly done: Earlier & { readonly text: string };
}

/** Rows, model and tokenizer, checked against each other; a dry run needs no place to write to. Throws UserError. */
export async function load(options: TrainOptions, { say }: Pick<RunHooks, "say">): Promise<Loaded> {
  if (!options.dryRun) checkOutput(options);
  const { checkpoint, tokenizer } = await loadModel(options, say);
  const { config } = checkpoint;
  if (options.seq > config.maxPositions) {
    throw new UserError(
      `--seq ${options.seq}: the model has ${config.maxPositions} positions; use at most that many.`,
    );
  }
  const read = async (file: string): Promise<Dataset> => {
    const data = await openDataset(file, tokenizer, options.seq, options.format);
    say(
      `${file}: ${data.examples.length} rows` +
        (data.truncated ? `, ${data.truncated} cut to ${options.seq} tokens` : "") +
        (data.dropped ? `, ${data.dropped} left out (nothing to learn within ${options.seq} tokens)` : ""),
    );
    return data;
  };
  say(`model: ${options.model}, ${config.layers} layers of ${config.hiddenSize}`);
  sayDropout(config, say);
  const data = await read(options.data), train = data.examples;
  const rows = await digestRows(train);
  return {
    tokenizer,
    checkpoint,
    data,
    train,
    held: options.eval ? (await read(options.eval)).examples : null,
    rows,
    ...(options.resume
      ? await loadRun(options, train, rows)
      : { resumed: null, done: { ...NOTHING_YET, text: "" } }),
  };
}

/** Say what the model's own training had and this one has not. */
function sayDropout(config: DecoderConfig, say: RunHooks["say"]): void {
  const fields = config.family === "gpt2" ? Object.keys(config.dropout) : [];
  if (fields.length > 0) say(`the model trains without dropout (config.json: ${fields.join(", ")})`);
}

/** The run that is continued: its newest checkpoint, and how far its metrics are. */
export async function loadRun(options: TrainOptions, train: readonly Example[], rows: string) {
  const resumed = await readCheckpoint(options.out);
  requireSameRun(resumed, options, rows);
  const { step, skipped } = resumed, total = totalSteps(options, train);
  if (total < step) {
    throw new ResumeError(
      `--resume: the run has done ${step} steps and is to have ${total}; give more with --steps, which counts all.`,
      { step, total },
    );
  }
  const { text, losses, seconds } = readMetrics(options.out, step);
  return { resumed, done: { steps: step, skipped, losses, seconds, text } };
}

/** Say where a run goes on, and what keeps it from being the same to the last bit. */
export function sayResumed(
  { dir, step, device }: RunCheckpoint,
  total: number,
  here: string,
  say: RunHooks["say"],
): void {
  say(`goes on from ${dir}: step ${step} of ${total}`);
  if (device !== here) say(`it was begun on ${device}: from here on its last bits may differ`);
}

/** The first batches of training, whose gradients start the adapters that ask for them. */
export function firstBatches(
  examples: readonly Example[],
  { batch, seq, seed, startBatches }: TrainOptions,
): readonly TokenBatch[] {
  const all: TokenBatch[] = [];
  for (const rows of batches(examples, { batch, seq, seed, epochs: Infinity })) {
    if (all.length === startBatches) break;
    all.push(rows);
  }
  return all;
}

/** Longest sequence that training or answering may reach. */
export function longestOf({ seq }: TrainOptions, held: readonly Example[] | null): number {
  const asked = (held ?? []).filter((e) => e.answer !== undefined).map((e) => e.promptLength + seq);
  return Math.max(seq, Math.min(2 * seq, ...(asked.length > 0 ? [Math.max(...asked)] : [seq])));
}

/** The held-out examples that are answered in full: those with an answer, else the first few. */
export function askedOf(held: readonly Example[]): readonly Example[] {
  const asked = held.filter((e) => e.answer !== undefined);
  return (asked.length > 0 ? asked : held.slice(0, SHOWN)).slice(0, ANSWERED);
}

async function measure(
  session: Session,
  tokenizer: Tokenizer,
  held: readonly Example[] | null,
  options: TrainOptions,
  { say, stopped }: RunHooks,
): Promise<Measured | null> {
  if (!held) return null;
  const all = batches(held, { batch: options.batch, seq: options.seq, seed: 0, epochs: 1, shuffle: false });
  say(`measuring on ${held.length} held-out rows`);
  const { loss } = await session.evaluate(all, stopped);
  if (stopped()) return null;
  const chosen = askedOf(held);
  const samples = await answerAll(session, tokenizer, chosen, { maxLength: options.seq });
  return { loss, exact: exactMatch(samples), samples };
}

/** Names of the branches of the mixed adapters, for the picture of their weights; all names of a branch where they differ. */
export function branchNames(classes: readonly ShapeClass[]): readonly string[] {
  const lists = classes.flatMap((c) => c.mixing.map((m) => m.branches));
  const most = Math.max(0, ...lists.map((names) => names.length));
  return Array.from({ length: most }, (_, i) => [...new Set(lists.flatMap((l) => l[i] ?? []))].join(" or "));
}

async function conclude(
  session: Session,
  classes: readonly ShapeClass[],
  options: TrainOptions,
  { say }: RunHooks,
  before: Measured | null,
  after: Measured | null,
): Promise<void> {
  const picture = drawLambdas(await session.lambdas(), branchNames(classes));
  if (picture) {
    say(`how each layer shared its steps (λ):\n${picture}`);
    await drawLambdaHeatmap(
      `${options.out}/metrics.jsonl`,
      `${options.out}/lambda.svg`,
      branchNames(classes),
    );
  }
  if (before && after) {
    const pairs = before.samples.slice(0, SHOWN).map((sample, i) => ({
      before: sample,
      after: after.samples[i]!,
    }));
    writeTextAtomically(
      `${options.out}/samples.json`,
      `${JSON.stringify({ before: before.samples, after: after.samples }, null, 1)}\n`,
    );
    for (const pair of pairs) {
      say(
        `\n> ${pair.before.prompt.trim()}\n  before: ${oneLine(pair.before.generated)}\n  after:  ${
          oneLine(pair.after.generated)
        }` +
          (pair.after.expected === null ? "" : `   (expected ${pair.after.expected})`),
      );
    }
    const percent = (x: number | null): string => x === null ? "–" : `${(100 * x).toFixed(1)} %`;
    say(
      `\nheld-out loss ${before.loss.toFixed(4)} → ${after.loss.toFixed(4)}, exact match ${
        percent(before.exact)
      } → ${percent(after.exact)}`,
    );
  }
  const { compileSeconds, temporaryBytes } = session.stats();
  say(
    `compiled in ${compileSeconds.toFixed(1)} s, ${
      showBytes(temporaryBytes)
    } of intermediates; results in ${options.out}`,
  );
}

function oneLine(text: string): string {
  const line = text.trim().replace(/\s*\n\s*/g, " ⏎ ");
  return line.length > 160 ? `${line.slice(0, 157)}...` : line;
}
