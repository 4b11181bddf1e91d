/** Where promises become effects: what the user can mend fails, all else is a defect. @module */
import * as Effect from "effect/Effect";
import { DeviceLostError, PlanError, ShapeError } from "../core/mod.ts";
import { LostError, UserError } from "./errors.ts";

/** Run a promise; errors that the user can mend fail, all others are defects. */
export function attempt<T>(run: () => Promise<T>): Effect.Effect<T, UserError> {
  return Effect.catchDefect(Effect.promise(() => Promise.resolve().then(run)), (error: unknown) => {
    const told = mendable(error);
    return told === null ? Effect.die(error) : Effect.fail(told);
  });
}

/** An error that the user can mend, as one that says how; null for all others. */
export function mendable(error: unknown): UserError | null {
  if (error instanceof UserError) return error;
  if (error instanceof DeviceLostError) return new LostError(error.message);
  if (error instanceof ShapeError || error instanceof PlanError) {
    return new UserError(error.message.replace(/\.?\n\s*/g, "; "));
  }
  if (error instanceof RangeError && /allocation failed|Invalid typed array length/.test(error.message)) {
    return new UserError(`There is not enough memory (${error.message}): try a smaller --batch or --seq.`);
  }
  if (isFileError(error)) return new UserError(`A file cannot be read or written: ${error.message}`);
  return null;
}

/** Whether the file system refused: permissions, a file in the place of a directory, no space left. */
function isFileError(error: unknown): error is Error {
  return error instanceof Error &&
    (/\(os error \d+\)/.test(error.message) || error instanceof Deno.errors.NotCapable);
}
