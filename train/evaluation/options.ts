/** The command line of `evaluate.ts`: what goes with which task. @module */
import { OptionError } from "../errors.ts";
import { requireSampling } from "../generate_options.ts";
import { flagName, helpOf, parseFlags } from "../parse_flags.ts";
import {
  EVALUATE_FLAGS,
  type EvaluateFlags,
  type EvaluateSite,
  type TaskName,
  TASKS,
  USED_BY,
  WRITING,
} from "./flags.ts";
import { GLUE_TASK_NAMES } from "./glue_tasks.ts";

/** Understand the command line. Throws OptionError: the flag, its value, what was expected. */
export function parseEvaluateFlags(argv: readonly string[], site: EvaluateSite): EvaluateFlags {
  const options = parseFlags<EvaluateFlags, EvaluateSite>(EVALUATE_FLAGS, argv, site);
  const { help, task, data, temperature } = options;
  if (help) return options;
  if (task === null) throw new OptionError(`There is nothing to evaluate: give --task, ${TASKS.join(", ")}.`);
  if (data.length === 0) {
    throw new OptionError(`--task ${task} needs its data: give --data FILE.`, { task });
  }
  if (task === "glue" && options.subset === null) {
    throw new OptionError(`--task glue needs its part: give --subset, ${GLUE_TASK_NAMES.join(", ")}.`, {
      task,
    });
  }
  if ((options.shots === null) !== (options.shotsFrom === null)) {
    const missing = options.shots === null ? "--shots" : "--shots-from";
    throw new OptionError(`Solved questions need --shots and --shots-from: give ${missing} too.`, {
      missing,
    });
  }
  if ((options.judgeUrl === null) !== (options.judgeModel === null)) {
    const missing = options.judgeUrl === null ? "--judge-url" : "--judge-model";
    throw new OptionError(`A judge needs --judge-url and --judge-model: give ${missing} too.`, { missing });
  }
  if (options.judgeUrl === null && task === "mtbench" && (options.out === null || options.answers !== null)) {
    throw new OptionError(
      "--task mtbench without a judge only writes answers: give --judge-url and --judge-model, or --out FILE for the answers.",
      { task },
    );
  }
  if (options.answers !== null && options.samples !== null) {
    throw new OptionError(
      `--samples ${options.samples} says nothing beside --answers ${options.answers}, from which nothing is written: leave it out.`,
      { samples: options.samples },
    );
  }
  for (const [key, tasks] of Object.entries<readonly TaskName[]>(USED_BY)) {
    const value = options[key as keyof EvaluateFlags];
    if (value === null || value === false || (Array.isArray(value) && value.length === 0)) continue;
    if (tasks.includes(task)) continue;
    throw new OptionError(
      `--${flagName(key)} says nothing to --task ${task}: leave it out; it is for ${tasks.join(", ")}.`,
      { key, task },
    );
  }
  requireSampling({ ...options, samples: options.samples ?? 1 });
  if (temperature > 0 && !WRITING.includes(task)) {
    throw new OptionError(
      `--temperature ${temperature} says nothing to --task ${task}, in which nothing is written: leave it out.`,
      { temperature, task },
    );
  }
  return options;
}

/** The text of `--help`. */
export function evaluateHelp(): string {
  return helpOf<EvaluateFlags, EvaluateSite>(
    "Measure a language model: deno run -A evaluate.ts --task NAME --data FILE [flags]",
    EVALUATE_FLAGS,
  );
}
