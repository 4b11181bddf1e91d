/** An encoder in training for a task on a device: its steps, and its outputs on rows. @module */
import { batches, type TokenBatch } from "./batches.ts";
import { classifierGradients } from "./classifier_gradients.ts";
import {
  classifierAvals,
  classifierInputs,
  classifierObjective,
  type ClassifierSubject,
  predictions,
} from "./classifier_objective.ts";
import type { Example } from "./data.ts";
import { openTraining } from "./open_training.ts";
import { runnerOf } from "./runner.ts";
import type { StartOptions, Training } from "./training.ts";

/** What an encoder says of rows. */
export interface Predictions {
  /** Mean loss a row. */
  readonly loss: number;
  /** Numbers of the head, in the order of the rows. */
  readonly outputs: readonly (readonly number[])[];
  /** The class of the largest number, or the number itself. */
  readonly predicted: readonly number[];
}

/** An encoder in training. */
export interface Classifier extends Training<TokenBatch> {
  /** Predictions for all rows, `rows` at a time; null where `stopped` said so in between. */
  readonly predict: (
    examples: readonly Example[],
    options: { readonly rows: number; readonly seq: number; readonly stopped?: () => boolean },
  ) => Promise<Predictions | null>;
}

/** Options of {@linkcode openClassifier}. */
export interface ClassifierOptions extends StartOptions {
  readonly subject: ClassifierSubject;
  /** Batches whose gradients start the adapters that ask for them. */
  readonly startBatches?: readonly TokenBatch[];
}

/** Upload an encoder and prepare its parameters; plans are compiled when a batch of a new shape first comes. */
export async function openClassifier(options: ClassifierOptions): Promise<Classifier> {
  const { device, subject, startBatches = [] } = options, { target, classes } = subject;
  const training = await openTraining<TokenBatch>({
    ...options,
    classes,
    objective: classifierObjective(subject),
    tables: new Map(),
    inputs: classifierInputs,
    start: (frozen, arrays) => ({
      batches: startBatches.length,
      gradients: (paths) =>
        classifierGradients({ device, subject, frozen, arrays, batches: startBatches }, paths),
    }),
  });
  const { frozen, params, runner, withBatch } = training;
  return {
    ...training,
    predict: async (examples, { rows, seq, stopped = () => false }) => {
      const places = new Map(examples.map((example, i) => [example, i]));
      const outputs = new Array<readonly number[]>(examples.length);
      let total = 0;
      for (const batch of batches(examples, { batch: rows, seq, seed: 0, epochs: 1, shuffle: false })) {
        // The CPU computes on this thread: let signals in between batches.
        await new Promise((resume) => setTimeout(resume, 0));
        if (stopped()) return null;
        const run = await runner(
          `predict ${batch.rows} ${batch.length}`,
          () =>
            runnerOf(device, predictions(subject), {
              weights: frozen,
              params,
              batch: classifierAvals(batch),
            }),
        );
        const out = run.run(withBatch(batch));
        const [values, loss] = await Promise.all(
          ["outputs", "sum"].map((name) => device.download(out.get(name)!)),
        );
        const width = values!.length / batch.rows;
        batch.members.forEach((example, row) => {
          outputs[places.get(example)!] = [...values!.slice(row * width, (row + 1) * width)];
        });
        total += loss![0]!;
      }
      const largest = (list: readonly number[]): number => list.indexOf(Math.max(...list));
      return {
        loss: total / examples.length,
        outputs,
        predicted: outputs.map((list) => target.kind === "classes" ? largest(list) : list[0]!),
      };
    },
  };
}
