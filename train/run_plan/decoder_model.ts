/** Decoders to be planned for, from their configuration: start, evaluation, tasks and answers beside the steps. @module */
import { bucketLengths } from "../batches.ts";
import { countRun, withoutNumbers } from "../count_run.ts";
import { type DecoderConfig, weightShapes } from "../decoder.ts";
import { parseAsked } from "../evaluation/asked.ts";
import { type NamedTask, rehearse, taskLength } from "../evaluation/during.ts";
import { AT_ONCE } from "../exact_match.ts";
import { lossScaleOf } from "../loss_scale.ts";
import { methodClasses } from "../methods.ts";
import { adamW } from "../optimiser.ts";
import type { TrainOptions } from "../options.ts";
import { shownMaps } from "../run_report/leave.ts";
import { type HostBatch, openSession } from "../session.ts";
import { planStep } from "../step_plan.ts";
import type { Tokenizer } from "../tokenizer.ts";
import { type PlannedModel, storedShapes } from "./planned_model.ts";

/** Tasks that `--eval` names, with their data read, and what makes tokens of it. */
export interface PlannedTasks {
  readonly tasks: readonly NamedTask[];
  readonly tokenizer: Tokenizer;
}

/** A decoder of this configuration, measured by these tasks where there are some. */
export function plannedDecoder(
  name: string,
  config: DecoderConfig,
  asked: PlannedTasks | null,
): PlannedModel {
  const shapes = weightShapes(config), { layers, maxPositions, windows } = config;
  const maxLength = (options: TrainOptions): number => longestOf(config, options);
  return {
    ...{ name, layers, maxPositions, shapes },
    alike: new Set(windows).size <= 1,
    cutTo: (layers) =>
      plannedDecoder(
        name,
        { ...config, layers, ...(windows ? { windows: windows.slice(0, layers) } : {}) },
        asked,
      ),
    classes: (options) => methodClasses(options, config),
    step: (options, capabilities, length) =>
      planStep({
        capabilities,
        subject: { config, classes: methodClasses(options, config) },
        weights: storedShapes(shapes, options),
        optimiser: adamW({ clip: options.clip, lossScale: lossScaleOf(options) }),
        accumulate: options.accumulate,
        maxLength: maxLength(options),
        batch: { rows: options.batch, length },
      }),
    run: async (options, capabilities) => {
      const { batch, seq, pack, accumulate, seed, startBatches } = options;
      const classes = methodClasses(options, config), hasHeld = parseAsked(options.eval).rows !== null;
      const weights = withoutNumbers(
        new Map([...storedShapes(shapes, options)].map(([name, aval]) => [name, { aval }])),
      );
      const batches = bucketLengths(seq).map((length) => blank(batch, length)), longest = batches.at(-1)!;
      return await countRun(capabilities, {
        open: (device) =>
          openSession({
            device,
            subject: { config, classes },
            weights,
            optimiser: adamW({ clip: options.clip, lossScale: lossScaleOf(options) }),
            accumulate,
            seed,
            maxLength: maxLength(options),
            startBatches: Array.from({ length: startBatches }, () => longest),
          }),
        evaluate: async (session) => hasHeld && await session.evaluate(batches),
        tasks: async (session) => {
          if (!asked || options.eval === null) return;
          await rehearse(asked.tasks, { session, tokenizer: asked.tokenizer, seq: taskLength(config) });
        },
        answer: async (session) => {
          const rows = Math.min(AT_ONCE, options.evalLimit ?? Infinity);
          // A token that ends a text at once: nothing is written.
          if (hasHeld) await session.generate(Array.from({ length: rows }, () => [0]), seq - 1, 0);
        },
        step: async (session) => {
          for (const rows of batches) {
            await session.step(pack ? packed(rows) : rows, { plain: 0, orthogonal: 0 });
          }
        },
        leave: (session) => session.mergedOnly(new Set(shownMaps({ classes, base: weights }))),
      });
    },
  };
}

/** Longest sequence of a run of which no rows are known: held-out rows may be answered at as much length again. */
function longestOf(config: DecoderConfig, { seq, eval: asked }: TrainOptions): number {
  const { rows, tasks } = parseAsked(asked);
  const longest = Math.min(config.maxPositions, rows === null ? seq : 2 * seq);
  return tasks.length === 0 ? longest : Math.max(longest, taskLength(config));
}

function blank(rows: number, length: number): HostBatch {
  const ids = new Int32Array(rows * length);
  return { ids, labels: ids, rows, length };
}

function packed(batch: HostBatch): HostBatch {
  return { ...batch, packing: { segments: batch.ids, positions: batch.ids } };
}
