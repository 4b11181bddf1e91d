/** A whole run: load, evaluate, train, evaluate again, save. The edge of the program: every effect is here or below. @module */
import * as Effect from "effect/Effect";
import { type Device, showBytes } from "../core/mod.ts";
import { peftForms } from "./adapter_directory.ts";
import { drawLambdas } from "./adapter_file.ts";
import { countTrainable, type ShapeClass } from "./arena.ts";
import { attempt } from "./attempt.ts";
import { batches, type TokenBatch } from "./batches.ts";
import type { Example } from "./data.ts";
import { epochShape } from "./data/preview.ts";
import { describeDevice, openDevice } from "./devices.ts";
import { UserError } from "./errors.ts";
import { guarded, type RunHooks } from "./guarded.ts";
import { sayResumed } from "./load_rows.ts";
import { freeMemory, requireRoom } from "./memory.ts";
import { describeClasses, describeFit } from "./methods.ts";
import { writeModel } from "./model_directory.ts";
import { adamW } from "./optimiser.ts";
import type { TrainOptions } from "./options.ts";
import { drawLambdaHeatmap } from "./plots/mod.ts";
import type { HeldOut, LoadedRun, RunKind, RunStart, RunSubject } from "./run_kind.ts";
import { writeResults } from "./run_output.ts";
import { leaveTrained, processorOf, recording, type Trainees, traineesOf } from "./run_record.ts";
import { leaveReport } from "./run_report/leave.ts";
import { addScalars, heldOutScalars } from "./tensorboard/event_file.ts";
import { totalSteps, trainAll } from "./train_loop.ts";
import type { Training } from "./training.ts";
import { valuesOf } from "./training_state.ts";

/** Train as asked, as runs of this kind do. Fails with UserError for what the user can mend; sizes that do not fit become one as well. */
export function trainRun<
  L extends LoadedRun,
  S extends Training<TokenBatch>,
  M extends HeldOut,
  R extends object,
>(
  kind: RunKind<L, S, M, R>,
  options: TrainOptions,
  hooks: RunHooks,
): Effect.Effect<R, UserError> {
  return guarded((options, hooks) => trainOnce(kind, options, hooks), options, hooks);
}

function trainOnce<L extends LoadedRun, S extends Training<TokenBatch>, M extends HeldOut, R extends object>(
  kind: RunKind<L, S, M, R>,
  options: TrainOptions,
  hooks: RunHooks,
): Effect.Effect<R, UserError> {
  return Effect.scoped(Effect.gen(function* () {
    const loaded = yield* attempt(() => kind.load(options, hooks));
    const device = yield* (hooks.open ?? openDevice)(options.device, options.dtype === "f16");
    hooks.say(`device: ${describeDevice(device.capabilities)}`);
    return yield* attempt(() => trainOn(device, kind, loaded, options, hooks));
  }));
}

async function trainOn<
  L extends LoadedRun,
  S extends Training<TokenBatch>,
  M extends HeldOut,
  R extends object,
>(
  device: Device,
  kind: RunKind<L, S, M, R>,
  loaded: L,
  options: TrainOptions,
  hooks: RunHooks,
): Promise<R> {
  const { train, rows, resumed, layout } = loaded, { say, stopped } = hooks;
  const trainees = traineesOf(options, layout, loaded.weights);
  const { earlier, classes, own, method, weights } = trainees;
  const trainable = countTrainable(classes), task = kind.task(loaded);
  sayTrainees(trainees, { options, layout, task, trainable }, say);
  const subject = { options, loaded, classes, weights };
  const longest = { rows: options.batch, length: epochShape(train, options).longest };
  requireRoom(
    kind.planStep(subject, device.capabilities, longest),
    device.capabilities,
    freeMemory(),
  );
  const session = await kind.open(subject, startOf(device, subject, trainees, say));
  if (resumed) {
    session.restore({ steps: resumed.step, tensors: resumed.tensors });
    sayResumed(resumed, totalSteps(options, train), processorOf(device.capabilities), say);
  }
  const measure = (): Promise<M | null> => kind.measure(session, loaded, options, hooks);
  const before = resumed ? resumed.before : (await measure())?.measured ?? null;
  const record = recording({
    ...{ options, session, device: device.capabilities, rows, before, earlier: loaded.done },
    resumed: resumed !== null,
  });
  const done = await trainAll(session, train, options, { stopped, ...record }, loaded.done);
  if (done.steps === 0) throw new UserError("interrupted before the first step: nothing is written.");
  const forms = earlier ? earlier.layouts : peftForms(options, layout);
  const trained = await session.trained();
  const saved = { model: options.model, layout, classes, trained, ...(task === null ? {} : { task }) };
  leaveTrained(options.out, saved, { own, forms, done }, say);
  const after = done.interrupted ? null : await measure();
  addScalars(options.out, done.steps, heldOutScalars(after?.measured ?? null));
  if (options.merge) {
    const merged = await session.merged();
    writeResults(
      options.out,
      (to) => writeModel(`${to}/merged`, loaded.dir, merged, "f32", kind.mergedFields(loaded)),
    );
    say(`the model with the adapter merged in: ${options.out}/merged`);
  }
  const branches = branchNames(classes), found = { loaded, before, after };
  await drawBranches(session, branches, options, say);
  kind.tellHeld(found, options, say);
  const { compileSeconds, temporaryBytes, step } = session.stats();
  say(
    `compiled in ${compileSeconds.toFixed(1)} s, ${showBytes(temporaryBytes)} of intermediates; ` +
      `results in ${options.out}`,
  );
  const result = kind.result({
    method,
    device: device.capabilities.kind,
    adapter_name: device.capabilities.adapterName,
    steps: done.steps,
    loss_before: done.first,
    loss_after: done.last,
    eval_before: before?.loss ?? null,
    eval_after: after?.measured.loss ?? null,
    tokens_per_s: done.tokensPerSecond,
    peak_bytes: device.memory().peakBytes,
    step_bytes: step,
    trainable,
    out: options.out,
  }, found);
  await leaveReport(options.out, { ...result, branches }, { session, classes, base: weights }, hooks);
  return result;
}

/** Tell what is trained. */
function sayTrainees(
  { earlier, classes, own, method }: Trainees,
  { options, layout, task, trainable }: Pick<LoadedRun, "layout"> & {
    readonly options: TrainOptions;
    readonly task: string | null;
    readonly trainable: number;
  },
  say: RunHooks["say"],
): void {
  if (earlier) say(`goes on from ${options.adapter}: ${describeClasses(classes)}`);
  const learns = task === null ? "" : `task: ${task}, `;
  say(`${learns}method: ${method}, ${trainable.toLocaleString("en")} trainable parameters`);
  if (options.compose !== null || options.saveModules !== null) say(describeClasses(classes));
  const fit = own ? describeFit(own, layout.modules) : "";
  if (fit) say(fit);
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
    optimiser: adamW({ clip: options.clip }),
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

/** Names of the branches of the mixed adapters, for the picture of their weights; all names of a branch where they differ. */
function branchNames(classes: readonly ShapeClass[]): readonly string[] {
  const lists = classes.flatMap((c) => c.mixing.map((m) => m.branches));
  const most = Math.max(0, ...lists.map((names) => names.length));
  return Array.from({ length: most }, (_, i) => [...new Set(lists.flatMap((l) => l[i] ?? []))].join(" or "));
}

/** Draw the weights of mixed adapters, where there are any: as they are for the terminal, over all steps as a picture. */
async function drawBranches(
  session: Pick<Training<TokenBatch>, "lambdas">,
  names: readonly string[],
  { out }: TrainOptions,
  say: RunHooks["say"],
): Promise<void> {
  const picture = drawLambdas(await session.lambdas(), names);
  if (!picture) return;
  say(`how each layer shared its steps (λ):\n${picture}`);
  await drawLambdaHeatmap(`${out}/metrics.jsonl`, `${out}/lambda.svg`, names);
}
