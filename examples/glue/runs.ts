/** The runs of a study on GLUE: each a process of its own, so that its memory can be seen. @module */
import {
  GLUE_TASKS,
  type GlueScores,
  glueScores,
  type GlueTaskName,
  type MethodName,
  readMetrics,
  UserError,
} from "../../train/mod.ts";
import { writeTextAtomically } from "../../train/atomic_file.ts";
import { plannedBatches, type TaskFiles } from "./files.ts";
import { type GlueStudy, type Maker, type Rates, ratesOf } from "./options.ts";

/** A run to be made. */
export interface RunChoice {
  readonly maker: Maker;
  readonly task: GlueTaskName;
  readonly method: MethodName;
  readonly seed: number;
}

/** What a run came to. */
export interface RunRecord extends RunChoice {
  /** What decides its numbers. */
  readonly settings: Settings;
  readonly metrics: GlueScores["metrics"];
  readonly score: number;
  readonly trainable: number;
  /** Of a step, without the first. */
  readonly secondsPerStep: number;
  /** Most memory of the process, in bytes; null where the system does not tell. */
  readonly peakBytes: number | null;
}

/** What decides a run's numbers beside who makes it. */
export type Settings = Readonly<
  & Pick<GlueStudy, "model" | "rows" | "evalRows" | "steps" | "batch" | "seq" | "rank" | "device">
  & Rates
>;

/** Methods that PEFT has, with a start of the same kind. */
const PEFT_METHODS: readonly MethodName[] = [
  ...(["full", "lora", "rslora", "dora", "pissa", "olora", "oft", "boft", "hra"] as const),
];

/** Whether a maker has a method. */
export function canMake(maker: Maker, method: MethodName): boolean {
  return maker === "Gyre" || PEFT_METHODS.includes(method);
}

/** Share of the steps in which the rate rises, and the largest norm of a gradient: the defaults of `train.ts`. */
const WARMUP = 0.05, CLIP = 1;

/** What decides a run of this study. */
export function settingsOf(study: GlueStudy, method: MethodName): Settings {
  const { model, rows, evalRows, steps, batch, seq, rank, device } = study;
  return { model, rows, evalRows, steps, batch, seq, rank, device, ...ratesOf(study, method) };
}

/** Where a run's record is. */
export function recordFile(
  { out }: Pick<GlueStudy, "out">,
  { maker, task, method, seed }: RunChoice,
): string {
  return `${out}/runs/${maker.toLowerCase()}-${task}-${method}-${seed}.json`;
}

/** A finished run; null where it is not there. Throws UserError for one of other settings. */
export function readRecord(study: GlueStudy, choice: RunChoice): RunRecord | null {
  const file = recordFile(study, choice);
  let record: RunRecord;
  try {
    record = JSON.parse(Deno.readTextFileSync(file)) as RunRecord;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    if (error instanceof SyntaxError) throw new UserError(`${file}: not JSON; remove it to repeat the run.`);
    throw error;
  }
  const wanted = settingsOf(study, choice.method);
  const other = (Object.keys(wanted) as (keyof Settings)[]).find((k) => record.settings[k] !== wanted[k]);
  if (other === undefined) return record;
  throw new UserError(
    `${file}: was made with ${other} ${record.settings[other]}, this study has ${
      wanted[other]
    }; give another --out.`,
  );
}

/** Make a run and write its record. Throws UserError where the process fails. */
export async function makeRun(
  study: GlueStudy,
  root: string,
  files: TaskFiles,
  choice: RunChoice,
): Promise<RunRecord> {
  const made = choice.maker === "Gyre"
    ? await runGyre(study, root, files, choice)
    : await runPeft(study, root, files, choice);
  const record: RunRecord = { ...choice, settings: settingsOf(study, choice.method), ...made };
  Deno.mkdirSync(`${study.out}/runs`, { recursive: true });
  writeTextAtomically(recordFile(study, choice), `${JSON.stringify(record, null, 1)}\n`);
  return record;
}

type Made = Omit<RunRecord, keyof RunChoice | "settings">;

async function runGyre(
  study: GlueStudy,
  root: string,
  { train, dev }: TaskFiles,
  { task, method, seed }: RunChoice,
): Promise<Made> {
  const { model, steps, batch, seq, rank, device } = study, out = `${study.out}/work-gyre`;
  removeIfThere(out);
  const { lr, orthogonalLr } = ratesOf(study, method);
  const flags = {
    ...{ model, data: train, eval: dev, task, method, seed, steps, batch, seq, rank, device, out },
    ...{ lr, "orthogonal-lr": orthogonalLr, warmup: WARMUP, clip: CLIP, "save-every": 0 },
  };
  const { stdout, peakBytes } = await watched(Deno.execPath(), [
    ...["run", "-A", `${root}/train.ts`, "--json"],
    ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
  ]);
  const result = JSON.parse(stdout) as {
    readonly metrics_after: GlueScores["metrics"];
    readonly score_after: number;
    readonly trainable: number;
  };
  const { seconds } = readMetrics(out, steps);
  removeIfThere(out);
  return {
    metrics: result.metrics_after,
    score: result.score_after,
    trainable: result.trainable,
    secondsPerStep: seconds / Math.max(1, steps - 1),
    peakBytes,
  };
}

async function runPeft(
  study: GlueStudy,
  root: string,
  files: TaskFiles,
  { task, method, seed }: RunChoice,
): Promise<Made> {
  const { model, python, steps, seq, rank } = study;
  if (python === null) {
    throw new UserError("--makers PEFT needs --python, with torch, transformers and peft.");
  }
  const request = {
    ...{ model, ...files, method, seed, seq, rank, alpha: 2 * rank, ...ratesOf(study, method) },
    ...{ warmup: WARMUP, clip: CLIP, threads: navigator.hardwareConcurrency, task: GLUE_TASKS[task] },
    batches: plannedBatches(study, task, files, seed),
  };
  const file = `${study.out}/request.json`;
  writeTextAtomically(file, JSON.stringify(request));
  const { stdout, peakBytes } = await watched(python, [`${root}/bench/peft_glue.py`, file]);
  const { predicted, truth, seconds, trainable } = JSON.parse(stdout.trim().split("\n").at(-1)!) as {
    readonly predicted: readonly number[];
    readonly truth: readonly number[];
    readonly seconds: number;
    readonly trainable: number;
  };
  const { metrics, score } = glueScores(GLUE_TASKS[task], predicted, truth);
  return { metrics, score, trainable, secondsPerStep: seconds / Math.max(1, steps - 1), peakBytes };
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Milliseconds between looks at a process's memory; the system keeps the peak, only the last moments can be missed. */
const LOOK_EVERY = 50;

async function watched(
  command: string,
  args: readonly string[],
): Promise<{ readonly stdout: string; readonly peakBytes: number | null }> {
  const child = new Deno.Command(command, { args: [...args], stdout: "piped", stderr: "piped" }).spawn();
  let peakBytes: number | null = null;
  const look = (): void => {
    peakBytes = peakOf(child.pid) ?? peakBytes;
  };
  const timer = setInterval(look, LOOK_EVERY);
  try {
    const { success, stdout, stderr } = await child.output();
    if (success) return { stdout: new TextDecoder().decode(stdout), peakBytes };
    const last = new TextDecoder().decode(stderr).trim().split("\n").slice(-3).join("; ");
    throw new UserError(`${command} ${args.slice(0, 3).join(" ")} … failed: ${last}`);
  } finally {
    clearInterval(timer);
  }
}

/** Most memory that a process has had, as Linux tells it. */
function peakOf(pid: number): number | null {
  try {
    const found = /^VmHWM:\s*(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
    return found ? Number(found[1]) * 1024 : null;
  } catch (error) {
    // It has ended, or this is no Linux.
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotSupported) return null;
    throw error;
  }
}
