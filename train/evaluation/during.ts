/** Tasks that a run is measured by while it goes on. @module */
import { type Asked, type AskedTask } from "./asked.ts";
import { LONGEST } from "./flags.ts";
import { parseEvaluateFlags } from "./options.ts";
import { prepareTask } from "./prepare.ts";
import type { Examinee, PreparedTask } from "./task.ts";

/** A task with its data read. */
export interface NamedTask {
  /** As `--eval` named it. */
  readonly name: string;
  readonly prepared: PreparedTask;
}

/** Longest sequence of a task on a model, as `evaluate.ts` has it. */
export function taskLength({ maxPositions }: { readonly maxPositions: number }): number {
  return Math.min(maxPositions, LONGEST);
}

/** Read the data of all tasks, the first `limit` rows of each file. They are asked as `evaluate.ts` asks without further flags. Throws DataError. */
export async function prepareAsked(
  { tasks }: Pick<Asked, "tasks">,
  limit: number | null,
): Promise<readonly NamedTask[]> {
  const prepared: NamedTask[] = [];
  for (const asked of tasks) {
    const flags = parseEvaluateFlags(flagsOf(asked, limit), { root: "." });
    prepared.push({ name: asked.name, prepared: await prepareTask(flags) });
  }
  return prepared;
}

/**
 * Go through what tasks ask of a session on a device that only counts, where every token that is read is 0: an answer ends
 * with its first token, since its length changes no plan.
 */
export async function rehearse(
  tasks: readonly NamedTask[],
  { session, ...examinee }: Examinee,
): Promise<void> {
  const brief: Examinee["session"] = {
    ...session,
    generate: (prompts, maxNew, _end, options) => session.generate(prompts, maxNew, 0, options),
  };
  for (const { prepared } of tasks) await prepared.ask({ ...examinee, session: brief });
}

function flagsOf({ task, subset, files }: AskedTask, limit: number | null): string[] {
  return [
    `--task=${task}`,
    ...files.map((file) => `--data=${file}`),
    ...(subset === null ? [] : [`--subset=${subset}`]),
    ...(limit === null ? [] : [`--limit=${limit}`]),
  ];
}
