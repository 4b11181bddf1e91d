/** Gyre's runs: `train.ts` and `evaluate.ts` in a process of its own. @module */
import { type ClassifyResult, type RunResult, UserError } from "../../train/mod.ts";
import { IN_FLIGHT } from "../../train/train_loop.ts";
import { poolerOf } from "./head.ts";
import { type Asked, CLIP, type Common, DIVERGED, type Made, type RunMaker, WARMUP } from "./makers.ts";
import type { TextTask } from "./suites.ts";
import { starter } from "./start.ts";
import type { Talker } from "./talker.ts";
import type { Answer, Request } from "./worker.ts";

type Flags = Readonly<Record<string, string | number>>;

/** The maker of Gyre's runs. */
export function gyre(common: Common): RunMaker {
  const { work, root, device } = common, outs = new WeakMap<Talker, string>();
  const args = ["run", "-A", "--no-check", `${root}/examples/paper/worker.ts`];
  const start = starter(common, "Gyre", Deno.execPath(), args);
  return {
    start: () => {
      const { talker, number } = start();
      outs.set(talker, `${work}/gyre-${number}`);
      return talker;
    },
    make: async (process, asked) => {
      const { task, files, purpose } = asked, out = outs.get(process)!;
      removeIfThere(out);
      const measures = task.kind === "text" ? MEASURES[purpose](task) : [];
      const request: Request = {
        train: argvOf({ ...trainFlags(common, asked), out }),
        evaluate: measures.map((measure) => [
          ...argvOf(measureFlags(common, measure, `${out}/adapter`)),
          ...files.dev.map((file) => `--data=${file}`),
        ]),
        alone: purpose === "time",
      };
      const answer = await process.ask<Answer>(request);
      removeIfThere(out);
      if ("error" in answer) throw new UserError(answer.error);
      if ("diverged" in answer) return { ...DIVERGED, processor: device };
      const { result, seconds, evaluations } = answer;
      const metrics = Object.assign({}, ...evaluations) as Made["metrics"];
      return {
        processor: result.adapter_name,
        ...(task.kind === "text"
          ? { metrics, score: metrics?.[task.columns[0]!.metric] ?? null }
          : scoresOf(result)),
        trainable: result.trainable,
        loss: result.loss_after,
        heldOut: task.kind === "text" ? metrics?.["loss"] ?? null : result.eval_after,
        // The last ones come back together.
        seconds: seconds.slice(0, -IN_FLIGHT),
        deviceBytes: result.device === "gpu" ? result.peak_bytes : null,
      };
    },
  };
}

/** What is measured on texts once a run is over; where rates are tried, no answers are asked for. */
const MEASURES: Readonly<Record<Asked["purpose"], (task: TextTask) => TextTask["measures"]>> = {
  score: (task) => task.measures,
  loss: () => ["perplexity"],
  time: () => [],
};

/** Flags as a command line. */
export function argvOf(flags: Flags): string[] {
  return Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
}

/** Flags of `train.ts` for a run, but for where it goes. */
export function trainFlags(
  { model, rank, device, dtype }: Common,
  { task, files, method, seed, rates, purpose }: Asked,
): Flags {
  const pooler = poolerOf(model, method, task.kind);
  // Texts are measured on afterwards.
  const isHeld = purpose !== "time" && task.kind === "sentences";
  return {
    ...{ model, data: files.train, eval: isHeld ? files.dev[0]! : "none", method, seed, ...task.budget },
    ...{ rank, device, dtype, lr: rates.lr, "orthogonal-lr": rates.orthogonalLr },
    // PEFT's side has no dropout either.
    ...(task.kind === "sentences" ? { task: task.glue, "model-dropout": 0 } : {}),
    ...(pooler === null ? {} : { "save-modules": `*${pooler}*` }),
    ...{ warmup: WARMUP, clip: CLIP, "save-every": 0 },
  };
}

function measureFlags(
  { model, device, dtype, judgeUrl, judgeModel }: Common,
  task: TextTask["measures"][number],
  adapter: string,
): Flags {
  const judge = task === "mtbench" && judgeUrl !== null && judgeModel !== null
    ? { "judge-url": judgeUrl, "judge-model": judgeModel }
    : {};
  return { task, model, adapter, device, dtype, ...judge };
}

function scoresOf(result: RunResult | ClassifyResult): Pick<Made, "metrics" | "score"> {
  if (!("metrics_after" in result)) return { metrics: {}, score: null };
  return { metrics: { ...result.metrics_after }, score: result.score_after };
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
