/** A comparison whose model and rows are at hand. @module */
import { type MethodName, standardError } from "../../train/mod.ts";
import { evalRowsOf, type TaskFiles, writeTaskFiles } from "./files.ts";
import { gyre } from "./gyre.ts";
import { poolerOf } from "./head.ts";
import { canMake, type Common, type RunMaker } from "./makers.ts";
import { modelName } from "./model_name.ts";
import { narrate, type Narrator } from "./narrator.ts";
import { type Maker, type PaperOptions, tasksOf } from "./options.ts";
import { peft } from "./peft.ts";
import type { Rates } from "./rates.ts";
import type { RunChoice, Settings } from "./records.ts";
import type { PaperTask } from "./suites.ts";

/** What all runs of a comparison have in common. */
export interface Prepared {
  readonly options: PaperOptions;
  /** The model's directory, and the repository's. */
  readonly model: string;
  readonly root: string;
  /** {@linkcode modelName}. */
  readonly name: string;
  readonly tasks: readonly PaperTask[];
  readonly files: ReadonlyMap<string, TaskFiles>;
  readonly late: () => boolean;
  readonly narrator: Narrator;
}

/** Write the rows of a comparison, whose model lies in `dir`. Rejects with DataError. */
export async function prepare(options: PaperOptions, dir: string, root: string): Promise<Prepared> {
  const begun = performance.now(), tasks = tasksOf(options);
  return {
    ...{ options, model: Deno.realPathSync(dir), root, name: await modelName(dir, options.name), tasks },
    files: new Map(
      await Promise.all(tasks.map(async (task) => [task.name, await writeTaskFiles(options, task)] as const)),
    ),
    late: () => performance.now() - begun > options.minutes * 60_000,
    narrator: narrate((line) => standardError.write(`${line}\n`)),
  };
}

/** What makers need to know of a comparison. */
export function commonOf({ options, model, root, narrator: { say } }: Prepared): Common {
  return { ...options, model, root, say };
}

/** The one who makes a maker's runs. */
export function runsOf(prepared: Prepared, maker: Maker): RunMaker {
  const common = commonOf(prepared);
  return maker === "Gyre" ? gyre(common) : peft(common, prepared.options.python!);
}

/** The tasks that a maker can be asked for. */
export function tasksFor(maker: Maker, tasks: readonly PaperTask[]): readonly PaperTask[] {
  return maker === "Gyre" ? tasks : tasks.filter((task) => task.kind === "sentences");
}

/** All scored runs of a maker, a seed for everything first, so that an early end leaves a comparison. */
export function choicesOf(
  { seeds, methods }: Pick<PaperOptions, "seeds" | "methods">,
  tasks: readonly PaperTask[],
  maker: Maker,
): RunChoice[] {
  const made = methods.filter((method) => canMake(maker, method));
  return Array.from({ length: seeds }, (_, seed) => seed).flatMap((seed) =>
    tasksFor(maker, tasks).flatMap((task) => made.map((method) => ({ maker, task: task.name, method, seed })))
  );
}

/** Counts what is done of `all`, for people. */
export function countOf(all: number): () => string {
  let done = 0;
  return () => `[${++done} of ${all}]`;
}

/** For people. */
export function nameOf({ maker, task, method, seed }: RunChoice): string {
  return `${maker} ${task} ${method} seed ${seed}`;
}

/** What decides the numbers of a run of a task, beside its seed. */
export function settingsOf(
  { options, name, model }: Prepared,
  task: PaperTask,
  method: MethodName,
  rates: Rates,
): Settings {
  const { rows, rank, device, dtype } = options, pooler = poolerOf(model, method, task.kind);
  return {
    ...{ model: name, rows, evalRows: evalRowsOf(options, task), rank, device, ...task.budget, ...rates },
    ...(dtype === "f32" ? {} : { dtype }),
    ...(pooler === null ? {} : { head: `${pooler}, classifier` }),
  };
}
