/** What a whole run of a decoder needs, from its configuration: start, evaluation and answers beside the steps. @module */
import type { Capabilities } from "../../core/mod.ts";
import { bucketLengths } from "../batches.ts";
import { countRun, type RunBytes, withoutNumbers } from "../count_run.ts";
import { type DecoderConfig, weightShapes } from "../decoder.ts";
import { parseAsked } from "../evaluation/asked.ts";
import { AT_ONCE } from "../exact_match.ts";
import { lossScaleOf } from "../loss_scale.ts";
import { methodClasses } from "../methods.ts";
import { adamW } from "../optimiser.ts";
import type { TrainOptions } from "../options.ts";
import { longestOf } from "./measure.ts";
import { shownMaps } from "../run_report/leave.ts";
import { type HostBatch, openSession } from "../session.ts";

/**
 * Go through a run whose batches come in all the lengths that they are padded to, and whose held-out rows, where there are
 * some, too; as many of them are answered as are at once. Throws ShapeError and UserError.
 */
export async function wholeRun(
  config: DecoderConfig,
  options: TrainOptions,
  capabilities: Capabilities,
): Promise<RunBytes> {
  const { batch, seq, pack, accumulate, seed, startBatches } = options;
  const classes = methodClasses(options, config), hasHeld = parseAsked(options.eval).rows !== null;
  const weights = withoutNumbers(
    new Map([...weightShapes(config)].map(([name, at]) => [
      name,
      { aval: at.shape.length > 1 ? { ...at, dtype: options.dtype } : at },
    ])),
  );
  const batches = bucketLengths(seq).map((length) => blank(batch, length));
  const longest = batches.at(-1)!;
  return await countRun(capabilities, {
    open: (device) =>
      openSession({
        device,
        subject: { config, classes },
        weights,
        optimiser: adamW({ clip: options.clip, lossScale: lossScaleOf(options) }),
        accumulate,
        seed,
        maxLength: longestOf(config, options),
        startBatches: Array.from({ length: startBatches }, () => longest),
      }),
    evaluate: async (session) => hasHeld && await session.evaluate(batches),
    tasks: () => Promise.resolve(),
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
}

function blank(rows: number, length: number): HostBatch {
  const ids = new Int32Array(rows * length);
  return { ids, labels: ids, rows, length };
}

function packed(batch: HostBatch): HostBatch {
  return { ...batch, packing: { segments: batch.ids, positions: batch.ids } };
}

/** What a run needs at `layers` layers from what two smaller ones need: every layer more costs the same. */
export function extrapolateRun(
  few: RunBytes,
  more: RunBytes,
  [fewer, several]: readonly [number, number],
  layers: number,
): RunBytes {
  const at = (of: (r: RunBytes) => number): number =>
    of(more) + (of(more) - of(few)) / (several - fewer) * (layers - several);
  const step = { ...more.step };
  for (const key of ["weights", "trained", "optimiser", "temporaries", "total"] as const) {
    step[key] = at((r) => r.step[key]);
  }
  const start = at((r) => r.start), staying = at((r) => r.staying), steps = at((r) => r.steps);
  const evaluations = at((r) => r.evaluations), tasks = at((r) => r.tasks), answers = at((r) => r.answers);
  const together = staying + evaluations + tasks + answers + steps;
  return { step, start, staying, evaluations, tasks, answers, steps, peak: Math.max(start, together) };
}
