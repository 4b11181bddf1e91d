/** A whole run: load, evaluate, train, evaluate again, save. The edge of the program: every effect is here or below. @module */
import * as Effect from "effect/Effect";
import { type Device, showBytes } from "../core/mod.ts";
import { peftForms } from "./adapter_directory.ts";
import { drawLambdas } from "./adapter_file.ts";
import { countTrainable, type ShapeClass } from "./arena.ts";
import { attempt } from "./attempt.ts";
import { countKind } from "./count_kind.ts";
import type { TokenBatch } from "./batches.ts";
import { epochShape } from "./data/preview.ts";
import { describeDevice, openDevice } from "./devices.ts";
import { openBest } from "./best_state.ts";
import { UserError } from "./errors.ts";
import { parseAsked } from "./evaluation/asked.ts";
import { type Evaluated, type EvaluationReport, evaluationScalars } from "./evaluated.ts";
import { sayLost } from "./f16_range.ts";
import { guarded, type RunHooks } from "./guarded.ts";
import { sayResumed } from "./load_rows.ts";
import { freeMemory, requireRoom, requireRunRoom } from "./memory.ts";
import { describeClasses, describeFit } from "./methods.ts";
import { writeModel } from "./model_directory.ts";
import type { TrainOptions } from "./options.ts";
import { drawLambdaHeatmap } from "./plots/mod.ts";
import { appendEvaluation } from "./run_files.ts";
import type { HeldOut, LoadedRun, RunKind } from "./run_kind.ts";
import { batchAfter, loading, startOf } from "./run_start.ts";
import { writeResults } from "./run_output.ts";
import { leaveTrained, processorOf, recording, type Trainees, traineesOf } from "./run_record.ts";
import { leaveReport } from "./run_report/leave.ts";
import { addScalars } from "./tensorboard/event_file.ts";
import { tuneKernels } from "./tile_store.ts";
import { type StepHooks, totalSteps, trainAll } from "./train_loop.ts";
import type { Training } from "./training.ts";

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
    const loaded = yield* loading(kind, options, hooks);
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
  const upcoming = batchAfter(train, options, resumed?.step ?? 0);
  const next = upcoming && (device.prepare || options.tuneKernels)
    ? kind.planStep(subject, device.capabilities, upcoming)
    : null;
  // The driver compiles beside what comes before the first step: weights on their way, starts, measuring.
  if (next && !options.tuneKernels) device.prepare?.(next.plan);
  const isLongest = upcoming?.rows === longest.rows && upcoming.length === longest.length;
  requireRoom(
    next && isLongest ? next : kind.planStep(subject, device.capabilities, longest),
    device.capabilities,
    freeMemory(),
  );
  if (next && options.tuneKernels) {
    await tuneKernels(device, next.plan, { noCache: options.noCache, say });
    device.prepare?.(next.plan);
  }
  if (parseAsked(options.eval).tasks.length > 0) {
    // Tasks ask for longer sequences than steps, and for as much as a step and more.
    const run = await countKind(kind, subject, trainees, device.capabilities, totalSteps(options, train));
    requireRunRoom(run, device.capabilities, freeMemory());
  }
  const session = await kind.open(subject, startOf(device, subject, trainees, say));
  sayLost(loaded, say);
  if (resumed) {
    session.restore({ steps: resumed.step, tensors: resumed.tensors });
    sayResumed(resumed, totalSteps(options, train), processorOf(device.capabilities), say);
  }
  const evaluate = (): Promise<M | null> => kind.evaluate(session, loaded, options, stopped);
  const by = kind.measuredBy(loaded, options);
  const measure = async (known: M | null = null): Promise<M | null> => {
    if (by === "") return null;
    say(`measuring on ${by}`);
    const found = known ?? await evaluate();
    return found && await kind.complete(session, loaded, found, options);
  };
  const before = resumed ? resumed.before : (await measure())?.measured ?? null;
  const { stateAt, ...record } = recording({
    ...{ options, session, device: device.capabilities, rows, before, earlier: loaded.done },
    resumed: resumed !== null,
  });
  const keeper = options.keepBest ? await openBest(options.out, session, resumed !== null) : null;
  /** What was measured while steps were taken, by their number: the last and the best. */
  const measured = new Map<number, M>();
  const evaluateAt: StepHooks["evaluate"] = async (at) => {
    const found = by === "" ? null : await evaluate();
    if (!found) return null;
    measured.set(at.step, found);
    await keeper?.offer(stateAt(at), found.measured);
    for (const step of [...measured.keys()]) {
      if (step !== at.step && step !== keeper?.best()?.step) measured.delete(step);
    }
    return found.measured;
  };
  const around = { stopped, evaluate: evaluateAt, ...record };
  const done = await trainAll(session, train, options, around, loaded.done);
  if (done.steps === 0) throw new UserError("interrupted before the first step: nothing is written.");
  const best = done.interrupted || done.gaveUp ? null : keeper?.best() ?? null;
  const left = best?.step ?? done.steps, known = measured.get(left) ?? null;
  if (keeper && best && left !== done.steps) {
    session.restore(await keeper.read());
    say(`the least held-out loss was ${best.loss.toFixed(4)} at step ${left}: what follows is of its state`);
  }
  const forms = earlier ? earlier.layouts : peftForms(options, layout);
  const trained = await session.trained();
  const saved = { model: options.model, layout, classes, trained, ...(task === null ? {} : { task }) };
  leaveTrained(options.out, saved, { own, forms, done }, say);
  const after = done.interrupted ? null : await measure(known);
  // What the loop has recorded is not said again, and a run that took no further step has nothing new to say.
  if (after && done.steps > loaded.done.steps) {
    const isRecorded = known !== null || left !== done.steps;
    const found = isRecorded ? { loss: null, exact: after.measured.exact } : after.measured;
    recordEvaluation(options.out, { step: left, found });
  }
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
    ...(tasksOf(before) || tasksOf(after?.measured)
      ? { tasks_before: tasksOf(before), tasks_after: tasksOf(after?.measured) }
      : {}),
    ...(best ? { best_step: left } : {}),
  }, found);
  await leaveReport(options.out, { ...result, branches }, { session, classes, base: weights }, hooks);
  return result;
}

function tasksOf(found: Evaluated | null | undefined): NonNullable<Evaluated["tasks"]> | null {
  return found?.tasks ?? null;
}

/** Add an evaluation to the metrics of a run whose steps are done. */
function recordEvaluation(out: string, report: EvaluationReport): void {
  const scalars = evaluationScalars(report.found);
  if (Object.keys(scalars).length === 0) return;
  appendEvaluation(out, report);
  addScalars(out, report.step, scalars);
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
