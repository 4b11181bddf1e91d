/** A run that is only told of: rows as the model sees them, steps, memory from the plans, and the time of a step. @module */
import * as Effect from "effect/Effect";
import { type Capabilities, showBytes } from "../core/mod.ts";
import { countTrainable } from "./arena.ts";
import { countKind } from "./count_kind.ts";
import { attempt } from "./attempt.ts";
import { batches, batchShapes, type TokenBatch } from "./batches.ts";
import { type Examples, firstExamples, idsAt } from "./data/examples.ts";
import { epochShape, piecesOf, showPieces, spread } from "./data/preview.ts";
import { describeDevice, openDevice } from "./devices.ts";
import type { UserError } from "./errors.ts";
import { freeMemory, requireRoom, requireRunRoom, showParts } from "./memory.ts";
import { describeClasses } from "./methods.ts";
import type { TrainOptions } from "./options.ts";
import { loading, startOf } from "./run_start.ts";
import type { HeldOut, LoadedRun, RunKind } from "./run_kind.ts";
import { traineesOf } from "./run_record.ts";
import { type StepBytes, stepBytes } from "./step_bytes.ts";
import { totalSteps } from "./train_loop.ts";
import type { Training } from "./training.ts";

/** What a dry run finds; the keys are those of `--json`. */
export interface DryRun {
  readonly rows: number;
  /** The share of the data that was read: 1, or of large files what the first rows are; `steps` are then an estimate. */
  readonly share: number;
  readonly truncated: number;
  readonly dropped: number;
  /** Tokens of an example, once cut. */
  readonly lengths: { readonly min: number; readonly median: number; readonly max: number };
  /** Share of the positions of an epoch's batches that hold no token. */
  readonly padding: number;
  readonly steps_per_epoch: number;
  readonly steps: number;
  readonly trainable: number;
  /** What the step of the longest batch needs on the device. */
  readonly step_bytes: StepBytes;
  /** Most bytes on the device at one time, evaluation and generation included. */
  readonly peak_bytes: number;
  /** Seconds of one step of the longest batch, the least and the most that were measured, and what all steps then take at the least; evaluation comes on top. */
  readonly step_seconds: number;
  readonly step_seconds_most: number;
  readonly seconds: number;
}

/** How a dry run tells of what it finds. */
export interface DryRunHooks {
  readonly say: (line: string) => void;
  /** Whether lines may hold colours. */
  readonly colour: boolean;
}

/** Rows that are shown. */
const SHOWN = 3;

/**
 * Load what a run of this kind would load and tell what it would do, without writing; some steps are taken to measure their
 * time. Fails with UserError where the run would: also when the plan is too large for the device, which is said after what
 * it needs.
 */
export function dryRunOf<L extends LoadedRun, S extends Training<TokenBatch>, M extends HeldOut, R>(
  kind: RunKind<L, S, M, R>,
  options: TrainOptions,
  { say, colour }: DryRunHooks,
): Effect.Effect<DryRun, UserError> {
  return Effect.scoped(Effect.gen(function* () {
    const loaded = yield* loading(kind, options, { say });
    const { tokenizer, data, train, layout } = loaded;
    const device = yield* openDevice(options.device, options.dtype === "f16");
    const { capabilities } = device;
    return yield* attempt(async () => {
      firstExamples(train, SHOWN).forEach((example, i) => {
        say(`\nrow ${i + 1}: ${kind.describeRow(example, loaded)}`);
        say(showPieces(piecesOf(example, tokenizer), colour));
      });
      const about = kind.describeRows(loaded);
      say(about === "" ? "" : `\n${about}`);
      const lengths = spread(Uint32Array.from({ length: train.length }, (_, i) => idsAt(train, i))),
        epoch = epochShape(train, options);
      const padding = epoch.padding / epoch.positions, perEpoch = Math.round(epoch.steps / data.share);
      // Of a sample the epochs are known by its share.
      const steps = data.share < 1 && options.steps === null
        ? Math.max(1, Math.round(options.epochs * perEpoch))
        : totalSteps(options, train);
      say(`tokens of a row: ${lengths.min} to ${lengths.max}, median ${lengths.median}`);
      say(`cut to --seq ${options.seq}: ${data.truncated} rows; left out: ${data.dropped}`);
      say(
        `an epoch: ${data.share < 1 ? "about " : ""}${perEpoch} steps of ${options.batch} rows, ${
          (100 * padding).toFixed(1)
        } % padding; ` +
          `this run: ${steps} steps`,
      );
      const trainees = traineesOf(options, layout, loaded.weights), { classes, weights } = trainees;
      const trainable = countTrainable(classes), subject = { options, loaded, classes, weights };
      say(`trained: ${describeClasses(classes)}; ${trainable.toLocaleString("en")} parameters`);
      const longest = { rows: options.batch, length: epoch.longest };
      const compiled = kind.planStep(subject, capabilities, longest), bytes = stepBytes({ compiled });
      sayStep(bytes, longest, capabilities, say);
      requireRoom(compiled, capabilities, freeMemory());
      const run = await countKind(kind, subject, trainees, capabilities, steps);
      say(
        `memory of the run at its peak: ${showBytes(run.peak)} (at the start ${showBytes(run.start)}; then ${
          showParts(run)
        })`,
      );
      requireRunRoom(run, capabilities, freeMemory());
      const session = await kind.open(subject, startOf(device, subject, trainees, () => {}));
      const { least: stepSeconds, most } = await timeStep(session, train, options, epoch.longest);
      const seconds = stepSeconds * steps * epoch.positions / (epoch.steps * options.batch * epoch.longest);
      const took = [...new Set([stepSeconds, most].map((s) => s.toPrecision(2)))].join(" to ");
      say(
        `time of the steps: about ${
          showTime(seconds)
        } at the least (measured: a step of ${options.batch} × ${epoch.longest} ` +
          `took ${took} s; shorter batches are counted by their positions)`,
      );
      return {
        rows: train.length,
        share: data.share,
        truncated: data.truncated,
        dropped: data.dropped,
        lengths,
        padding,
        steps_per_epoch: perEpoch,
        steps,
        trainable,
        step_bytes: bytes,
        peak_bytes: run.peak,
        step_seconds: stepSeconds,
        step_seconds_most: most,
        seconds,
      };
    });
  }));
}

/** What a step needs on a device, and the device, for people. */
function sayStep(
  bytes: StepBytes,
  { rows, length }: { readonly rows: number; readonly length: number },
  capabilities: Capabilities,
  say: DryRunHooks["say"],
): void {
  const parts = [
    `weights ${showBytes(bytes.weights)}`,
    `trained parameters ${showBytes(bytes.trained)}`,
    `optimiser ${showBytes(bytes.optimiser)}`,
    `activations and gradients ${showBytes(bytes.temporaries)}`,
  ];
  say(`memory of a step of ${rows} × ${length}: ${showBytes(bytes.total)} (${parts.join(", ")})`);
  const { maxTotalBytes } = capabilities;
  say(
    `device: ${describeDevice(capabilities)}${maxTotalBytes === null ? "" : `, ${showBytes(maxTotalBytes)}`}`,
  );
}

/** Steps that are timed, and seconds after which no further one is. */
const TIMED = 5, TIMED_SECONDS = 3;

/**
 * Seconds of a step of the longest batch: the least and the most of some, after a first one that compiles. Other programs
 * make steps longer, never shorter, so that the least says most.
 */
async function timeStep(
  session: Pick<Training<TokenBatch>, "step">,
  train: Examples,
  { batch, seq, seed, pack, lr, orthogonalLr }: TrainOptions,
  longest: number,
): Promise<{ readonly least: number; readonly most: number }> {
  const order = { batch, seq, seed, pack, epochs: 1 };
  let before = 0;
  for (const { length } of batchShapes(train, order)) {
    if (length === longest) break;
    before++;
  }
  const [rows] = batches(train, order, before), rates = { plain: lr, orthogonal: orthogonalLr };
  if (!rows) throw new RangeError(`No batch has ${longest} positions.`);
  await session.step(rows, rates);
  const begun = performance.now(), times: number[] = [];
  while (times.length < TIMED && performance.now() - begun < 1000 * TIMED_SECONDS) {
    const start = performance.now();
    await session.step(rows, rates);
    times.push((performance.now() - start) / 1000);
  }
  return { least: Math.min(...times), most: Math.max(...times) };
}

/** `12 s`, `3 min 20 s`, `2 h 5 min`. */
function showTime(seconds: number): string {
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60);
  if (seconds < 10) return `${seconds.toPrecision(2)} s`;
  if (minutes < 1) return `${whole} s`;
  return minutes < 60
    ? `${minutes} min ${whole % 60} s`
    : `${Math.floor(minutes / 60).toLocaleString("en")} h ${minutes % 60} min`;
}
