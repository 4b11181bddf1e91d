/** What tests of evaluation share: a model on the CPU, the program, the real data where it is. @module */
import { openCpu } from "../core/cpu/mod.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import type { Examinee } from "../train/evaluation/task.ts";
import { weightShapes } from "../train/decoder.ts";
import { openModel } from "../train/open_model.ts";
import { loadTokenizer } from "../train/tokenizer.ts";

/** The repository's directory, with a slash at its end. */
export const root = decodeURIComponent(new URL("..", import.meta.url).pathname);

/** A model directory on one thread of the CPU; to be closed. */
export async function openExamined(
  dir: string,
  seq: number,
): Promise<Examinee & { readonly vocabSize: number; readonly close: () => Promise<void> }> {
  const checkpoint = loadCheckpoint(dir, { dtype: "f32", shapes: weightShapes });
  const device = await openCpu({ threads: 1 });
  const session = await openModel(device, checkpoint, { adapter: null, seed: 0, maxLength: seq });
  return {
    session,
    tokenizer: loadTokenizer(dir),
    seq,
    vocabSize: checkpoint.config.vocabSize,
    close: async () => await device.close(),
  };
}

/** What a program left. */
export interface Finished {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Run a program of the repository with flags, on the CPU. */
export async function runProgramFile(file: string, ...args: string[]): Promise<Finished> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-A", `${root}${file}`, "--device", "cpu", ...args],
    stdout: "piped",
    stderr: "piped",
  }).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

/** A file of the public data beside the repository; null, with a line that says so, where it is not. */
export function sharedData(path: string): string | null {
  const file = decodeURIComponent(new URL(`../../shared/data/${path}`, import.meta.url).pathname);
  try {
    Deno.statSync(file);
    return file;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    console.log(`skipped: ../shared/data/${path} is not here`);
    return null;
  }
}
