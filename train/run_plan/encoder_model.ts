/** Encoders to be planned for, from their configuration: a task of GLUE with its head. @module */
import { type Aval } from "../../core/mod.ts";
import { batches, bucketLengths, type TokenBatch } from "../batches.ts";
import { openClassifier } from "../classifier.ts";
import { classifierAvals, classifierObjective, outputsOf } from "../classifier_objective.ts";
import { countRun, withoutNumbers } from "../count_run.ts";
import type { Example } from "../data.ts";
import { encoderShapes, headShapes } from "../encoder.ts";
import { headLayout } from "../encoder_checkpoint.ts";
import type { EncoderConfig } from "../encoder_config.ts";
import { PREDICTED } from "../encoder_held.ts";
import { parseAsked } from "../evaluation/asked.ts";
import type { GlueTarget } from "../evaluation/glue_tasks.ts";
import { lossScaleOf } from "../loss_scale.ts";
import { layoutClasses } from "../methods.ts";
import { adamW } from "../optimiser.ts";
import type { TrainOptions } from "../options.ts";
import { shownMaps } from "../run_report/leave.ts";
import { planObjective } from "../step_plan.ts";
import { type PlannedModel, storedShapes } from "./planned_model.ts";

/** An encoder that learns a target; `fresh` are the weights of its head that its files do not have. */
export function plannedEncoder(
  name: string,
  config: EncoderConfig,
  target: GlueTarget,
  fresh: readonly string[],
): PlannedModel {
  const { layers, maxPositions } = config, outputs = outputsOf(target);
  const layout = headLayout(config, outputs, fresh);
  const shapes: ReadonlyMap<string, Aval> = new Map([
    ...encoderShapes(config),
    ...headShapes(config, outputs),
  ]);
  const classes: PlannedModel["classes"] = (options) => layoutClasses(options, layout);
  const subjectOf = (options: TrainOptions) => ({ config, target, classes: classes(options) });
  return {
    ...{ name, layers, maxPositions, shapes, classes },
    alike: true,
    cutTo: (layers) => plannedEncoder(name, { ...config, layers }, target, fresh),
    step: (options, capabilities, length) =>
      planObjective({
        capabilities,
        classes: classes(options),
        objective: classifierObjective(subjectOf(options)),
        weights: storedShapes(shapes, options),
        optimiser: adamW({ clip: options.clip, lossScale: lossScaleOf(options) }),
        accumulate: options.accumulate,
        batch: classifierAvals({ rows: options.batch, length }),
      }),
    run: async (options, capabilities) => {
      const { batch, seq, accumulate, seed, startBatches } = options;
      const weights = withoutNumbers(
        new Map([...storedShapes(shapes, options)].map(([name, aval]) => [name, { aval }])),
      );
      const lengths = bucketLengths(seq), rows = lengths.map((length) => batchOf(batch, length));
      return await countRun(capabilities, {
        open: (device) =>
          openClassifier({
            device,
            subject: subjectOf(options),
            weights,
            optimiser: adamW({ clip: options.clip, lossScale: lossScaleOf(options) }),
            accumulate,
            seed,
            // Each length has a plan of its own here too, the longest first.
            startBatches: Array.from({ length: startBatches }, (_, i) => rows.at(-1 - i % rows.length)!),
          }),
        evaluate: async (session) => {
          if (parseAsked(options.eval).rows === null) return;
          const held = lengths.flatMap((length) => examplesOf(PREDICTED, length));
          await session.predict(held, { rows: PREDICTED, seq });
        },
        tasks: () => Promise.resolve(),
        answer: () => Promise.resolve(),
        step: async (session) => {
          for (const batch of rows) await session.step(batch, { plain: 0, orthogonal: 0 });
        },
        leave: (session) =>
          session.mergedOnly(new Set(shownMaps({ classes: classes(options), base: weights }))),
      });
    },
  };
}

/** Rows of `length` tokens each. */
function examplesOf(rows: number, length: number): readonly Example[] {
  const ids = new Array<number>(length).fill(0);
  const example: Example = {
    ids,
    trained: ids.map(() => false),
    promptLength: length,
    prompt: "",
    classified: { types: ids, target: 0 },
  };
  return Array.from({ length: rows }, () => ({ ...example }));
}

function batchOf(rows: number, length: number): TokenBatch {
  const [batch] = batches(examplesOf(rows, length), { batch: rows, seq: length, seed: 0, epochs: 1 });
  return batch!;
}
