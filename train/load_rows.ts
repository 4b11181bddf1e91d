/** What a run of any kind reads beside its model: rows to learn, rows to measure on, and the run that it goes on with. @module */
import type { Dataset, Example } from "./data.ts";
import { ResumeError } from "./errors.ts";
import { parseAsked } from "./evaluation/asked.ts";
import type { RunHooks } from "./guarded.ts";
import type { TrainOptions } from "./options.ts";
import { digestRows, readCheckpoint, requireSameRun, type RunCheckpoint } from "./run_checkpoint.ts";
import { readMetrics } from "./run_files.ts";
import { type Earlier, NOTHING_YET, totalSteps } from "./train_loop.ts";

/** Rows of a run, and how far it is. */
export interface LoadedRows {
  readonly data: Dataset;
  /** The examples of `data`. */
  readonly train: readonly Example[];
  readonly held: readonly Example[] | null;
  /** Digest of the examples. */
  readonly rows: string;
  /** The checkpoint that the run goes on from, and how far its metrics are, with their text. */
  readonly resumed: RunCheckpoint | null;
  readonly done: Earlier & { readonly text: string };
}

/** Read the rows of a run by `read`, which says what it found, and the run that goes on. Throws UserError. */
export async function loadRows(
  options: TrainOptions,
  read: (file: string) => Dataset | Promise<Dataset>,
): Promise<LoadedRows> {
  const data = await read(options.data), train = data.examples;
  const rows = await digestRows(train), { rows: held } = parseAsked(options.eval);
  return {
    data,
    train,
    held: held === null ? null : (await read(held)).examples.slice(0, options.evalLimit ?? Infinity),
    rows,
    ...(options.resume
      ? await loadRun(options, train, rows)
      : { resumed: null, done: { ...NOTHING_YET, text: "" } }),
  };
}

/** The run that is continued: its newest checkpoint, and how far its metrics are. */
async function loadRun(
  options: TrainOptions,
  train: readonly Example[],
  rows: string,
): Promise<Pick<LoadedRows, "resumed" | "done">> {
  const resumed = await readCheckpoint(options.out);
  requireSameRun(resumed, options, rows);
  const { step, skipped } = resumed, total = totalSteps(options, train);
  if (total < step) {
    throw new ResumeError(
      `--resume: the run has done ${step} steps and is to have ${total}; give more with --steps, which counts all.`,
      { step, total },
    );
  }
  const { text, losses, seconds } = readMetrics(options.out, step);
  return { resumed, done: { steps: step, skipped, losses, seconds, text } };
}

/** Say where a run goes on, and what keeps it from being the same to the last bit. */
export function sayResumed(
  { dir, step, device }: RunCheckpoint,
  total: number,
  here: string,
  say: RunHooks["say"],
): void {
  say(`goes on from ${dir}: step ${step} of ${total}`);
  if (device !== here) say(`it was begun on ${device}: from here on its last bits may differ`);
}
