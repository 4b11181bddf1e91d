/**
 * A process that trains and measures as it is asked: a request a line on standard input, an answer a line on standard
 * output, and how far it is on standard error. Runs on one device share its compiled kernels. @module
 */
import * as Effect from "effect/Effect";
import * as Scope from "effect/Scope";
import type { Device } from "../../core/mod.ts";
import {
  type ClassifyResult,
  evaluateModel,
  type Evaluation,
  fineTune,
  fineTuneClassifier,
  NotFiniteError,
  openDevice,
  openPlanStore,
  parseCommandLine,
  parseEvaluateFlags,
  readMetrics,
  runProgram,
  type RunResult,
  standardError,
  usePlans,
  UserError,
} from "../../train/mod.ts";
import { lend } from "./lend.ts";
import { linesOf } from "./talker.ts";

/** What is asked for. */
export interface Request {
  /** Command line of `train.ts`. */
  readonly train: readonly string[];
  /** Command lines of `evaluate.ts`, one after the other, once it is trained. */
  readonly evaluate: readonly (readonly string[])[];
  /** Whether the run has a device of its own, so that its peak is that of this run. */
  readonly alone: boolean;
}

/** What came of it. */
export type Answer =
  | {
    readonly result: RunResult | ClassifyResult;
    /** When each step's numbers were back, in seconds since the end of the first step. */
    readonly seconds: readonly number[];
    readonly evaluations: readonly Evaluation["metrics"][];
  }
  /** The numbers were not finite any more. */
  | { readonly diverged: string }
  | { readonly error: string };

const ROOT = decodeURIComponent(new URL("../..", import.meta.url).pathname).replace(/\/$/, "");

/** Standard error is for people, and every line there a sign of life for the one who asked. */
const say = (line: string): void => standardError.write(`${line}\n`);

/** Milliseconds between signs of life that say nothing. */
const SIGN_EVERY = 1000;
let shown = 0;

/** Show that a step, or a row that is measured on, is over. */
function showLife(): void {
  if (performance.now() - shown < SIGN_EVERY) return;
  shown = performance.now();
  say("");
}

/** Devices that stay open until the process ends, by what was asked for. */
const held = new Map<string, Promise<Device>>();

function keptOpen(...asked: Parameters<typeof openDevice>): Promise<Device> {
  const name = asked.join(" ");
  const known = held.get(name);
  if (known) return known;
  const fresh = Effect.runPromise(
    Effect.flatMap(Scope.make(), (forGood) => Scope.provide(openDevice(...asked), forGood)),
  );
  held.set(name, fresh);
  return fresh;
}

/** Lends a device that stays open. */
const lending: typeof openDevice = (...asked) =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => lend(await keptOpen(...asked)),
      catch: (error) => error instanceof UserError ? error : new UserError(String(error)),
    }),
    (device) => Effect.sync(() => device[Symbol.dispose]()),
  );

async function answer({ train, evaluate, alone }: Request): Promise<Answer> {
  const options = await parseCommandLine(train, { root: ROOT, now: new Date() });
  const told = { say, ...(alone ? {} : { open: lending }) };
  const run: Effect.Effect<RunResult | ClassifyResult, UserError> =
    (options.task === null ? fineTune : fineTuneClassifier)(options, {
      ...told,
      stopped: () => (showLife(), false),
    });
  const result = await outcome(run);
  if (result instanceof NotFiniteError) return { diverged: result.message };
  if (result instanceof UserError) return { error: result.message };
  const evaluations: Evaluation["metrics"][] = [];
  for (const argv of evaluate) {
    const flags = parseEvaluateFlags(argv, { root: ROOT });
    const found = await outcome(evaluateModel(flags, { ...told, follow: showLife }));
    if (found instanceof UserError) return { error: found.message };
    evaluations.push(found.metrics);
  }
  return { result, seconds: readMetrics(options.out, result.steps).times, evaluations };
}

function outcome<T>(run: Effect.Effect<T, UserError>): Promise<T | UserError> {
  return Effect.runPromise(
    Effect.match(run, { onFailure: (error): T | UserError => error, onSuccess: (value) => value }),
  );
}

async function main(): Promise<number> {
  usePlans(openPlanStore(say));
  for await (const line of linesOf(Deno.stdin.readable)) {
    const said = await answer(JSON.parse(line) as Request);
    await Deno.stdout.write(new TextEncoder().encode(`${JSON.stringify(said)}\n`));
  }
  return 0;
}

if (import.meta.main) await runProgram(main);
