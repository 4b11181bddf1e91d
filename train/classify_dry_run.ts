/** A run for a task that is only told of: sentences as the encoder sees them, classes, steps, memory. @module */
import * as Effect from "effect/Effect";
import { checkLimits } from "../core/mod.ts";
import { countTrainable } from "./arena.ts";
import { batches, positions, type TokenBatch } from "./batches.ts";
import { classifierInputs, classifierObjective } from "./classifier.ts";
import { loadTask } from "./classify_run.ts";
import { epochShape, piecesOf, showPieces, spread } from "./data/preview.ts";
import { openDevice } from "./devices.ts";
import { type DryRun, type DryRunHooks, sayStep, SHOWN } from "./dry_run.ts";
import type { UserError } from "./errors.ts";
import type { GlueTarget } from "./evaluation/glue_tasks.ts";
import { describeClasses } from "./methods.ts";
import { adamW } from "./optimiser.ts";
import { traineesOf } from "./run_record.ts";
import type { TrainOptions } from "./options.ts";
import { attempt } from "./run.ts";
import { stepBytes } from "./session.ts";
import { planObjective } from "./step_plan.ts";
import { totalSteps } from "./train_loop.ts";

/**
 * Load what a run would load and tell what it would do, without a step and without writing. Fails with UserError where
 * the run would: also when the plan is too large for the device, which is said after what it needs.
 */
export function classifyDryRun(
  options: TrainOptions,
  { say, colour }: DryRunHooks,
): Effect.Effect<DryRun, UserError> {
  return Effect.scoped(Effect.gen(function* () {
    const loaded = yield* attempt(() => loadTask(options, { say }));
    const { task: { target }, tokenizer, checkpoint, data, train } = loaded;
    const { capabilities } = yield* openDevice(options.device, options.dtype === "f16");
    return yield* attempt(() => {
      train.slice(0, SHOWN).forEach((example, i) => {
        const { types, target: value } = example.classified!, second = types.indexOf(1);
        const where = second < 0 ? "" : `, of the second sentence from ${second + 1} on`;
        say(`\nrow ${i + 1}: ${example.ids.length} tokens${where}; ${showTarget(target, value)}`);
        say(showPieces(piecesOf(example, tokenizer), colour));
      });
      const targets = train.map((e) => e.classified!.target);
      say(`\n${showTargets(target, targets)}`);
      const lengths = spread(train.map(positions)), epoch = epochShape(train, options);
      const padding = epoch.padding / epoch.positions, steps = totalSteps(options, train);
      say(`tokens of a row: ${lengths.min} to ${lengths.max}, median ${lengths.median}`);
      say(`cut to --seq ${options.seq}: ${data.truncated} rows`);
      say(
        `an epoch: ${epoch.steps} steps of ${options.batch} rows, ${(100 * padding).toFixed(1)} % padding; ` +
          `this run: ${steps} steps`,
      );
      const { config, layout } = checkpoint;
      const { classes, weights } = traineesOf(options, layout, checkpoint.weights);
      const trainable = countTrainable(classes);
      say(`trained: ${describeClasses(classes)}; ${trainable.toLocaleString("en")} parameters`);
      const inputs = classifierInputs(longest([...batches(train, { ...options, epochs: 1 })]));
      const compiled = planObjective({
        capabilities,
        classes,
        objective: classifierObjective({ config, target, classes }),
        weights: new Map([...weights].map(([name, t]) => [name, t.aval])),
        optimiser: adamW({ clip: options.clip }),
        accumulate: options.accumulate,
        batch: Object.fromEntries(Object.entries(inputs).map(([name, t]) => [name, t.aval])),
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

function longest(all: readonly TokenBatch[]): TokenBatch {
  return all.reduce((a, b) => b.length > a.length ? b : a);
}

function showTarget(target: GlueTarget, value: number): string {
  return target.kind === "classes" ? `label ${target.labels[value]}` : `score ${value}`;
}

/** How often each class occurs, or where the numbers lie. */
function showTargets(target: GlueTarget, values: readonly number[]): string {
  if (target.kind === "classes") {
    return target.labels.map((label, i) => `label ${label}: ${values.filter((v) => v === i).length} rows`)
      .join(", ");
  }
  const mean = values.reduce((a, b) => a + b) / values.length;
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return `scores from ${least} to ${most}, ${mean.toFixed(2)} on average`;
}
