/** Where the session of a run begins: adapters anew, or as an adapter or a checkpoint left them. @module */
import * as Effect from "effect/Effect";
import type * as Scope from "effect/Scope";
import type { Device } from "../core/mod.ts";
import type { ShapeClass } from "./arena.ts";
import { attempt } from "./attempt.ts";
import { batches, type TokenBatch } from "./batches.ts";
import type { Examples } from "./data/examples.ts";
import type { RowHooks } from "./data/open_rows.ts";
import type { RunHooks } from "./guarded.ts";
import { lossScaleOf } from "./loss_scale.ts";
import { adamW } from "./optimiser.ts";
import type { TrainOptions } from "./options.ts";
import type { UserError } from "./errors.ts";
import type { LoadedRun, RunStart, RunSubject } from "./run_kind.ts";
import type { Trainees } from "./run_record.ts";
import { valuesOf } from "./training_state.ts";

/** What a run reads, until the scope ends. */
export function loading<L extends LoadedRun>(
  { load }: { readonly load: (options: TrainOptions, hooks: RowHooks) => Promise<L> },
  options: TrainOptions,
  hooks: RowHooks,
): Effect.Effect<L, UserError, Scope.Scope> {
  return Effect.acquireRelease(
    attempt(() => load(options, hooks)),
    (loaded) => Effect.sync(() => loaded[Symbol.dispose]()),
  );
}

/** How the session of a run is opened: adapters start anew, or as an adapter or a checkpoint left them. */
export function startOf(
  device: Device,
  { options, loaded, classes, weights }: RunSubject<Pick<LoadedRun, "train" | "resumed">>,
  { earlier }: Pick<Trainees, "earlier">,
  say: RunHooks["say"],
): RunStart {
  const { train, resumed } = loaded;
  return {
    device,
    weights,
    optimiser: adamW({ clip: options.clip, lossScale: lossScaleOf(options) }),
    accumulate: options.accumulate,
    seed: options.seed,
    startBatches: firstBatches(train, options),
    ...(resumed && startsFromFactors(classes)
      ? { values: valuesOf(classes, resumed.tensors) }
      : earlier
      ? { values: earlier.values }
      : {}),
    say,
  };
}

/** Whether adapters start from factors of weights or gradients, which take time and are not needed again. */
function startsFromFactors(classes: readonly ShapeClass[]): boolean {
  return classes.some((c) => (c.fitted?.asks.length ?? 0) > 0);
}

/** The first batches of training, whose gradients start the adapters that ask for them. */
function firstBatches(
  examples: Examples,
  { batch, seq, seed, startBatches }: TrainOptions,
): readonly TokenBatch[] {
  const all: TokenBatch[] = [];
  for (const rows of batches(examples, { batch, seq, seed, epochs: Infinity })) {
    if (all.length === startBatches) break;
    all.push(rows);
  }
  return all;
}

/** The batch of the step after so many. */
export function batchAfter(
  examples: Examples,
  { batch, seq, seed, pack }: TrainOptions,
  steps: number,
): TokenBatch | null {
  return batches(examples, { batch, seq, seed, pack, epochs: Infinity }, steps).next().value ?? null;
}
