/** The command line of a run, and what stands where a flag is not given: a file of flags, the run that is continued. @module */
import { withAdapter } from "./adapter_flags.ts";
import { askedModel } from "./asked_model.ts";
import { readFlagsFile } from "./config_file.ts";
import { OptionError } from "./errors.ts";
import { FLAGS } from "./flags.ts";
import { parseOptions, readOptions, type Site, type TrainOptions } from "./options.ts";
import { flagName, isGiven } from "./parse_flags.ts";
import { flagsOfRun, readRunState } from "./run_checkpoint.ts";

/**
 * Understand the command line of `train.ts`. With `--adapter`, its method stands, and its model where none is given. With
 * `--config`, flags of the file stand where none is given; with `--resume`, those of the run in `--out` stand behind both.
 * Throws OptionError, AdapterError, and ResumeError where there is no whole checkpoint.
 */
export async function parseCommandLine(argv: readonly string[], site: Site): Promise<TrainOptions> {
  const { help, config } = readOptions(argv, site);
  if (help) return parseOptions(argv, site);
  const standing = config === null ? [] : standingFor(argv, await readFlagsFile(config));
  const own = [...standing, ...argv], { resume, out } = readOptions(own, site);
  if (!resume) return parseOptions(withBase(withAdapter({ standing, given: argv }, site), site), site);
  if (!isGiven(own, "--out")) {
    throw new OptionError("--resume needs --out DIR: the directory of the run to go on with.", {});
  }
  return parseOptions([...standingFor(own, flagsOfRun(await readRunState(out))), ...own], site);
}

/** Flags with the model that an adapter belongs to, where an adapter is given and no model. Throws UserError. */
function withBase(argv: readonly string[], site: Site): readonly string[] {
  const { adapter } = readOptions(argv, site);
  if (adapter === null || isGiven(argv, "--model")) return argv;
  return [...argv, `--model=${askedModel({ model: null, adapter }).model}`];
}

/** Of two flags the first takes the place of the second. */
const INSTEAD = [["--epochs", "--steps"], ["--method", "--compose"], ["--compose", "--method"]] as const;

/** Standing flags, each one word, without those that a given flag takes the place of. */
export function standingFor(given: readonly string[], standing: readonly string[]): readonly string[] {
  const gone = INSTEAD.filter(([by, name]) => isGiven(given, by) && !isGiven(given, name)).map(([, name]) =>
    name
  );
  // Those of several would be joined.
  const joined = Object.entries(FLAGS).flatMap(([key, { join }]) => join ? [`--${flagName(key)}`] : [])
    .filter((name) => isGiven(given, name));
  return standing.filter((flag) => ![...gone, ...joined].some((name) => flag.startsWith(`${name}=`)));
}
