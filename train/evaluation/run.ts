/** An evaluation from flags to numbers: read the data, open the model, run the task. @module */
import * as Effect from "effect/Effect";
import { writeTextAtomically } from "../atomic_file.ts";
import { describeDevice, openDevice } from "../devices.ts";
import { isEncoderDirectory } from "../encoder_checkpoint.ts";
import { DataError, UserError } from "../errors.ts";
import { modelDirectory } from "../hub.ts";
import { samplingOf } from "../generate_texts.ts";
import { openModel } from "../open_model.ts";
import { attempt } from "../attempt.ts";
import { loadModel, requirePositions } from "../load_model.ts";
import type { AskSettings } from "./ask.ts";
import { prepareGlue, prepareXnli } from "./classify.ts";
import { evaluateEncoder } from "./encoder.ts";
import { prepareFlores } from "./flores.ts";
import { prepareGsm8k, type SolvedRow, solvedRows } from "./gsm8k.ts";
import { prepareHumanEval } from "./humaneval.ts";
import { type Judge, openJudge } from "./judge.ts";
import { prepareMtBench } from "./mtbench.ts";
import { type EvaluateFlags, JUDGE_KEY, LONGEST, MAX_NEW, type TaskName } from "./flags.ts";
import { preparePerplexity } from "./perplexity.ts";
import type { Follow, Numbers, Outcome, PreparedTask } from "./task.ts";

/** What an evaluation reports; the keys are those of `--json`. */
export interface Evaluation {
  readonly task: TaskName;
  /** Null where no model was asked. */
  readonly model: string | null;
  readonly adapter: string | null;
  readonly data: readonly string[];
  readonly limit: number | null;
  readonly device: string | null;
  readonly metrics: Numbers;
  readonly parts: Outcome["parts"];
  readonly notes: readonly string[];
  readonly seconds: number;
}

/** How the caller watches. */
export interface EvaluateHooks {
  /** A line for people. */
  readonly say: (line: string) => void;
  readonly follow: Follow;
  /** Opens the device; absent: {@linkcode openDevice}. */
  readonly open?: typeof openDevice;
}

/** Evaluate as asked. Fails with UserError for what the user can mend. */
export function evaluateModel(
  options: EvaluateFlags,
  { say, follow, open = openDevice }: EvaluateHooks,
): Effect.Effect<Evaluation, UserError> {
  return Effect.scoped(Effect.gen(function* () {
    const task = requireTask(options), begun = performance.now();
    const subset = task === "glue" ? options.subset : null;
    if (subset !== null && (yield* attempt(() => isEncoder(options.model, say)))) {
      const { items, failure: _, ...outcome } = yield* evaluateEncoder(options, subset, { say, follow });
      return yield* attempt(() => {
        keepItems(options, items, say);
        const { model, adapter, data, limit } = options, seconds = (performance.now() - begun) / 1000;
        return Promise.resolve({ task, model, adapter, data, limit, ...outcome, seconds });
      });
    }
    const prepared = yield* attempt(() => prepareTask(options));
    const examinee = prepared.asks ? yield* openExaminee(options, say, open) : null;
    return yield* attempt(async (): Promise<Evaluation> => {
      const { items, failure, ...outcome } = await prepared.run(examinee, follow);
      keepItems(options, items, say);
      if (failure !== undefined) throw new UserError(failure);
      return {
        task,
        model: examinee ? options.model : null,
        adapter: examinee ? options.adapter : null,
        data: options.data,
        limit: options.limit,
        device: examinee?.device ?? null,
        ...outcome,
        seconds: (performance.now() - begun) / 1000,
      };
    });
  }));
}

/** Whether a model, given as a directory or as an id of the hub, is an encoder. */
async function isEncoder(model: string, say: EvaluateHooks["say"]): Promise<boolean> {
  return isEncoderDirectory(await modelDirectory(model, { say }));
}

/** Write a record for each row where that is asked for. */
function keepItems(
  { out }: EvaluateFlags,
  items: Outcome["items"],
  say: EvaluateHooks["say"],
): void {
  if (out === null) return;
  writeTextAtomically(out, items.map((item) => `${JSON.stringify(item)}\n`).join(""));
  say(`rows: ${out}`);
}

function requireTask({ task }: EvaluateFlags): TaskName {
  if (task === null) throw new Error("An evaluation needs a task.");
  return task;
}

/** Read what a task needs. Throws DataError and OptionError. */
async function prepareTask(options: EvaluateFlags): Promise<PreparedTask> {
  const { data: files, chat, batch } = options, task = requireTask(options);
  const limit = options.limit ?? Infinity;
  const settings: AskSettings = {
    maxNew: options.maxNew ?? MAX_NEW[task] ?? 1,
    stop: [],
    batch,
    sampling: samplingOf(options),
  };
  switch (task) {
    case "perplexity":
      return await preparePerplexity({
        files,
        limit,
        format: options.format ?? "auto",
        stride: options.stride,
        batch,
      });
    case "gsm8k":
      return await prepareGsm8k({ files, limit, chat, shots: await shotsOf(options), settings });
    case "glue":
    case "xnli": {
      const asked = { files, limit, batch, style: options.prompts ?? "rows" };
      return options.subset === null ? prepareXnli(asked) : prepareGlue(options.subset, asked);
    }
    case "humaneval":
      return await prepareHumanEval({
        files,
        limit,
        answers: options.answers,
        samples: options.samples ?? 1,
        chat,
        limits: { seconds: options.timeout ?? 10, memoryBytes: (options.memory ?? 512) * 2 ** 20 },
        python: options.python ?? "python3",
        unsafe: options.unsafeRun,
        workers: Math.max(1, Math.floor(navigator.hardwareConcurrency / 2)),
        settings,
      });
    case "mtbench":
      return prepareMtBench({
        files,
        limit,
        answers: options.answers,
        references: options.references,
        against: options.against,
        judge: judgeOf(options),
        settings,
      });
    case "flores": {
      const { pairs, template, spm } = options;
      return prepareFlores({ files, limit, pairs, template, spm, chat, settings });
    }
  }
}

/** The solved questions that are asked for. Throws DataError where there are fewer. */
async function shotsOf({ shots, shotsFrom }: EvaluateFlags): Promise<SolvedRow[]> {
  if (shots === null || shotsFrom === null) return [];
  const found = await solvedRows(shotsFrom, shots);
  if (found.length === shots) return found;
  throw new DataError(`${shotsFrom}: has ${found.length} rows and --shots ${shots} asks for more.`, {
    shots,
  });
}

/** The judge that is asked for; null: none. */
function judgeOf({ judgeUrl, judgeModel, judgeKeyEnv }: EvaluateFlags): Judge | null {
  if (judgeUrl === null || judgeModel === null) return null;
  const key = Deno.env.get(judgeKeyEnv ?? JUDGE_KEY);
  return openJudge({ url: judgeUrl, model: judgeModel, key: key === undefined || key === "" ? null : key });
}

/** Load the model that is examined, and put it on its device. */
function openExaminee(options: EvaluateFlags, say: EvaluateHooks["say"], open: typeof openDevice) {
  return Effect.gen(function* () {
    const { checkpoint, tokenizer, seq } = yield* attempt(async () => {
      const model = await loadModel(options, say), { config } = model.checkpoint;
      const seq = options.seq ?? Math.min(config.maxPositions, LONGEST);
      requirePositions(seq, config);
      return { ...model, seq };
    });
    const device = yield* open(options.device, options.dtype === "f16");
    say(`device: ${describeDevice(device.capabilities)}`);
    const { adapter, seed } = options;
    const session = yield* attempt(() => openModel(device, checkpoint, { adapter, seed, maxLength: seq }));
    return {
      session,
      tokenizer,
      seq,
      device: `${device.capabilities.kind} (${device.capabilities.adapterName})`,
    };
  });
}
