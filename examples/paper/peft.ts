/** Runs of transformers + PEFT: `bench/peft_worker.py` in a process of its own, the same rows in the same batches. @module */
import { type Example, GLUE_TASKS, glueScores, UserError } from "../../train/mod.ts";
import { examplesOf, plannedBatches } from "./files.ts";
import { poolerOf } from "./head.ts";
import { CLIP, type Common, DIVERGED, type RunMaker, WARMUP } from "./makers.ts";
import type { PaperTask } from "./suites.ts";
import { talkTo } from "./talker.ts";

/** What the process answers. */
type PeftAnswer =
  | {
    readonly processor: string;
    readonly predicted: readonly number[];
    readonly truth: readonly number[];
    readonly seconds: readonly number[];
    readonly losses: readonly number[];
    readonly trainable: number;
    readonly deviceBytes: number | null;
  }
  | { readonly diverged: string }
  | { readonly error: string };

/** The maker of PEFT's runs, for sentences alone. */
export function peft(common: Common, python: string): RunMaker {
  const { model, rank, device, jobs, root } = common, cores = navigator.hardwareConcurrency;
  const known = new Map<string, Promise<readonly Example[]>>();
  const examples = (task: PaperTask, file: string): Promise<readonly Example[]> => {
    const found = known.get(file) ?? examplesOf(model, task, file);
    known.set(file, found);
    return found;
  };
  return {
    start: () => talkTo(python, ["-u", `${root}/bench/peft_worker.py`]),
    make: async (process, { task, files, method, seed, rates, purpose }) => {
      if (task.kind !== "sentences") {
        throw new UserError(`PEFT's runs are of labelled sentences: leave ${task.name} to --makers Gyre.`);
      }
      const { budget } = task, timed = purpose === "time";
      const answer = await process.ask<PeftAnswer>({
        ...{ model, train: files.train, dev: timed ? null : files.dev[0]!, task: GLUE_TASKS[task.glue] },
        ...{ method, seed, seq: budget.seq, rank, alpha: 2 * rank, ...rates },
        saved: [poolerOf(model, method, task.kind)].filter((name) => name !== null),
        ...{ warmup: WARMUP, clip: CLIP, device: device === "cpu" ? "cpu" : "cuda" },
        threads: timed ? cores : Math.ceil(cores / jobs),
        batches: plannedBatches(await examples(task, files.train), budget, seed),
      });
      if ("error" in answer) throw new UserError(`PEFT: ${answer.error}`);
      if ("diverged" in answer) return { ...DIVERGED, processor: device };
      const { processor, predicted, truth, seconds, losses, trainable, deviceBytes } = answer;
      const tail = losses.slice(-Math.max(1, Math.floor(losses.length / 10)));
      return {
        processor,
        ...(timed ? { metrics: {}, score: null } : glueScores(GLUE_TASKS[task.glue], predicted, truth)),
        trainable,
        loss: tail.reduce((a, b) => a + b) / tail.length,
        heldOut: null,
        seconds,
        deviceBytes,
      };
    },
  };
}
