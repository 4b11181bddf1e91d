/** The command line of `train.ts`: its table of flags, and what goes together. @module */
import { ShapeError } from "../core/mod.ts";
import { type AdapterName, ADAPTERS } from "./adapter_specs.ts";
import { composedPlacements } from "./compose_adapters.ts";
import { heldShare } from "./data/hold_out.ts";
import { OptionError } from "./errors.ts";
import { parseAsked } from "./evaluation/asked.ts";
import { FLAGS, type Site, type TrainOptions } from "./flags.ts";
import { helpOf, parseFlags } from "./parse_flags.ts";

export type { MethodName, Site, TrainOptions } from "./flags.ts";

/** Understand the command line. Throws OptionError: the flag, its value, what was expected. */
export function parseOptions(argv: readonly string[], site: Site): TrainOptions {
  const options = readOptions(argv, site);
  checkTogether(options);
  return options;
}

/** {@linkcode parseOptions} without a look at whether the values go together. */
export function readOptions(argv: readonly string[], site: Site): TrainOptions {
  return parseFlags<TrainOptions, Site>(FLAGS, argv, site);
}

/** Refuse values that do not go together, and expressions with a mistake. */
function checkTogether(options: TrainOptions): void {
  const {
    batch,
    accumulate,
    compose,
    dtype,
    format,
    lossScale,
    method,
    pack,
    saveModules,
    stream,
    target,
    task,
  } = options;
  checkEvaluation(options);
  if (options.modelDropout !== null && task === null) {
    throw new OptionError(
      `--model-dropout ${options.modelDropout}: is for the encoders of --task; language models train without, leave it out.`,
      { modelDropout: options.modelDropout },
    );
  }
  if (task !== null && pack) {
    throw new OptionError("--pack: sentences of a --task have rows of their own; leave it out.", { task });
  }
  if (task !== null && format !== "auto") {
    throw new OptionError(
      `--format ${format}: --task ${task} says what rows look like; give one of the two.`,
      { format, task },
    );
  }
  if (task !== null && stream === "always") {
    throw new OptionError(
      `--stream always: the rows of --task ${task} are read into memory; leave it out.`,
      { stream, task },
    );
  }
  if (dtype === "f32" && lossScale !== null) {
    throw new OptionError(
      `--loss-scale ${lossScale}: gradients in f32 need no scale; leave it out, or give --dtype f16.`,
      { lossScale, dtype },
    );
  }
  if (batch % accumulate !== 0) {
    throw new OptionError(
      `--batch ${batch} cannot be cut into --accumulate ${accumulate} equal parts: give a multiple of ${accumulate}.`,
      { batch, accumulate },
    );
  }
  if (compose !== null) {
    if (method !== "compose") {
      throw new OptionError(`--compose takes the place of --method ${method}: give one of the two.`, {
        method,
      });
    }
    composedPlacements(compose, options, target);
  }
  if (method !== "full" && method !== "compose") requireMade(method, options);
  if (saveModules !== null && method === "full") {
    throw new OptionError(
      `--save-modules ${saveModules} is for adapters: --method full trains all weights, leave it out.`,
      { saveModules },
    );
  }
}

/** Refuse ways of measuring that do not go together. */
function checkEvaluation({ eval: asked, evalEvery, evalLimit, keepBest, task }: TrainOptions): void {
  const { rows, tasks } = parseAsked(asked);
  const share = rows?.endsWith("%") ? heldShare(rows) : null;
  if (rows?.endsWith("%") && !(share !== null && share > 0 && share < 1)) {
    throw new OptionError(
      `--eval is "${rows}": give files, a share of the data above 0% and below 100%, or none.`,
      {
        eval: asked,
      },
    );
  }
  if (task !== null && tasks.length > 0) {
    throw new OptionError(
      `--eval ${
        tasks[0]!.name
      }: what writes texts can be asked, an encoder's --task ${task} cannot; give its file alone.`,
      { task },
    );
  }
  if (keepBest && (evalEvery === 0 || rows === null)) {
    throw new OptionError(
      `--keep-best needs held-out losses to choose by: give ${
        evalEvery === 0 ? "--eval-every N" : "--eval a file of rows"
      } too.`,
      { evalEvery, eval: asked },
    );
  }
  if (asked === null && (evalEvery > 0 || evalLimit !== null)) {
    throw new OptionError(
      `--eval-${
        evalEvery > 0 ? `every ${evalEvery}` : `limit ${evalLimit}`
      }: there is nothing to measure on, give --eval.`,
      { evalEvery, evalLimit },
    );
  }
}

/** Refuse settings that no map can have, such as a space that a branch has no scale for. */
function requireMade(method: AdapterName, options: TrainOptions): void {
  try {
    ADAPTERS[method].make(options)({ inDim: 1024, outDim: 1024 });
  } catch (error) {
    if (error instanceof TypeError) throw new OptionError(`--method ${method}: ${error.message}`, { method });
    // Sizes are those of the model's maps, which are not known here.
    if (!(error instanceof ShapeError)) throw error;
  }
}

/** The text of `--help`. */
export function helpText(): string {
  return helpOf<TrainOptions, Site>("Fine-tune a language model: deno run -A train.ts [flags]", FLAGS);
}
