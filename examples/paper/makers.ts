/** How runs are made: by Gyre's own programs, and by transformers + PEFT with the same rows in the same batches. @module */
import {
  type ClassifyResult,
  GLUE_TASKS,
  glueScores,
  type MethodName,
  type RunResult,
  UserError,
} from "../../train/mod.ts";
import { IN_FLIGHT } from "../../train/train_loop.ts";
import { examplesOf, plannedBatches, type TaskFiles } from "./files.ts";
import type { Maker, PaperOptions } from "./options.ts";
import { type Rates, ratesOf } from "./rates.ts";
import type { ScoreRecord } from "./records.ts";
import type { PaperTask } from "./suites.ts";
import { type Talker, talkTo } from "./talker.ts";
import type { Answer, Request } from "./worker.ts";

/** A run as a maker is asked for it. */
export interface Asked {
  readonly task: PaperTask;
  readonly files: TaskFiles;
  readonly method: MethodName;
  readonly seed: number;
  /** Whether time and memory are measured, and no score: it has its device for itself. */
  readonly timed: boolean;
}

/** What a maker tells of a run. */
export interface Made extends Pick<ScoreRecord, "processor" | "metrics" | "score" | "trainable" | "loss"> {
  /** When steps' numbers were back, in seconds since the end of the first step; the last ones may lack. */
  readonly seconds: readonly number[];
  /** Most bytes on the device; null where it is the processor. */
  readonly deviceBytes: number | null;
}

/** Somebody who makes runs. */
export interface RunMaker {
  /** Start a process that makes runs one after another. */
  readonly start: () => Talker;
  /** Have a run made. Rejects with UserError where it cannot be. */
  readonly make: (process: Talker, asked: Asked) => Promise<Made>;
}

/** Methods that PEFT has, with a start of the same kind. */
const PEFT_METHODS: readonly MethodName[] = [
  ...(["full", "lora", "rslora", "dora", "pissa", "olora", "oft", "boft", "hra"] as const),
];

/** Whether a maker has a method. */
export function canMake(maker: Maker, method: MethodName): boolean {
  return maker === "Gyre" || PEFT_METHODS.includes(method);
}

/** Share of the steps in which the rate rises, and the largest norm of a gradient: the defaults of `train.ts`. */
const WARMUP = 0.05, CLIP = 1;

/** What makers need to know of a comparison; `model` is the model's directory. */
export interface Common extends Pick<PaperOptions, "model" | "work" | "rank" | "rates" | "device" | "jobs"> {
  readonly root: string;
}

/** Gyre's runs: `train.ts` in a process of its own. */
export function gyre({ model, work, rank, rates, device, root }: Common): RunMaker {
  let processes = 0;
  const outs = new WeakMap<Talker, string>();
  return {
    start: () => {
      const talker = talkTo(Deno.execPath(), ["run", "-A", `${root}/examples/paper/worker.ts`]);
      outs.set(talker, `${work}/gyre-${processes++}`);
      return talker;
    },
    make: async (process, { task, files, method, seed, timed }) => {
      const { lr, orthogonalLr } = ratesOf(rates, method), out = outs.get(process)!;
      removeIfThere(out);
      const flags = {
        ...{ model, data: files.train, eval: timed ? "none" : files.dev, task: task.glue, method, seed },
        ...task.budget,
        ...{
          rank,
          device,
          lr,
          "orthogonal-lr": orthogonalLr,
          warmup: WARMUP,
          clip: CLIP,
          "save-every": 0,
          out,
        },
      };
      const train = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
      const answer = await process.ask<Answer>({ train, alone: timed } satisfies Request);
      removeIfThere(out);
      if ("error" in answer) throw new UserError(answer.error);
      if ("diverged" in answer) return { ...DIVERGED, processor: device };
      const { result, seconds } = answer;
      return {
        processor: result.adapter_name,
        ...scoresOf(result),
        trainable: result.trainable,
        loss: result.loss_after,
        // The last ones come back together.
        seconds: seconds.slice(0, -IN_FLIGHT),
        deviceBytes: result.device === "gpu" ? result.peak_bytes : null,
      };
    },
  };
}

const DIVERGED = {
  metrics: null,
  score: null,
  trainable: null,
  loss: null,
  seconds: [],
  deviceBytes: null,
} as const;

function scoresOf(result: RunResult | ClassifyResult): Pick<Made, "metrics" | "score"> {
  if (!("metrics_after" in result)) return { metrics: {}, score: null };
  return { metrics: { ...result.metrics_after }, score: result.score_after };
}

/** What `bench/peft_worker.py` answers. */
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

/** Runs of transformers + PEFT: `bench/peft_worker.py` in a process of its own. */
export function peft({ model, rank, rates, device, jobs, root }: Common, python: string): RunMaker {
  const known = new Map<string, ReturnType<typeof examplesOf>>();
  const examples = (task: PaperTask, file: string): ReturnType<typeof examplesOf> => {
    const found = known.get(file) ?? examplesOf(model, task, file);
    known.set(file, found);
    return found;
  };
  return {
    start: () => talkTo(python, ["-u", `${root}/bench/peft_worker.py`]),
    make: async (process, { task, files, method, seed, timed }) => {
      const request: Rates & Record<string, unknown> = {
        ...{ model, train: files.train, dev: timed ? null : files.dev, task: GLUE_TASKS[task.glue] },
        ...{ method, seed, seq: task.budget.seq, rank, alpha: 2 * rank, ...ratesOf(rates, method) },
        ...{ warmup: WARMUP, clip: CLIP, device: device === "cpu" ? "cpu" : "cuda" },
        threads: timed ? navigator.hardwareConcurrency : Math.ceil(navigator.hardwareConcurrency / jobs),
        batches: plannedBatches(examples(task, files.train), task.budget, seed),
      };
      const answer = await process.ask<PeftAnswer>(request);
      if ("error" in answer) throw new UserError(`PEFT: ${answer.error}`);
      if ("diverged" in answer) return { ...DIVERGED, processor: device };
      const { processor, predicted, truth, seconds, losses, trainable, deviceBytes } = answer;
      const tail = losses.slice(-Math.max(1, Math.floor(losses.length / 10)));
      return {
        processor,
        ...timed ? { metrics: {}, score: null } : glueScores(GLUE_TASKS[task.glue], predicted, truth),
        trainable,
        loss: tail.reduce((a, b) => a + b) / tail.length,
        seconds,
        deviceBytes,
      };
    },
  };
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
