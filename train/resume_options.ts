/** The command line of a run that is continued: flags that are not given stand as they were. @module */
import { OptionError } from "./errors.ts";
import { parseOptions, readOptions, type Site, type TrainOptions } from "./options.ts";
import { flagsOfRun, readRunState } from "./run_checkpoint.ts";

/**
 * Understand the command line of `train.ts`; with `--resume`, flags of the run in `--out` stand where none is given.
 * Throws OptionError, and ResumeError where there is no whole checkpoint.
 */
export async function parseCommandLine(argv: readonly string[], site: Site): Promise<TrainOptions> {
  const { resume, help, out } = readOptions(argv, site);
  if (!resume || help) return parseOptions(argv, site);
  const given = (name: string): boolean => argv.some((arg) => arg === name || arg.startsWith(`${name}=`));
  if (!given("--out")) {
    throw new OptionError("--resume needs --out DIR: the directory of the run to go on with.", {});
  }
  // --steps would override --epochs.
  const counts = given("--epochs") && !given("--steps");
  const standing = flagsOfRun(await readRunState(out)).filter((flag) =>
    !(counts && flag.startsWith("--steps="))
  );
  return parseOptions([...standing, ...argv], site);
}
