/** The model that a plan asks for: named sizes, or what its directory says of it. @module */
import { loadConfig } from "../checkpoint.ts";
import { outputsOf } from "../classifier_objective.ts";
import { freshOf, loadEncoderConfig } from "../encoder_checkpoint.ts";
import { withDropout } from "../encoder_config.ts";
import { UserError } from "../errors.ts";
import { parseAsked } from "../evaluation/asked.ts";
import { prepareAsked } from "../evaluation/during.ts";
import { GLUE_TASKS } from "../evaluation/glue_tasks.ts";
import { modelDirectory } from "../hub.ts";
import type { TrainOptions } from "../options.ts";
import { loadTokenizer } from "../tokenizer.ts";
import { plannedDecoder, type PlannedTasks } from "./decoder_model.ts";
import { plannedEncoder } from "./encoder_model.ts";
import type { PlanOptions } from "./options.ts";
import type { PlannedModel } from "./planned_model.ts";
import { MODEL_SHAPES } from "./shapes.ts";

/** Find out what is planned for; no weight is read. Throws UserError. */
export async function openPlanned(
  { shape, train }: Pick<PlanOptions, "shape" | "train">,
  say: (line: string) => void,
): Promise<PlannedModel> {
  if (train.task !== null) return await encoderOf(shape, train, GLUE_TASKS[train.task], say);
  const asked = await tasksOf(shape, train, say);
  if (shape !== null) return plannedDecoder(shape, MODEL_SHAPES[shape]!, asked);
  const dir = await modelDirectory(train.model, { say, only: "config" });
  return plannedDecoder(train.model, loadConfig(dir), asked);
}

async function encoderOf(
  shape: string | null,
  { task, model, modelDropout }: TrainOptions,
  { target }: typeof GLUE_TASKS[keyof typeof GLUE_TASKS],
  say: (line: string) => void,
): Promise<PlannedModel> {
  if (shape !== null) {
    throw new UserError(
      `--shape ${shape}: is a language model, and --task ${task} trains encoders; give --model DIR of one.`,
    );
  }
  const dir = await modelDirectory(model, { say, only: "config" });
  const config = withDropout(loadEncoderConfig(dir), modelDropout);
  return plannedEncoder(model, config, target, freshOf(dir, config, outputsOf(target)));
}

/** The tasks of `--eval` with their data; null: none. Sizes alone have no tokenizer: then `--model` gives one, the bundled model unless it says another. */
async function tasksOf(
  shape: string | null,
  { model, eval: evaluation, evalLimit }: TrainOptions,
  say: (line: string) => void,
): Promise<PlannedTasks | null> {
  const asked = parseAsked(evaluation);
  if (asked.tasks.length === 0) return null;
  if (shape !== null) say(`--eval: the tokens of tasks are counted by the tokenizer of ${model}`);
  const tokenizer = loadTokenizer(await modelDirectory(model, { say, only: "tokenizer" }));
  return { tokenizer, tasks: await prepareAsked(asked, evalLimit) };
}
