/** The directory of a run: what may be begun or continued in it, and results that appear whole. @module */
import { exists, isEmptyDirectory, moveInto, partialName, removeLeftovers } from "./atomic_file.ts";
import { UserError } from "./errors.ts";
import type { TrainOptions } from "./options.ts";
import { refuseStrangers, tryWriting } from "./output_directory.ts";
import { checkpointSteps, sweepCheckpoints } from "./run_checkpoint.ts";

/** Refuse what could only fail, or destroy, later: what is trained would be lost if it could not be written at the end. */
export function checkOutput({ out, resume, config }: Pick<TrainOptions, "out" | "resume" | "config">): void {
  if (!resume) {
    const last = checkpointSteps(out).at(-1);
    if (last !== undefined) {
      throw new UserError(
        `--out ${out}: ${out}/checkpoints/step-${last} is there from an earlier run; continue it with --resume, or ` +
          "give another directory.",
      );
    }
    const earlier = ["adapter", "peft", "merged"].map((name) => `${out}/${name}`).find(isFull);
    if (earlier !== undefined) {
      throw new UserError(`--out ${out}: ${earlier} is there from an earlier run; give another directory.`);
    }
    const isConfig = (name: string): boolean => config !== null && isSame(`${out}/${name}`, config);
    if (!isBegun(out)) refuseStrangers(out, "a run", isConfig);
  }
  tryWriting(out);
}

/** Whether a run took a step in `out`. */
function isBegun(out: string): boolean {
  return ["metrics.jsonl", "checkpoints"].some((name) => exists(`${out}/${name}`));
}

/** Whether both are names of one file. */
function isSame(a: string, b: string): boolean {
  return exists(b) && Deno.realPathSync(a) === Deno.realPathSync(b);
}

/** Whether something is at `path`, other than an empty directory. */
function isFull(path: string): boolean {
  return exists(path) && !isEmptyDirectory(path);
}

/** Remove what a run that was killed left half-written. */
export function sweepOutput(out: string): void {
  removeLeftovers(out);
  sweepCheckpoints(out);
}

/**
 * Have `fill` write directories into a temporary one, then put each at its name in `out`: it is there whole or not at
 * all. Those of an earlier part of the run are replaced.
 */
export function writeResults(out: string, fill: (dir: string) => void): void {
  const whole = partialName(`${out}/results`);
  Deno.mkdirSync(whole, { recursive: true });
  try {
    fill(whole);
    for (const { name } of [...Deno.readDirSync(whole)]) moveInto(`${whole}/${name}`, `${out}/${name}`, true);
  } finally {
    Deno.removeSync(whole, { recursive: true });
  }
}
