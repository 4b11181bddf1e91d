/** Runs of transformers + PEFT: `bench/peft_worker.py` in a process of its own, the same rows in the same batches. @module */
import { type Example, GLUE_TASKS, glueScores, UserError } from "../../train/mod.ts";
import { examplesOf, plannedBatches } from "./files.ts";
import { poolerOf } from "./head.ts";
import { CLIP, type Common, DIVERGED, type RunMaker, WARMUP } from "./makers.ts";
import { starter } from "./start.ts";
import type { PaperTask } from "./suites.ts";

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
    readonly note: string | null;
  }
  | { readonly diverged: string }
  | { readonly error: string };

/** Packages that the process needs. */
const PACKAGES = ["torch", "transformers", "peft"];

/** Refuse a Python that is none or lacks a package. Throws UserError. */
export function requirePython(python: string): void {
  const program = "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if not u.find_spec(n)])";
  const ask = (): Deno.CommandOutput => {
    try {
      return new Deno.Command(python, { args: ["-c", program, ...PACKAGES] }).outputSync();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) {
        throw error;
      }
      throw new UserError(
        `--python ${python}: not found; give the path of a Python with ${PACKAGES.join(", ")}.`,
      );
    }
  };
  const { success, stdout, stderr } = ask(),
    text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  if (!success) throw new UserError(`--python ${python}: is no Python 3 that runs: ${text(stderr)}`);
  const lacking = text(stdout);
  if (lacking === "") return;
  throw new UserError(
    `--python ${python}: has no ${
      lacking.split(" ").join(", ")
    }; install what lacks (pip install ${lacking}), or leave out --python.`,
  );
}

/** The maker of PEFT's runs, for sentences alone. */
export function peft(common: Common, python: string): RunMaker {
  const { model, rank, device, jobs, root } = common, cores = navigator.hardwareConcurrency;
  const known = new Map<string, Promise<readonly Example[]>>();
  const examples = (task: PaperTask, file: string): Promise<readonly Example[]> => {
    const found = known.get(file) ?? examplesOf(model, task, file);
    known.set(file, found);
    return found;
  };
  const start = starter(common, "PEFT", python, ["-u", `${root}/bench/peft_worker.py`]);
  return {
    start: () => start().talker,
    make: async (process, { task, files, method, seed, rates, purpose }) => {
      if (task.kind !== "sentences") {
        throw new UserError(`PEFT's runs are of labelled sentences: leave ${task.name} to --makers Gyre.`);
      }
      const { budget } = task, timed = purpose === "time";
      const answer = await process.ask<PeftAnswer>({
        ...{ model, train: files.train, dev: timed ? null : files.dev[0]!, task: GLUE_TASKS[task.glue] },
        ...{ method, seed, seq: budget.seq, rank, alpha: 2 * rank, ...rates },
        saved: [poolerOf(model, method, task.kind)].filter((name) => name !== null),
        ...{ warmup: WARMUP, clip: CLIP, device: device === "cpu" || device === "auto" ? device : "cuda" },
        threads: timed ? cores : Math.ceil(cores / jobs),
        batches: plannedBatches(await examples(task, files.train), budget, seed),
      });
      if ("error" in answer) throw new UserError(`PEFT: ${answer.error}`);
      if ("diverged" in answer) return { ...DIVERGED, processor: device };
      const { processor, predicted, truth, seconds, losses, trainable, deviceBytes, note } = answer;
      const tail = losses.slice(-Math.max(1, Math.floor(losses.length / 10)));
      return {
        processor,
        ...(timed ? { metrics: {}, score: null } : glueScores(GLUE_TASKS[task.glue], predicted, truth)),
        trainable,
        loss: tail.reduce((a, b) => a + b) / tail.length,
        heldOut: null,
        seconds,
        deviceBytes,
        ...(note === null ? {} : { note }),
      };
    },
  };
}
