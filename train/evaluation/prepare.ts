/** From the flags of an evaluation to its task, with the data read. @module */
import { DataError } from "../errors.ts";
import { samplingOf } from "../generate_texts.ts";
import type { AskSettings } from "./ask.ts";
import { prepareGlue, prepareXnli } from "./classify.ts";
import { type EvaluateFlags, JUDGE_KEY, MAX_NEW, type TaskName } from "./flags.ts";
import { prepareFlores } from "./flores.ts";
import { prepareGsm8k, type SolvedRow, solvedRows } from "./gsm8k.ts";
import { prepareHumanEval } from "./humaneval.ts";
import { type Judge, openJudge } from "./judge.ts";
import { prepareMtBench } from "./mtbench.ts";
import { preparePerplexity } from "./perplexity.ts";
import type { PreparedTask } from "./task.ts";

/** The task of parsed flags that ask for no help. */
export function requireTask({ task }: EvaluateFlags): TaskName {
  if (task === null) throw new Error("An evaluation needs a task.");
  return task;
}

/** Read what a task needs. Throws DataError and OptionError. */
export async function prepareTask(options: EvaluateFlags): Promise<PreparedTask> {
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
      return await (options.subset === null ? prepareXnli(asked) : prepareGlue(options.subset, asked));
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
      return await prepareFlores({ files, limit, pairs, template, spm, chat, settings });
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
