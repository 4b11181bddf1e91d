/** A decoder in training on a device. @module */
import { aval } from "../core/mod.ts";
import { bind } from "./arena.ts";
import { tablesOf } from "./decoder.ts";
import { fullGradients } from "./full_gradients.ts";
import { generate, type GenerateOptions } from "./generate.ts";
import { openTraining, showAvals } from "./open_training.ts";
import { runnerOf } from "./runner.ts";
import { bindModel, firstPositions, positionsOf, type Subject } from "./bind_model.ts";
import { languageObjective, lossOf, rowLosses } from "./language_loss.ts";
import type { StartOptions, Training } from "./training.ts";

/** A batch on the host: ids and labels i32[rows · length], labels −100 where nothing is trained. */
export interface HostBatch {
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly rows: number;
  readonly length: number;
  /** Where rows hold several examples, i32[rows · length] both; see Packing. */
  readonly packing?: { readonly segments: Int32Array; readonly positions: Int32Array };
}

/** Options of {@linkcode openSession}. */
export interface SessionOptions extends StartOptions {
  readonly subject: Subject;
  /** Longest sequence that will be asked for. */
  readonly maxLength: number;
  /** Batches whose gradients start the adapters that ask for them (LoRA-GA). */
  readonly startBatches?: readonly HostBatch[];
}

/** A decoder in training. */
export interface Session extends Training<HostBatch> {
  /** Mean loss per trained token over batches, as far as they go before `stopped`; 0 tokens give NaN. */
  readonly evaluate: (
    batches: Iterable<HostBatch>,
    stopped?: () => boolean,
  ) => Promise<{ readonly loss: number; readonly tokens: number }>;
  /** −log probability of the labels of each row of a batch, f32[rows]; 0 for a row without labels. */
  readonly rowLosses: (batch: HostBatch) => Promise<Float32Array>;
  /** Continuations, greedy unless `options` has a sampling: at most `maxNew` ids after each prompt, ended by `end` (not included) or the length limit. */
  readonly generate: (
    prompts: readonly (readonly number[])[],
    maxNew: number,
    end: number,
    options?: GenerateOptions,
  ) => Promise<number[][]>;
  /** Logits f32[length, vocab] of one sequence. */
  readonly logits: (ids: readonly number[]) => Promise<Float32Array>;
}

/** Upload a decoder and prepare its parameters; plans are compiled when a batch of a new shape first comes. */
export async function openSession(options: SessionOptions): Promise<Session> {
  const { device, subject, maxLength, startBatches = [] } = options;
  const { config, classes } = subject;
  const training = await openTraining<HostBatch>({
    ...options,
    classes,
    objective: languageObjective(subject),
    tables: tablesOf(config, maxLength),
    inputs: ({ ids, labels, packing, rows, length }) => {
      const at = aval([rows, length], "i32");
      const all = { ids, labels, ...packing };
      return Object.fromEntries(Object.entries(all).map(([name, data]) => [name, { aval: at, data }]));
    },
    start: (frozen, arrays) => ({
      batches: startBatches.length,
      gradients: (paths) => fullGradients({ device, config, frozen, arrays, batches: startBatches }, paths),
    }),
  });
  const { frozen, params, arrays, runner, feed, withBatch } = training;
  const batchAvals = ({ rows, length, packing }: HostBatch) => {
    const ids = aval([rows, length], "i32");
    return { ids, labels: ids, ...(packing ? { segments: ids, positions: ids } : {}) };
  };
  return {
    ...training,
    evaluate: async (batches, stopped = () => false) => {
      let total = 0, tokens = 0;
      for (const batch of batches) {
        // The CPU computes on this thread: let signals in between batches.
        await new Promise((resume) => setTimeout(resume, 0));
        if (stopped()) break;
        const run = await runner(
          `eval ${showAvals(batchAvals(batch))}`,
          () =>
            runnerOf(device, ({ weights, params, batch }) => {
              const model = bindModel(
                subject,
                weights,
                bind(classes, params).members,
                positionsOf(batch),
              );
              return { ...lossOf(model, batch) };
            }, { weights: frozen, params, batch: batchAvals(batch) }),
        );
        const out = run.run(withBatch(batch));
        const [sum, count] = await Promise.all(
          ["sum", "count"].map((name) => device.download(out.get(name)!)),
        );
        total += sum![0]!;
        tokens += count![0]!;
      }
      return { loss: total / tokens, tokens };
    },
    rowLosses: async (batch) => {
      const run = await runner(
        `rows ${batch.rows} ${batch.length}`,
        () =>
          runnerOf(device, ({ weights, params, batch }) => {
            const positions = firstPositions(batch.ids.shape[1]!);
            return {
              losses: rowLosses(bindModel(subject, weights, bind(classes, params).members, positions), batch),
            };
          }, { weights: frozen, params, batch: batchAvals(batch) }),
      );
      return await device.download(run.run(withBatch(batch)).get("losses")!) as Float32Array;
    },
    generate: (prompts, maxNew, end, asked) =>
      generate(
        { device, subject, frozen, params, arrays, runner, maxLength, feed },
        prompts,
        maxNew,
        end,
        asked,
      ),
    logits: async (ids) => {
      const at = aval([1, ids.length], "i32");
      const run = await runner(`logits ${ids.length}`, () =>
        runnerOf(device, ({ weights, params, ids }) => {
          const model = bindModel(
            subject,
            weights,
            bind(classes, params).members,
            firstPositions(ids.shape[1]!),
          );
          return { logits: model.logits(model.hidden(ids)) };
        }, { weights: frozen, params, ids: at }));
      const out = run.run(new Map([...arrays, ["ids", feed("sequence", at, Int32Array.from(ids))]]));
      return await device.download(out.get("logits")!) as Float32Array;
    },
  };
}
