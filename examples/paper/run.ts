/** The runs of a comparison: those that are missing, side by side where that is asked for. @module */
import { type MethodName, standardError, UserError } from "../../train/mod.ts";
import { type EvenRows, type TaskFiles, writeEvenRows, writeTaskFiles } from "./files.ts";
import { type Asked, canMake, type Common, gyre, type Made, peft, type RunMaker } from "./makers.ts";
import { modelName } from "./model_name.ts";
import { type Maker, type PaperOptions, tasksOf } from "./options.ts";
import { ratesOf } from "./rates.ts";
import {
  addRecord,
  type PaperRecord,
  readRecords,
  recordOf,
  type RunChoice,
  type ScoreRecord,
  type Settings,
  type TimeRecord,
} from "./records.ts";
import type { PaperTask } from "./suites.ts";
import type { Talker } from "./talker.ts";

const say = (line: string): void => standardError.write(`${line}\n`);

/** A comparison whose model and rows are at hand. */
interface Prepared {
  readonly options: PaperOptions;
  readonly common: Common;
  /** {@linkcode modelName}. */
  readonly name: string;
  readonly tasks: readonly PaperTask[];
  readonly files: ReadonlyMap<string, TaskFiles>;
  readonly late: () => boolean;
}

/** All scored runs of a maker, a seed for everything first, so that an early end leaves a comparison. */
export function choicesOf(
  { seeds, methods }: Pick<PaperOptions, "seeds" | "methods">,
  tasks: readonly PaperTask[],
  maker: Maker,
): RunChoice[] {
  const made = methods.filter((method) => canMake(maker, method));
  return Array.from({ length: seeds }, (_, seed) => seed).flatMap((seed) =>
    tasks.flatMap((task) => made.map((method) => ({ maker, task: task.name, method, seed })))
  );
}

/** Make the runs that are missing; says how many are left when the time is over. Rejects with UserError. */
export async function runMissing(options: PaperOptions, dir: string, root: string): Promise<number> {
  const begun = performance.now(), tasks = tasksOf(options);
  const prepared: Prepared = {
    options,
    common: { ...options, model: dir, root },
    name: await modelName(dir, options.name),
    tasks,
    files: new Map(tasks.map((task) => [task.name, writeTaskFiles(options, task)])),
    late: () => performance.now() - begun > options.minutes * 60_000,
  };
  const all = options.makers.map((maker) => ({
    maker,
    runs: maker === "Gyre" ? gyre(prepared.common) : peft(prepared.common, options.python!),
    known: readRecords(options.out, [maker]),
  }));
  let left = 0;
  // Times first, while nothing else runs.
  if (options.timingSteps > 0) { for (const own of all) left += await timeAll(prepared, own); }
  const more = await Promise.all(all.map((own) => scoreAll(prepared, own)));
  return more.reduce((a, b) => a + b, left);
}

/** A maker, and what is known of its runs. */
interface Own {
  readonly maker: Maker;
  readonly runs: RunMaker;
  readonly known: readonly PaperRecord[];
}

async function scoreAll(prepared: Prepared, { maker, runs, known }: Own): Promise<number> {
  const { options, tasks, late } = prepared, { out } = options;
  const missing = choicesOf(options, tasks, maker).filter((choice) =>
    !recordOf<ScoreRecord>(known, { kind: "score", ...choice, settings: scoreSettings(prepared, choice) })
  );
  let left = 0;
  let failures = 0;
  const work = async (): Promise<void> => {
    let process: Talker | null = null, last: MethodName | null = null;
    try {
      while (!late()) {
        // Runs of one method share their kernels.
        const at = Math.max(0, missing.findIndex((choice) => choice.method === last));
        const [choice] = missing.splice(at, 1);
        if (!choice) return;
        last = choice.method;
        try {
          process ??= runs.start();
          addRecord(out, await scoreOf(prepared, runs, process, choice));
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          left++;
          say(`${nameOf(choice)}: ${error.message}`);
          if (++failures === TOO_MANY_FAILURES) throw new UserError(`${failures} runs could not be made.`);
          await process?.[Symbol.asyncDispose]();
          process = null;
        }
      }
    } finally {
      await process?.[Symbol.asyncDispose]();
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.jobs, missing.length) }, work));
  return left + missing.length;
}

/** Runs that may fail before the comparison is given up: what is wrong is wrong with all of them. */
const TOO_MANY_FAILURES = 4;

function nameOf({ maker, task, method, seed }: RunChoice): string {
  return `${maker} ${task} ${method} seed ${seed}`;
}

function scoreSettings({ options, name, tasks }: Prepared, { task, method }: RunChoice): Settings {
  const { rows, evalRows, rank, rates, device } = options;
  const { budget } = tasks.find((t) => t.name === task)!;
  return { model: name, rows, evalRows, rank, device, ...budget, ...ratesOf(rates, method) };
}

async function scoreOf(
  prepared: Prepared,
  runs: RunMaker,
  process: Talker,
  choice: RunChoice,
): Promise<ScoreRecord> {
  const { task, method, seed } = choice, begun = performance.now();
  const asked: Asked = {
    task: prepared.tasks.find((t) => t.name === task)!,
    files: prepared.files.get(task)!,
    ...{ method, seed, timed: false },
  };
  const { processor, metrics, score, trainable, loss } = await runs.make(process, asked);
  const wall = (performance.now() - begun) / 1000;
  say(`${nameOf(choice)}: ${score === null ? "not finite" : score.toFixed(4)}, ${wall.toFixed(1)} s`);
  const settings = scoreSettings(prepared, choice);
  return { kind: "score", ...choice, settings, processor, metrics, score, trainable, loss, wall };
}

/** Time each method by itself: one run after another, with nothing beside it. */
async function timeAll(
  { options, common, name, tasks, files, late }: Prepared,
  { maker, runs, known }: Own,
): Promise<number> {
  const { rank, timingSteps, device, out } = options;
  const task = tasks.reduce((a, b) => b.budget.seq > a.budget.seq ? b : a);
  const even: EvenRows = writeEvenRows(common, task, files.get(task.name)!);
  const timed = { ...task, budget: { ...task.budget, steps: timingSteps } };
  const settings = {
    ...{ model: name, rank, device, task: task.name, length: even.length },
    ...{ batch: task.budget.batch, steps: timingSteps },
  };
  const missing = options.methods.filter((method) =>
    canMake(maker, method) && !recordOf<TimeRecord>(known, { kind: "time", maker, method, settings })
  );
  let process: Talker | null = null;
  try {
    for (let method = missing.shift(); method && !late(); method = missing.shift()) {
      process ??= runs.start();
      const asked = { task: timed, files: { ...files.get(task.name)!, train: even.file }, method, seed: 0 };
      const made = await runs.make(process, { ...asked, timed: true });
      const record = timeOf(maker, method, settings, made, process.peakBytes());
      addRecord(out, record);
      const { secondsPerStep, deviceBytes, processBytes } = record;
      const mebibytes = (deviceBytes ?? processBytes ?? NaN) / 2 ** 20;
      say(
        `${maker} ${method} alone: ${(1000 * secondsPerStep).toFixed(1)} ms a step, ${
          mebibytes.toFixed(0)
        } MiB`,
      );
      // A process's peak is that of all its runs; a device's begins anew with each.
      if (deviceBytes === null) {
        await process[Symbol.asyncDispose]();
        process = null;
      }
    }
  } finally {
    await process?.[Symbol.asyncDispose]();
  }
  return missing.length;
}

function timeOf(
  maker: Maker,
  method: MethodName,
  settings: Settings,
  { seconds, processor, deviceBytes }: Made,
  processBytes: number | null,
): TimeRecord {
  const half = seconds.length >> 1, steps = seconds.length - 1 - half;
  const secondsPerStep = (seconds.at(-1)! - seconds[half]!) / steps;
  return { kind: "time", maker, method, settings, processor, secondsPerStep, deviceBytes, processBytes };
}
