/** What `--eval` asks for: rows whose loss is measured, and tasks of `evaluate.ts` by their names. @module */
import { OptionError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { type TaskName, TASKS } from "./flags.ts";
import { GLUE_TASK_NAMES, type GlueTaskName } from "./glue_tasks.ts";

/** A task with its files. */
export interface AskedTask {
  /** As it was written: `gsm8k`, `glue/rte`. */
  readonly name: string;
  readonly task: TaskName;
  /** The part of GLUE. */
  readonly subset: GlueTaskName | null;
  readonly files: readonly string[];
}

/** What a run is measured by. */
export interface Asked {
  /** A file of rows; null: none. */
  readonly rows: string | null;
  readonly tasks: readonly AskedTask[];
}

/** Tasks that can be done while a run goes on; MT-Bench needs a judge. */
const DURING: readonly TaskName[] = TASKS.filter((name) => name !== "mtbench");

/** What `--eval` takes, for people. */
export const EVAL_FORMS: string = [...DURING.filter((t) => t !== "glue"), "glue/rte"].map((t) => `${t}:FILE`)
  .join(", ");

/**
 * Understand `--eval`: entries with commas between, each a task with a colon and a file, or a file of rows. Files of one
 * task belong together. Throws OptionError for a name that is nearly a task's, and for two files of rows.
 */
export function parseAsked(text: string | null): Asked {
  const rows: string[] = [], tasks = new Map<string, AskedTask>();
  for (const entry of text === null ? [] : text.split(",")) {
    const [, task, part, file] = /^([a-z0-9]+)(?:\/([a-z0-9_]+))?:(.*)$/s.exec(entry) ?? [];
    // Names of files may have colons too.
    if (task === undefined || file === undefined || nearest(task, TASKS) === null) {
      rows.push(entry);
      continue;
    }
    const name = part === undefined ? task : `${task}/${part}`;
    const asked = taskOf(entry, task, part, file);
    const earlier = tasks.get(name);
    tasks.set(name, { name, ...asked, files: [...(earlier?.files ?? []), file] });
  }
  if (rows.length > 1) {
    throw new OptionError(`--eval: ${rows.join(" and ")} are files of rows; give one, and tasks beside it.`, {
      rows,
    });
  }
  return { rows: rows[0] ?? null, tasks: [...tasks.values()] };
}

function taskOf(
  entry: string,
  task: string,
  part: string | undefined,
  file: string,
): Omit<AskedTask, "name" | "files"> {
  const bad = (what: string): OptionError => new OptionError(`--eval ${entry}: ${what}.`, { entry });
  const name = DURING.find((known) => known === task);
  if (name === undefined) {
    throw bad(
      task === "mtbench"
        ? "MT-Bench needs a judge; ask evaluate.ts for it after the run"
        : `there is no task ${task}, did you mean ${nearest(task, TASKS)}; give ${EVAL_FORMS}`,
    );
  }
  if (file === "") throw bad(`give a file after the colon, as ${name}:FILE`);
  if (name !== "glue") {
    if (part === undefined) return { task: name, subset: null };
    throw bad(`${name} has no parts; give ${name}:FILE`);
  }
  const subset = GLUE_TASK_NAMES.find((known) => known === part);
  if (subset !== undefined) return { task: name, subset };
  throw bad(`give the part of GLUE, ${GLUE_TASK_NAMES.map((t) => `glue/${t}`).join(", ")}`);
}
