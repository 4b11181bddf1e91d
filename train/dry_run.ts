/** A run that is only told of: rows as the model sees them, steps, and memory from the plan of the step. @module */
import * as Effect from "effect/Effect";
import { type Capabilities, checkLimits, showBytes } from "../core/mod.ts";
import { loadAdapter } from "./adapter_directory.ts";
import { countTrainable } from "./arena.ts";
import { epochShape, piecesOf, showPieces, spread } from "./data/preview.ts";
import { describeDevice, openDevice } from "./devices.ts";
import type { UserError } from "./errors.ts";
import { decoderLayout, describeClasses, layoutClasses } from "./methods.ts";
import { adamW } from "./optimiser.ts";
import type { TrainOptions } from "./options.ts";
import { attempt, load, longestOf } from "./run.ts";
import { type StepBytes, stepBytes } from "./session.ts";
import { planStep } from "./step_plan.ts";
import { totalSteps } from "./train_loop.ts";

/** What a dry run finds; the keys are those of `--json`. */
export interface DryRun {
  readonly rows: number;
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
}

/** How a dry run tells of what it finds. */
export interface DryRunHooks {
  readonly say: (line: string) => void;
  /** Whether lines may hold colours. */
  readonly colour: boolean;
}

/** Rows that are shown. */
export const SHOWN = 3;

/** What a step needs on a device, and the device, for people. */
export function sayStep(
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

/**
 * Load what a run would load and tell what it would do, without a step and without writing. Fails with UserError where
 * the run would: also when the plan is too large for the device, which is said after what it needs.
 */
export function dryRun(
  options: TrainOptions,
  { say, colour }: DryRunHooks,
): Effect.Effect<DryRun, UserError> {
  return Effect.scoped(Effect.gen(function* () {
    const loaded = yield* attempt(() => load(options, { say }));
    const { tokenizer, checkpoint, data, train, held } = loaded;
    const { capabilities } = yield* openDevice(options.device, options.dtype === "f16");
    return yield* attempt(() => {
      train.slice(0, SHOWN).forEach((example, i) => {
        const learnt = example.trained.filter((t, at) => t && at > 0).length;
        say(`\nrow ${i + 1}: ${example.ids.length} tokens, ${learnt} trained`);
        say(showPieces(piecesOf(example, tokenizer), colour));
      });
      const lengths = spread(train.map((e) => e.ids.length)), epoch = epochShape(train, options);
      const padding = epoch.padding / epoch.positions, steps = totalSteps(options, train);
      say(`\ntokens of a row: ${lengths.min} to ${lengths.max}, median ${lengths.median}`);
      say(`cut to --seq ${options.seq}: ${data.truncated} rows; left out: ${data.dropped}`);
      say(
        `an epoch: ${epoch.steps} steps of ${options.batch} rows, ${(100 * padding).toFixed(1)} % padding; ` +
          `this run: ${steps} steps`,
      );
      const { config } = checkpoint, layout = decoderLayout(config);
      const earlier = options.adapter === null
        ? null
        : loadAdapter(options.adapter, layout, checkpoint.weights, { training: true });
      const classes = earlier?.classes ?? layoutClasses(options, layout);
      const trainable = countTrainable(classes);
      say(`trained: ${describeClasses(classes)}; ${trainable.toLocaleString("en")} parameters`);
      const compiled = planStep({
        capabilities,
        subject: { config, classes },
        weights: new Map([...earlier?.weights ?? checkpoint.weights].map(([name, t]) => [name, t.aval])),
        optimiser: adamW({ clip: options.clip }),
        accumulate: options.accumulate,
        maxLength: Math.min(config.maxPositions, longestOf(options, held)),
        batch: { rows: options.batch, length: epoch.longest },
      });
      const bytes = stepBytes({ compiled });
      sayStep(bytes, { rows: options.batch, length: epoch.longest }, capabilities, say);
      checkLimits(compiled.plan, capabilities);
      return Promise.resolve({
        rows: train.length,
        truncated: data.truncated,
        dropped: data.dropped,
        lengths,
        padding,
        steps_per_epoch: epoch.steps,
        steps,
        trainable,
        step_bytes: bytes,
      });
    });
  }));
}
