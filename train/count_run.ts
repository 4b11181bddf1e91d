/** What a whole run needs on a device, found by going through it on one that only counts. @module */
import type { Capabilities, Device } from "../core/mod.ts";
import { openCounting } from "./counting_device.ts";
import type { StoredTensor } from "./safetensors.ts";
import type { StepBytes } from "./step_bytes.ts";
import type { Training } from "./training.ts";

/** The parts of a run, in their order. */
export interface RunParts<S> {
  readonly open: (device: Device) => Promise<S>;
  /** Measure on held-out rows, and by tasks; answer rows; take a step of each length, one at least; merge what is looked at in the end. */
  readonly evaluate: (session: S) => Promise<unknown>;
  /** Tasks that `--eval` names. */
  readonly tasks: (session: S) => Promise<unknown>;
  readonly answer: (session: S) => Promise<unknown>;
  readonly step: (session: S) => Promise<unknown>;
  readonly leave: (session: S) => Promise<unknown>;
}

/** What a run needs on the device, in bytes. */
export interface RunBytes {
  /** Of the largest step alone. */
  readonly step: StepBytes;
  /** At the most until the first step could be taken: for the starts of adapters, and weights before they become parameters. */
  readonly start: number;
  /** Weights, trained parameters, the optimiser's state, and the plan of their start: what stays. */
  readonly staying: number;
  /** Of the plans of all evaluations, tasks, answers and steps together, which stay for the length of the run. */
  readonly evaluations: number;
  readonly tasks: number;
  readonly answers: number;
  readonly steps: number;
  /** Most of all at one time. */
  readonly peak: number;
}

/** Go through a run without computing anything. Throws ShapeError, and PlanError where a plan does not fit the device. */
export async function countRun<S extends Pick<Training<never>, "stats">>(
  capabilities: Capabilities,
  { open, evaluate, tasks: ask, answer, step, leave }: RunParts<S>,
): Promise<RunBytes> {
  const device = openCounting(capabilities);
  const session = await open(device);
  const { bytes: staying, peakBytes: start } = device.memory();
  const grown = async (part: (session: S) => Promise<unknown>): Promise<number> => {
    const before = device.memory().bytes;
    await part(session);
    return device.memory().bytes - before;
  };
  const evaluations = await grown(evaluate), tasks = await grown(ask);
  const answers = await grown(answer), steps = await grown(step);
  await leave(session);
  const largest = session.stats().step;
  if (!largest) throw new RangeError("A run takes a step at least.");
  return {
    step: largest,
    start,
    staying,
    evaluations,
    tasks,
    answers,
    steps,
    peak: device.memory().peakBytes,
  };
}

/** Weights without their numbers: no file is read. */
export function withoutNumbers(
  weights: ReadonlyMap<string, Pick<StoredTensor, "aval">>,
): ReadonlyMap<string, StoredTensor> {
  return new Map([...weights].map(([name, { aval }]) => [name, { aval, data: new Float32Array(0) }]));
}
