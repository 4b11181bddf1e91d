/** What a run of any kind reads beside its model: rows to learn, rows to measure on, and the run that it goes on with. @module */
import type { Examples } from "./data/examples.ts";
import { heldShare, holdOut } from "./data/hold_out.ts";
import type { OpenRows } from "./data/open_rows.ts";
import { ResumeError } from "./errors.ts";
import { parseAsked } from "./evaluation/asked.ts";
import type { RunHooks } from "./guarded.ts";
import type { TrainOptions } from "./options.ts";
import { readCheckpoint, requireSameRun, type RunCheckpoint } from "./run_checkpoint.ts";
import { readMetrics } from "./run_files.ts";
import { type Earlier, NOTHING_YET, totalSteps } from "./train_loop.ts";

/** Rows of a run, and how far it is. Disposing of it closes their files. */
export interface LoadedRows<E extends Examples = Examples> extends Disposable {
  readonly data: Omit<OpenRows<E>, typeof Symbol.dispose>;
  /** The examples of `data` that are not held out. */
  readonly train: E;
  readonly held: E | null;
  /** Digest of the examples of `data`. */
  readonly rows: string;
  /** The checkpoint that the run goes on from, and how far its metrics are, with their text. */
  readonly resumed: RunCheckpoint | null;
  readonly done: Earlier & { readonly text: string };
}

/** How {@linkcode loadRows} reads files, and takes some of their examples. */
export interface RowReading<E extends Examples> {
  /** Says what it found. */
  readonly read: (names: string) => Promise<OpenRows<E>>;
  readonly pick: (examples: E, numbers: Uint32Array) => E;
  readonly say: RunHooks["say"];
}

/** Read the rows of a run, and the run that goes on. Throws UserError. */
export async function loadRows<E extends Examples>(
  options: TrainOptions,
  { read, pick, say }: RowReading<E>,
): Promise<LoadedRows<E>> {
  using files = new DisposableStack();
  const open = async (names: string): Promise<OpenRows<E>> => files.use(await read(names));
  const data = await open(options.data), rows = data.digest, { examples } = data;
  const { rows: asked } = parseAsked(options.eval), share = asked === null ? null : heldShare(asked);
  const parts = share === null ? null : holdOut(examples.length, share, options.seed, options.data);
  if (parts) say(`held out: ${parts.held.length} of these rows`);
  const train = parts ? pick(examples, parts.train) : examples;
  const all = asked === null ? null : parts ? pick(examples, parts.held) : (await open(asked)).examples;
  const { evalLimit } = options;
  const held = all && evalLimit !== null && evalLimit < all.length
    ? pick(all, Uint32Array.from({ length: evalLimit }, (_, i) => i))
    : all;
  const earlier = options.resume
    ? await loadRun(options, train, rows)
    : { resumed: null, done: { ...NOTHING_YET, text: "" } };
  const opened = files.move();
  return { ...{ data, train, held, rows, ...earlier }, [Symbol.dispose]: () => opened.dispose() };
}

/** The run that is continued: its newest checkpoint, and how far its metrics are. */
async function loadRun(
  options: TrainOptions,
  train: Examples,
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
