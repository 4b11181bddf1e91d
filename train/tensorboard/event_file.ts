/** TensorBoard's files of a run, beside `metrics.jsonl`. @module */
import { evaluationScalars } from "../evaluated.ts";
import { label } from "../plots/lambda.ts";
import type { StepReport } from "../report.ts";
import type { MetricsFile } from "../run_files.ts";
import { encodeEvent, type TensorboardEvent } from "./event.ts";
import { record } from "./records.ts";

/** TensorBoard takes files for its own by this part of their name. */
const NAME = /^events\.out\.tfevents\.(\d+)\.gyre$/;

/** Files of a directory, oldest first, which is the order in which TensorBoard reads them. */
export function eventFiles(dir: string): string[] {
  return [...Deno.readDirSync(dir)].map((entry) => entry.name).filter((name) => NAME.test(name)).sort();
}

/** What the events of a run begin with. */
export interface EventsStart {
  /** Steps of earlier parts of the run. */
  readonly steps: number;
  /** Orthogonal learning rate by the other one. */
  readonly rateRatio: number;
  /** Held-out numbers before the first step, by name; absent for a run that goes on. */
  readonly before?: Readonly<Record<string, number>>;
}

/**
 * Write each step as an event too, into a file of its own; what an earlier part wrote of later steps is declared void.
 * A record is written at once, so that a program that is killed leaves whole ones and at most a torn last one, which
 * TensorBoard passes over.
 */
export function withEvents(
  metrics: MetricsFile,
  dir: string,
  { steps, rateRatio, before }: EventsStart,
): MetricsFile {
  const file = createEvents(dir);
  appendEvents(file, { step: before ? 0 : steps + 1, start: true });
  if (before && Object.keys(before).length > 0) appendEvents(file, { step: 0, scalars: before });
  return {
    append: (report) => {
      metrics.append(report);
      appendEvents(file, { step: report.step, scalars: scalarsOf(report, rateRatio) });
    },
    evaluated: (report) => {
      metrics.evaluated(report);
      appendEvents(file, { step: report.step, scalars: evaluationScalars(report.found) });
    },
    sync: () => {
      metrics.sync();
      file.syncSync();
    },
    [Symbol.dispose]: () => {
      metrics[Symbol.dispose]();
      file.close();
    },
  };
}

/** Add numbers to the newest file of a run, or to its first. */
export function addScalars(dir: string, step: number, scalars: Readonly<Record<string, number>>): void {
  if (Object.keys(scalars).length === 0) return;
  const newest = eventFiles(dir).at(-1);
  using file = newest === undefined ? createEvents(dir) : Deno.openSync(`${dir}/${newest}`, { append: true });
  appendEvents(file, { step, scalars });
}

/** A new file, behind all others by its name whatever the clock says. */
function createEvents(dir: string): Deno.FsFile {
  const newest = eventFiles(dir).at(-1);
  const seconds = Math.max(
    Math.floor(Date.now() / 1000),
    newest === undefined ? 0 : Number(NAME.exec(newest)![1]) + 1,
  );
  const name = `events.out.tfevents.${String(seconds).padStart(10, "0")}.gyre`;
  const file = Deno.openSync(`${dir}/${name}`, { append: true, createNew: true });
  appendEvents(file, { fileVersion: "brain.Event:2" });
  return file;
}

function appendEvents(file: Deno.FsFile, event: Omit<TensorboardEvent, "wallTime">): void {
  const bytes = record(encodeEvent({ wallTime: Date.now() / 1000, ...event }));
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}

/** A step's numbers by the names that TensorBoard shows: it groups them by what stands before the slash. */
function scalarsOf(
  { loss, lr, gradNorm, lossScale, tokensPerSecond, lambda }: StepReport,
  rateRatio: number,
): Record<string, number> {
  const shares = Object.entries(lambda ?? {}).flatMap(([path, weights]) =>
    weights.length === 2
      ? [[`lambda/${label(path)}`, weights[0]!] as const]
      : weights.map((weight, branch) => [`lambda/${label(path)}/branch${branch + 1}`, weight] as const)
  );
  return {
    "train/loss": loss,
    "train/grad_norm": gradNorm,
    ...(lossScale === undefined ? {} : { "train/loss_scale": lossScale }),
    "train/tokens_per_s": tokensPerSecond,
    "learning_rate/plain": lr,
    "learning_rate/orthogonal": lr * rateRatio,
    ...Object.fromEntries(shares),
  };
}
