/**
 * Checkpoints of a run: `<out>/checkpoints/step-<n>/` with all tensors that steps change and `state.json`, which says
 * how far the run is, what it was asked to do, and the SHA-256 of every tensor. @module
 */
import { exists, removeLeftovers, removeWhole, writeTextAtomically, writeWhole } from "./atomic_file.ts";
import type { Example } from "./data.ts";
import { ResumeError, UserError } from "./errors.ts";
import type { Sample } from "./exact_match.ts";
import { readJson } from "./json_file.ts";
import type { TrainOptions } from "./options.ts";
import { flagsOfOptions } from "./config_file.ts";
import { flagName } from "./parse_flags.ts";
import { openSafetensors, writeSafetensors } from "./safetensors.ts";
import type { HostTensor } from "./training.ts";

const TENSORS = "tensors.safetensors";
const STATE = "state.json";
/** Of the layout described above. */
const FORMAT = 1;

/** What a model did on the held-out rows. */
export interface Measured {
  /** Mean loss per trained token; NaN where there is none. */
  readonly loss: number;
  /** Share of exact matches; null where no row has an answer. */
  readonly exact: number | null;
  readonly samples: readonly Sample[];
  /** Of encoders: the task's metrics by name. */
  readonly metrics?: Readonly<Record<string, number>>;
}

/** What a checkpoint says of its run. */
export interface RunState {
  /** Steps done: as many batches were taken, in the order that the seed decides. */
  readonly step: number;
  /** Steps whose gradients were not finite. */
  readonly skipped: number;
  /** The processor, for people. */
  readonly device: string;
  /** {@linkcode digestRows} of the rows that are trained on. */
  readonly rows: string;
  /** What was measured before the first step. */
  readonly before: Measured | null;
  readonly options: Readonly<Record<string, unknown>>;
}

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
  const digests: Record<string, string> = {};
  for (const [name, { data }] of tensors) digests[name] = await sha256(data);
  const all = { format: FORMAT, ...state, tensors: digests };
  const text = JSON.stringify({ sha256: await sha256Text(JSON.stringify(all)), state: all }, null, 1);
  writeWhole(`${place(out)}/step-${state.step}`, (dir) => {
    writeSafetensors(`${dir}/${TENSORS}`, tensors);
    writeTextAtomically(`${dir}/${STATE}`, `${text}\n`);
  }, true);
  for (const step of checkpointSteps(out).slice(0, -keep)) removeWhole(`${place(out)}/step-${step}`);
}

/** Remove what a run that was killed left half-written. */
export function sweepCheckpoints(out: string): void {
  removeLeftovers(place(out));
}

/** What the newest checkpoint of a run says of it. Throws ResumeError where there is none, or it is damaged. */
export async function readRunState(out: string): Promise<RunState> {
  return (await readNewest(out)).state;
}

/** The newest checkpoint of a run, every byte checked. Throws ResumeError where there is none, or it is damaged. */
export async function readCheckpoint(out: string): Promise<RunCheckpoint> {
  const { dir, state, digests, damaged } = await readNewest(out);
  const path = `${dir}/${TENSORS}`;
  const tensors = new Map<string, HostTensor>();
  try {
    using file = openSafetensors(path);
    for (const name of file.header.tensors.keys()) {
      if (!Object.hasOwn(digests, name)) throw damaged(`${path}: tensor "${name}" is not of this checkpoint`);
    }
    for (const [name, digest] of Object.entries(digests)) {
      const tensor = file.read(name);
      if (await sha256(tensor.data) !== digest) {
        throw damaged(`${path}: tensor "${name}" has other numbers than were written`);
      }
      tensors.set(name, tensor);
    }
  } catch (error) {
    if (error instanceof ResumeError) throw error;
    if (error instanceof Deno.errors.NotFound) throw damaged(`${path}: not found`);
    if (error instanceof UserError) throw damaged(error.message.replace(/\.$/, ""));
    throw error;
  }
  return { ...state, dir, tensors };
}

interface Newest {
  readonly dir: string;
  readonly state: RunState;
  readonly digests: Readonly<Record<string, string>>;
  /** The error for damage, with what can be done. */
  readonly damaged: (what: string) => ResumeError;
}

async function readNewest(out: string): Promise<Newest> {
  const steps = checkpointSteps(out);
  const newest = steps.at(-1), previous = steps.at(-2);
  if (newest === undefined) {
    throw new ResumeError(
      `--resume: ${place(out)} has no checkpoint; leave out --resume to begin the run.`,
      { out },
    );
  }
  const dir = `${place(out)}/step-${newest}`, path = `${dir}/${STATE}`;
  const damaged = (what: string): ResumeError =>
    new ResumeError(
      `${what}: the checkpoint is damaged and nothing was continued; ` +
        (previous === undefined
          ? "it is the only one: begin anew in another --out."
          : `to go on from step ${previous} instead, remove ${dir}.`),
      { dir, previous },
    );
  let json: unknown;
  try {
    json = readJson(path, ResumeError, "it belongs to the checkpoint");
  } catch (error) {
    if (!(error instanceof ResumeError)) throw error;
    throw damaged(exists(path) ? `${path}: not JSON` : `${path}: not found`);
  }
  const { sha256: digest, state } = Object(json) as { readonly sha256?: unknown; readonly state?: unknown };
  if (typeof state !== "object" || state === null || digest !== await sha256Text(JSON.stringify(state))) {
    throw damaged(`${path}: its SHA-256 is not that of what it says`);
  }
  const { format, tensors, ...rest } = state as Written;
  if (format !== FORMAT) {
    throw new ResumeError(
      `${path}: has format ${
        JSON.stringify(format)
      }, expected ${FORMAT}: continue with the Gyre that wrote it.`,
      { path, format },
    );
  }
  // JSON has no NaN: null stands for it.
  const before = rest.before && { ...rest.before, loss: rest.before.loss ?? NaN };
  return { dir, state: { ...rest, before }, digests: tensors, damaged };
}

/** What `state.json` holds; its digest says that it is as it was written. */
interface Written extends RunState {
  readonly format: unknown;
  readonly tensors: Readonly<Record<string, string>>;
}

/** Options that may change between the parts of a run: where it runs, how long, and what is written. */
const HARMLESS: ReadonlySet<keyof TrainOptions> = new Set<keyof TrainOptions>([
  ...[
    "out",
    "steps",
    "epochs",
    "device",
    "merge",
    "resume",
    "saveEvery",
    "keep",
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

/** SHA-256 of what rows mean for training: their ids, and which of them are learnt, or their kinds and the target. */
export function digestRows(examples: readonly Example[]): Promise<string> {
  const words = new Int32Array(
    examples.reduce((n, { ids, classified }) => n + (classified ? 2 : 1) + ids.length, 0),
  );
  const numbers = new Float32Array(words.buffer);
  let at = 0;
  for (const { ids, trained, classified } of examples) {
    words[at++] = ids.length;
    ids.forEach((id, t) => words[at++] = 2 * id + (classified ? classified.types[t]! : trained[t] ? 1 : 0));
    if (classified) numbers[at++] = classified.target;
  }
  return sha256(words);
}

function sha256Text(text: string): Promise<string> {
  return sha256(new TextEncoder().encode(text));
}

async function sha256(data: HostTensor["data"] | Uint8Array): Promise<string> {
  // None of these arrays is on shared memory: they are fresh, or read from files.
  const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return digest.toHex();
}
