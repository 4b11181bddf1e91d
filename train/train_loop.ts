/** The steps of a run: batches in, metrics out. @module */
import { batches, batchesPerEpoch, type TokenBatch } from "./batches.ts";
import type { Examples } from "./data/examples.ts";
import { NotFiniteError } from "./errors.ts";
import { type Evaluated, showEvaluated } from "./evaluated.ts";
import { LOSS_SCALE } from "./loss_scale.ts";
import type { TrainOptions } from "./options.ts";
import { openProgress } from "./report.ts";
import { checkpointSteps } from "./run_checkpoint.ts";
import type { MetricsFile } from "./run_files.ts";
import { schedule, warmupSteps } from "./schedule.ts";
import type { StepMetrics, Training } from "./training.ts";

/** Steps whose numbers may still be on their way back while the next ones are queued. */
export const IN_FLIGHT = 4;
/** Steps with gradients that are not finite after which a run gives up, unless the loss has a scale to lower. */
export const TOO_MANY_SKIPPED = 20;

/** What the steps came to. */
export interface Trained {
  /** Those of earlier parts of the run included. */
  readonly steps: number;
  readonly first: number | null;
  readonly last: number | null;
  readonly tokensPerSecond: number | null;
  readonly interrupted: boolean;
  /** Too many steps had gradients that are not finite. */
  readonly gaveUp: boolean;
}

/** How far earlier parts of a run came. */
export interface Earlier {
  readonly steps: number;
  readonly skipped: number;
  /** Training loss of each step. */
  readonly losses: readonly number[];
  /** On the clock of the metrics. */
  readonly seconds: number;
}

/** The beginning of a run. */
export const NOTHING_YET: Earlier = { steps: 0, skipped: 0, losses: [], seconds: 0 };

/** What happens around the steps. */
export interface StepHooks {
  /** Whether to stop after the current step. */
  readonly stopped: () => boolean;
  /** Called after the first step has gone through. */
  readonly open: () => MetricsFile;
  /** Measure what the session holds, no step being under way; null where the user stopped it. Absent: nothing to measure by. */
  readonly evaluate?: (at: { readonly step: number; readonly skipped: number }) => Promise<Evaluated | null>;
  /** Keep what the session holds; no step is under way. */
  readonly save: (at: { readonly step: number; readonly skipped: number }) => Promise<void>;
}

/** Optimiser steps of a whole run. */
export function totalSteps(
  { steps, epochs, batch, seq, pack, seed }: TrainOptions,
  examples: Examples,
): number {
  return steps ?? Math.max(1, Math.round(epochs * batchesPerEpoch(examples, { batch, seq, pack, seed })));
}

/**
 * Train on the rows until the steps or the epochs are done, or the user stops, or too many steps were left out. Evaluates
 * every `evalEvery` steps, saves every `saveEvery` steps and at the end, unless it gave up. With `earlier` steps, the session must be as they left it.
 */
export async function trainAll(
  session: Pick<Training<TokenBatch>, "step" | "firstNotFinite">,
  examples: Examples,
  options: TrainOptions,
  { stopped, open, evaluate, save }: StepHooks,
  earlier: Earlier = NOTHING_YET,
): Promise<Trained> {
  const { batch, seq, seed, pack } = options;
  const total = totalSteps(options, examples);
  const rate = schedule(options.schedule, { warmup: warmupSteps(options.warmup, total), total });
  const progress = openProgress(total);
  const losses = [...earlier.losses];
  const clock = new StepClock(earlier.seconds);
  let { skipped, steps } = earlier, saved = steps;
  using files = new DisposableStack();
  let metrics: MetricsFile | null = null;
  const adapts = options.dtype === "f16" && typeof options.lossScale !== "number";
  const givesUp = (): boolean => !adapts && skipped >= TOO_MANY_SKIPPED;
  const settle = async (pending: Pending): Promise<void> => {
    const { loss, gradNorm, lossScale, lambdas } = await pending.metrics;
    if (!Number.isFinite(loss) && options.dtype === "f32") {
      throw await notFinite(session, pending, `the loss is ${loss}`, options);
    }
    const lowered = adapts && lossScale !== undefined ? lossScale / LOSS_SCALE.factor : null;
    if (!Number.isFinite(gradNorm) && lowered !== null && lowered < LOSS_SCALE.least) {
      const what =
        `the loss is ${loss}, and its gradients are not finite at the least loss scale, ${lossScale}`;
      throw await notFinite(session, pending, what, options);
    }
    clock.tick(pending.tokens);
    metrics ??= files.use(open());
    if (!Number.isFinite(gradNorm)) {
      skipped++;
      const scale = lowered === null ? "" : `, and the loss scale is lowered to ${lowered}`;
      progress.note(`step ${pending.step}: the gradients are not finite; the step was left out${scale}`);
    }
    losses.push(loss);
    const report = {
      step: pending.step,
      loss,
      lr: pending.lr,
      gradNorm,
      ...(lossScale === undefined ? {} : { lossScale }),
      tokensPerSecond: clock.rate() ?? 0,
      seconds: clock.seconds(),
    };
    progress.step(report);
    metrics.append(Object.keys(lambdas).length > 0 ? { ...report, lambda: lambdas } : report);
  };
  const queue: Pending[] = [];
  const settleAll = async (): Promise<void> => {
    for (const pending of queue.splice(0)) await settle(pending);
  };
  const measure = async (): Promise<void> => {
    const found = await clock.without(() => evaluate?.({ step: steps, skipped }) ?? Promise.resolve(null));
    if (!found) return;
    metrics?.evaluated({ step: steps, seconds: clock.seconds(), found });
    progress.note(`step ${steps}: ${showEvaluated(found)}`);
  };
  const keep = async (): Promise<void> => {
    // A checkpoint must not be further than the metrics are.
    metrics?.sync();
    await save({ step: steps, skipped });
    saved = steps;
  };
  try {
    // The seed and the number of batches taken are the place in the data.
    for (const rows of batches(examples, { batch, seq, seed, pack, epochs: Infinity }, earlier.steps)) {
      if (steps === total || stopped() || givesUp()) break;
      const multiplier = rate(steps);
      const lr = options.lr * multiplier;
      queue.push({
        step: ++steps,
        lr,
        batch: rows,
        tokens: realTokens(rows),
        metrics: session.step(rows, { plain: lr, orthogonal: options.orthogonalLr * multiplier }),
      });
      // A failure is reported when its turn comes; until then it must not end the program.
      queue.at(-1)!.metrics.catch(() => {});
      // The CPU computes on this thread: let signals and timers in between steps.
      await new Promise((resume) => setTimeout(resume, 0));
      // The first step compiles: its numbers are shown before the second is queued.
      if (steps === earlier.steps + 1 || queue.length >= IN_FLIGHT) await settle(queue.shift()!);
      // The last state is to be compared with the best one too.
      if (
        options.evalEvery > 0 && (steps % options.evalEvery === 0 || (options.keepBest && steps === total))
      ) {
        await settleAll();
        await measure();
      }
      if (options.saveEvery > 0 && steps % options.saveEvery === 0) {
        await settleAll();
        if (!givesUp()) await keep();
      }
    }
    await settleAll();
    if (steps > saved && !givesUp()) await keep();
  } finally {
    progress.done();
  }
  const tail = losses.slice(-Math.max(1, Math.floor(losses.length / 10)));
  return {
    steps,
    first: losses[0] ?? null,
    last: tail.length > 0 ? tail.reduce((a, b) => a + b) / tail.length : null,
    tokensPerSecond: clock.rate(),
    interrupted: stopped(),
    gaveUp: givesUp(),
  };
}

interface Pending {
  readonly step: number;
  readonly lr: number;
  readonly batch: TokenBatch;
  readonly tokens: number;
  readonly metrics: Promise<StepMetrics>;
}

/**
 * The error for numbers that are not finite: the step, its rows, and the tensor that first was not finite. With f16 a
 * batch may overflow now and then, and its step is left out like any whose gradients are not finite, until no scale of
 * the loss is left to try; in f32 what is not finite once stays so.
 */
async function notFinite(
  session: Pick<Training<TokenBatch>, "firstNotFinite">,
  { step, batch }: Pending,
  what: string,
  { out, saveEvery, dtype }: TrainOptions,
): Promise<NotFiniteError> {
  const first = await session.firstNotFinite(batch, step);
  const saved = checkpointSteps(out).at(-1);
  const rows = batch.members.flatMap(({ where }) => where ?? []);
  const places = rows.length > 0 ? ` on ${rows.join(", ")}` : "";
  return new NotFiniteError(
    `step ${step}: ${what}${places}; not finite ` +
      (first === null ? "was nothing any more when the step was computed again" : `first was ${first}`) +
      `. Try a lower --lr or a longer --warmup${
        dtype === "f16" ? ", --dtype f32," : ","
      } or look at these rows; ` +
      (saved === undefined
        ? `nothing was kept${saveEvery === 0 ? ", since --save-every is 0" : ""}.`
        : `${out}/checkpoints/step-${saved} stands: --resume --out ${out} goes on from it.`),
    { step, rows, first, saved },
  );
}

/** Positions with a token: the last one of a row is where padding begins. */
function realTokens({ ids, labels, rows, length }: TokenBatch): number {
  let count = 0;
  for (let r = 0; r < rows; r++) {
    let end = length;
    while (end > 0 && ids[r * length + end - 1] === 0 && labels[r * length + end - 1]! < 0) end--;
    count += end;
  }
  return count;
}

/** Tokens by time, from the end of the first step on. */
class StepClock {
  #start: number | null = null;
  #tokens = 0;
  /** What the clock showed when it was started. */
  readonly #before: number;

  constructor(before: number) {
    this.#before = before;
  }

  tick(tokens: number): void {
    if (this.#start === null) this.#start = performance.now();
    else this.#tokens += tokens;
  }

  seconds(): number {
    return this.#before + this.#running();
  }

  /** Do what does not count. */
  async without<T>(work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    const result = await work();
    if (this.#start !== null) this.#start += performance.now() - begun;
    return result;
  }

  rate(): number | null {
    return this.#tokens === 0 ? null : this.#tokens / this.#running();
  }

  #running(): number {
    return this.#start === null ? 0 : (performance.now() - this.#start) / 1000;
  }
}
