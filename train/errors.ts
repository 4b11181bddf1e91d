/** Errors that the user can mend: bad flags, files and rows. @module */

/**
 * Something given to the program is wrong. The message is one line (of a mistake in an expression three, with a mark
 * under it): the value, what was expected, what to do. The program prints it without a stack and ends with code 2.
 */
export class UserError extends Error {
  override readonly name: string = "UserError";
  /** Tag for `Effect.catchTag`. */
  readonly _tag: string = "UserError";

  /** `data` holds the values that the message speaks of. */
  constructor(message: string, readonly data: Readonly<Record<string, unknown>> = {}) {
    super(forPeople(message, new.target === OptionError));
  }
}

/** Longest message, in UTF-16 units: about a screen. */
const LONGEST = 2000;
/** What is kept of the end of a longer one, where it says what to do. */
const KEPT_END = 400;

/**
 * A message without what files could hide in it: control characters, which could command a terminal, are written as
 * `\u{…}`, and of a very long one the middle is left out. Messages about the command line may have `lines`.
 */
function forPeople(message: string, lines: boolean): string {
  const short = message.length <= LONGEST
    ? message
    : `${message.slice(0, LONGEST - KEPT_END)} … ${message.slice(-KEPT_END)}`;
  return short.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (c) => lines && c === "\n" ? c : `\\u{${c.codePointAt(0)!.toString(16)}}`,
  );
}

/** A flag that does not exist, or a value that it cannot take. */
export class OptionError extends UserError {
  override readonly name = "OptionError";
}

/** A safetensors file that is cut short, overlaps or contradicts itself. */
export class SafetensorsError extends UserError {
  override readonly name = "SafetensorsError";
}

/** A model directory that is incomplete or of another architecture. */
export class CheckpointError extends UserError {
  override readonly name = "CheckpointError";
}

/** A tokenizer or chat template that is missing or broken. */
export class TokenizerError extends UserError {
  override readonly name = "TokenizerError";
}

/** A data file with a broken, unknown or useless row. */
export class DataError extends UserError {
  override readonly name = "DataError";
}

/** A PEFT directory that is damaged, or asks for something that Gyre does not do. */
export class PeftError extends UserError {
  override readonly name = "PeftError";
}

/** An adapter directory of Gyre that is damaged or was written for another model. */
export class AdapterError extends UserError {
  override readonly name = "AdapterError";
}

/** A run that cannot be continued: no checkpoint, a damaged one, or options that would make it another run. */
export class ResumeError extends UserError {
  override readonly name = "ResumeError";
}

/** Numbers of a run that are not finite: what is trained cannot go on from there. */
export class NotFiniteError extends UserError {
  override readonly name = "NotFiniteError";
}

/** The device went away; what was on it is lost, checkpoints are not. */
export class LostError extends UserError {
  override readonly name = "LostError";
}

/** A file that could not be written: no space, no permission. */
export class WriteError extends UserError {
  override readonly name = "WriteError";
}
