/** One run at a time in a directory, which goes on once where the device goes away. @module */
import * as Effect from "effect/Effect";
import type { openDevice } from "./devices.ts";
import { LostError, type UserError } from "./errors.ts";
import type { TrainOptions } from "./options.ts";
import { checkpointSteps } from "./run_checkpoint.ts";
import { lockOutput } from "./run_lock.ts";

/** How the caller watches and stops a run. */
export interface RunHooks {
  /** A line for people. */
  readonly say: (line: string) => void;
  /** Whether to stop after the current step. */
  readonly stopped: () => boolean;
  /** Opens the device; absent: {@linkcode openDevice}. */
  readonly open?: typeof openDevice;
}

/** Make a run while nobody else writes into its directory; it goes on once where the device goes away. */
export function guarded<T>(
  once: (options: TrainOptions, hooks: RunHooks) => Effect.Effect<T, UserError>,
  options: TrainOptions,
  hooks: RunHooks,
): Effect.Effect<T, UserError> {
  /** From the newest checkpoint, or from the beginning where there is none. */
  const goOn = (lost: LostError): Effect.Effect<T, UserError> => {
    const resume = checkpointSteps(options.out).length > 0;
    hooks.say(
      `${lost.message} ${resume ? "Going on from the newest checkpoint" : "Beginning again"}, this once.`,
    );
    return once({ ...options, resume }, hooks);
  };
  return Effect.scoped(Effect.gen(function* () {
    yield* lockOutput(options.out);
    return yield* Effect.matchEffect(once(options, hooks), {
      onSuccess: (result) => Effect.succeed(result),
      // Once: a device that goes away again will not stay.
      onFailure: (error) => error instanceof LostError && !hooks.stopped() ? goOn(error) : Effect.fail(error),
    });
  }));
}
