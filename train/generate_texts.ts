/** From prompts to texts: load, generate in groups, cut at stops, report. @module */
import * as Effect from "effect/Effect";
import { type Answer, answerPrompts, type AnswerSettings } from "./answer.ts";
import { describeDevice, openDevice } from "./devices.ts";
import { DataError, UserError } from "./errors.ts";
import type { GenerateFlags } from "./generate_options.ts";
import { didYouMean } from "./nearby_path.ts";
import { openModel } from "./open_model.ts";
import { parsePrompts, type Prompt, promptOf } from "./prompts.ts";
import { askedModel, sayNamed } from "./asked_model.ts";
import { attempt } from "./attempt.ts";
import { loadModel } from "./load_model.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** An answer; the keys are those of `--json`. */
export interface Generated extends Answer {
  /** Number of the prompt, and of the answer among those to it. */
  readonly index: number;
  readonly sample: number;
  readonly prompt: string;
}

/** Where answers go. */
export interface GenerateHooks {
  /** A line for people. */
  readonly say: (line: string) => void;
  /** An answer, once it is whole. */
  readonly result: (answer: Generated) => void;
  /** Text of the only answer as it comes; absent: nobody follows. */
  readonly stream?: (text: string) => void;
}

interface Job {
  readonly index: number;
  readonly sample: number;
  readonly prompt: Prompt;
}

/** Generate as asked; answers come in the order of the prompts. Fails with UserError for what the user can mend. */
export function generateTexts(options: GenerateFlags, hooks: GenerateHooks): Effect.Effect<void, UserError> {
  return Effect.scoped(Effect.gen(function* () {
    const { checkpoint, tokenizer, name, prompts } = yield* attempt(async () => {
      const asked = askedModel(options), { dtype } = options;
      const model = await loadModel({ dtype, ...asked }, hooks.say);
      sayNamed(asked, hooks.say);
      return { ...model, name: asked.model, prompts: readPrompts(options, model.tokenizer) };
    });
    const { config } = checkpoint;
    const device = yield* openDevice(options.device, options.dtype === "f16");
    hooks.say(`device: ${describeDevice(device.capabilities)}`);
    yield* attempt(async () => {
      const longest = Math.max(...prompts.map((p) => p.ids.length));
      const unfit = prompts.findIndex((p) => p.ids.length === 0 || p.ids.length >= config.maxPositions);
      if (unfit >= 0) {
        throw new UserError(
          `prompt ${unfit + 1} has ${prompts[unfit]!.ids.length} tokens: ${name} goes on from 1 to ${
            config.maxPositions - 1
          }.`,
        );
      }
      const session = await openModel(device, checkpoint, {
        adapter: options.adapter,
        seed: options.seed,
        maxLength: Math.min(config.maxPositions, Math.ceil((longest + options.maxNew) / 32) * 32),
      });
      const jobs = prompts.flatMap((prompt, index) =>
        Array.from({ length: options.samples }, (_, sample): Job => ({ index, sample, prompt }))
      );
      const follow = jobs.length === 1 ? hooks.stream : undefined;
      const answers = answerPrompts(session, tokenizer, jobs.map((job) => job.prompt), {
        maxNew: options.maxNew,
        maxPositions: config.maxPositions,
        stop: options.stop,
        batch: options.batch,
        sampling: samplingOf(options),
        ...(follow ? { follow } : {}),
      });
      let at = 0;
      for await (const answer of answers) {
        const { index, sample, prompt } = jobs[at++]!;
        hooks.result({ index, sample, prompt: prompt.text, ...answer });
      }
    });
  }));
}

/** How the flags choose tokens; null: the likeliest, always. */
export function samplingOf(
  { temperature, topK, topP, seed }: Pick<GenerateFlags, "temperature" | "topK" | "topP" | "seed">,
): AnswerSettings["sampling"] {
  return temperature === 0 ? null : { temperature, topK, topP, seed };
}

function readPrompts({ prompt, prompts: file }: GenerateFlags, tokenizer: Tokenizer): Prompt[] {
  if (prompt !== null) return [promptOf(prompt, tokenizer)];
  try {
    return parsePrompts(Deno.readTextFileSync(file!), file!, tokenizer);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new DataError(`${file}: not found${didYouMean(file!)}; give a JSON-lines file.`, { file });
  }
}
