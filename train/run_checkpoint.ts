/** Checkpoints of a run, `<out>/checkpoints/step-<n>/`: what is kept, and whether a run may go on from it. @module */
import { exists, removeLeftovers, removeWhole } from "./atomic_file.ts";
import { flagsOfOptions } from "./config_file.ts";
import { ResumeError } from "./errors.ts";
import type { TrainOptions } from "./options.ts";
import { flagName } from "./parse_flags.ts";
import { type Damaged, readHead, readTensors, type RunState, writeState } from "./state_files.ts";
import type { HostTensor } from "./training.ts";

/** A whole checkpoint. */
export interface RunCheckpoint extends RunState {
  readonly dir: string;
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

/** Where the checkpoints of a run are. */
function place(out: string): string {
  return `${out}/checkpoints`;
}

/** Steps of the checkpoints of a run, rising. */
export function checkpointSteps(out: string): number[] {
  if (!exists(place(out))) return [];
  const names = [...Deno.readDirSync(place(out))].map(({ name }) => /^step-(\d+)$/.exec(name));
  return names.flatMap((found) => found ? [Number(found[1])] : []).sort((a, b) => a - b);
}

/** Write a checkpoint, whole or not at all, then remove all but the newest `keep`. */
export async function saveCheckpoint(
  out: string,
  state: RunState,
  tensors: ReadonlyMap<string, HostTensor>,
  keep: number,
): Promise<void> {
  await writeState(`${place(out)}/step-${state.step}`, state, tensors);
  for (const step of checkpointSteps(out).slice(0, -keep)) removeWhole(`${place(out)}/step-${step}`);
}

/** Remove what a run that was killed left half-written. */
export function sweepCheckpoints(out: string): void {
  removeLeftovers(place(out));
}

/** What the newest checkpoint of a run says of it. Throws ResumeError where there is none, or it is damaged. */
export async function readRunState(out: string): Promise<RunState> {
  const { dir, damaged } = newest(out);
  return (await readHead(dir, damaged)).state;
}

/** The newest checkpoint of a run, every byte checked. Throws ResumeError where there is none, or it is damaged. */
export async function readCheckpoint(out: string): Promise<RunCheckpoint> {
  const { dir, damaged } = newest(out), head = await readHead(dir, damaged);
  return { ...head.state, dir, tensors: await readTensors(dir, head, damaged) };
}

/** The newest checkpoint's directory. */
function newest(out: string): { readonly dir: string; readonly damaged: Damaged } {
  const steps = checkpointSteps(out), last = steps.at(-1), previous = steps.at(-2);
  if (last === undefined) {
    throw new ResumeError(
      `--resume: ${place(out)} has no checkpoint; leave out --resume to begin the run.`,
      { out },
    );
  }
  const dir = `${place(out)}/step-${last}`;
  return {
    dir,
    damaged: (what) =>
      new ResumeError(
        `${what}: the checkpoint is damaged and nothing was continued; ` +
          (previous === undefined
            ? "it is the only one: begin anew in another --out."
            : `to go on from step ${previous} instead, remove ${dir}.`),
        { dir, previous },
      ),
  };
}

/** Options that may change between the parts of a run: where it runs, how long, and what is written. */
const HARMLESS: ReadonlySet<keyof TrainOptions> = new Set<keyof TrainOptions>([
  ...[
    "out",
    "steps",
    "epochs",
    "stream",
    "tokenCache",
    "device",
    "merge",
    "resume",
    "saveEvery",
    "keep",
    "evalEvery",
    "keepBest",
    "config",
    "noCache",
    "dryRun",
    "json",
    "help",
  ] as const,
]);

/**
 * Check that a run is continued as what it is. Throws ResumeError with the flag, its old and its new value, or where the
 * rows are others.
 */
export function requireSameRun(earlier: RunState, options: TrainOptions, rows: string): void {
  const show = (x: unknown): string => x === null ? "not given" : String(x);
  for (const key of Object.keys(options) as (keyof TrainOptions)[]) {
    const was = earlier.options[key], is = options[key];
    // What a run knew nothing of was off.
    if (HARMLESS.has(key) || was === is || (was === undefined && (is === false || is === null))) continue;
    const flag = `--${flagName(key)}`;
    throw new ResumeError(
      `--resume: ${flag} was ${show(was)} and is ${show(is)}, which would make it another run: ` +
        `leave out ${flag}, or give another --out without --resume.`,
      { flag, was, is },
    );
  }
  if (rows !== earlier.rows) {
    throw new ResumeError(
      `--resume: ${options.data} has other rows than at the beginning of the run, or the model another tokenizer: ` +
        "put the old ones back, or give another --out without --resume.",
      { data: options.data },
    );
  }
}

/** The flags that a run was given, as on the command line, those that the command line itself decides left out. */
export function flagsOfRun({ options }: RunState): string[] {
  const left = new Set<string>(["out", "resume", "json", "help", "saveEvery", "keep", "merge", "config"]);
  return flagsOfOptions(Object.entries(options).filter(([key]) => !left.has(key)));
}
