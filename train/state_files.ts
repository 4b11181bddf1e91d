/** A state of a run in a directory: all tensors that steps change, and `state.json`, which has a digest of each and its own. @module */
import { exists, writeTextAtomically, writeWhole } from "./atomic_file.ts";
import { ResumeError, UserError } from "./errors.ts";
import type { Evaluated } from "./evaluated.ts";
import type { Sample } from "./exact_match.ts";
import { readJson } from "./json_file.ts";
import { openSafetensors, writeSafetensors } from "./safetensors.ts";
import type { HostTensor } from "./training.ts";

const TENSORS = "tensors.safetensors";
const STATE = "state.json";
/** Of the layout described above. */
const FORMAT = 1;

/** What a model did on the held-out rows, with its answers. */
export interface Measured extends Evaluated {
  /** Share of exact matches; null where no row has an answer. */
  readonly exact: number | null;
  readonly samples: readonly Sample[];
}

/** What a checkpoint says of its run. */
export interface RunState {
  /** Steps done: as many batches were taken, in the order that the seed decides. */
  readonly step: number;
  /** Steps whose gradients were not finite. */
  readonly skipped: number;
  /** The processor, for people. */
  readonly device: string;
  /** Digest (train/data/row_digest.ts) of the rows that are trained on. */
  readonly rows: string;
  /** What was measured before the first step. */
  readonly before: Measured | null;
  readonly options: Readonly<Record<string, unknown>>;
  /** Of a state that is kept for it: what was measured at this step. */
  readonly evaluated?: Evaluated;
}

/** Write a state to `dir`, whole or not at all; one that is there is replaced. */
export async function writeState(
  dir: string,
  state: RunState,
  tensors: ReadonlyMap<string, HostTensor>,
): Promise<void> {
  const digests: Record<string, string> = {};
  for (const [name, { data }] of tensors) digests[name] = await sha256(data);
  const all = { format: FORMAT, ...state, tensors: digests };
  const text = JSON.stringify({ sha256: await sha256Text(JSON.stringify(all)), state: all }, null, 1);
  writeWhole(dir, (to) => {
    writeSafetensors(`${to}/${TENSORS}`, tensors);
    writeTextAtomically(`${to}/${STATE}`, `${text}\n`);
  }, true);
}

/** What a state says of its run, and the digests of its tensors. */
export interface StateHead {
  readonly state: RunState;
  readonly digests: Readonly<Record<string, string>>;
}

/** Makes the error for damage: what is wrong, and what can be done. */
export type Damaged = (what: string) => ResumeError;

/** Read `state.json` of a state. Throws what `damaged` makes, and ResumeError where another Gyre wrote it. */
export async function readHead(dir: string, damaged: Damaged): Promise<StateHead> {
  const path = `${dir}/${STATE}`;
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
  return { state: rest, digests: tensors };
}

/** Read the tensors of a state, every byte checked. Throws what `damaged` makes. */
export async function readTensors(
  dir: string,
  { digests }: StateHead,
  damaged: Damaged,
): Promise<Map<string, HostTensor>> {
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
  return tensors;
}

/** What `state.json` holds; its digest says that it is as it was written. */
interface Written extends RunState {
  readonly format: unknown;
  readonly tensors: Readonly<Record<string, string>>;
}

function sha256Text(text: string): Promise<string> {
  return sha256(new TextEncoder().encode(text));
}

/** SHA-256 of the bytes, in hexadecimal. */
export async function sha256(data: HostTensor["data"] | Uint8Array): Promise<string> {
  // None of these arrays is on shared memory: they are fresh, or read from files.
  const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return digest.toHex();
}
