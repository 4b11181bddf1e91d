/** From prompts to texts: load, generate in groups, cut at stops, report. @module */
import * as Effect from "effect/Effect";
import { loadAdapter } from "./adapter_directory.ts";
import { describeDevice, openDevice } from "./devices.ts";
import { DataError, UserError } from "./errors.ts";
import type { GenerateOptions } from "./generate.ts";
import type { GenerateFlags } from "./generate_options.ts";
import { adamW } from "./optimiser.ts";
import { parsePrompts, type Prompt, promptOf } from "./prompts.ts";
import { attempt, loadModel } from "./run.ts";
import { openSession } from "./session.ts";
import { cutAtStop, settledLength } from "./stop_texts.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * Sampling has run on the CPU only: on a software GPU its kernels did not compile within a minute. Throws UserError where a
 * GPU is asked for by name.
 */
function deviceFor({ device, temperature }: GenerateFlags): GenerateFlags["device"] {
  if (temperature === 0 || device === "cpu") return device;
  if (device === "auto") return "cpu";
  throw new UserError(
    `--device ${device}: sampling runs on the CPU alone for now; use --device cpu, or --temperature 0.`,
  );
}

/** An answer; the keys are those of `--json`. */
export interface Generated {
  /** Number of the prompt, and of the answer among those to it. */
  readonly index: number;
  readonly sample: number;
  readonly prompt: string;
  readonly text: string;
  /** Tokens generated, the end token left out; with a stop, up to where it was seen. */
  readonly tokens: number;
  /** Why it ended: the model's end token, a stop, or the limit. */
  readonly finish: "end" | "stop" | "length";
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
    const { checkpoint, tokenizer, prompts } = yield* attempt(() => {
      deviceFor(options);
      const model = loadModel(options, hooks.say);
      return Promise.resolve({ ...model, prompts: readPrompts(options, model.tokenizer) });
    });
    const { config } = checkpoint;
    const device = yield* openDevice(deviceFor(options), options.dtype === "f16");
    hooks.say(`device: ${describeDevice(device.capabilities)}`);
    yield* attempt(async () => {
      const longest = Math.max(...prompts.map((p) => p.ids.length));
      const unfit = prompts.findIndex((p) => p.ids.length === 0 || p.ids.length >= config.maxPositions);
      if (unfit >= 0) {
        throw new UserError(
          `prompt ${unfit + 1} has ${prompts[unfit]!.ids.length} tokens: ${options.model} goes on from 1 to ${
            config.maxPositions - 1
          }.`,
        );
      }
      const adapter = options.adapter === null
        ? null
        : loadAdapter(options.adapter, config, checkpoint.weights);
      const session = await openSession({
        device,
        subject: { config, classes: adapter?.classes ?? [] },
        weights: adapter?.weights ?? checkpoint.weights,
        optimiser: adamW({ clip: 0 }),
        accumulate: 1,
        seed: options.seed,
        maxLength: Math.min(config.maxPositions, Math.ceil((longest + options.maxNew) / 32) * 32),
        ...(adapter ? { values: adapter.values } : {}),
      });
      const jobs = prompts.flatMap((prompt, index) =>
        Array.from({ length: options.samples }, (_, sample): Job => ({ index, sample, prompt }))
      );
      const rows = Math.min(options.batch, jobs.length);
      const follow = jobs.length === 1 ? hooks.stream : undefined;
      for (let at = 0; at < jobs.length; at += rows) {
        const group = jobs.slice(at, at + rows);
        // Groups of one size share a plan: the last one is filled up with its own first prompt.
        const filled = Array.from({ length: rows }, (_, i) => group[i] ?? group[0]!);
        let shown = 0;
        const show = (text: string, upTo: number): void => {
          if (upTo <= shown) return;
          follow?.(text.slice(shown, upTo));
          shown = upTo;
        };
        const watch = (row: number, ids: readonly number[]): boolean => {
          const job = group[row];
          if (!job) return true;
          if (options.stop.length === 0 && !follow) return false;
          const { text, stopped } = cutAtStop(continuation(tokenizer, job.prompt, ids), options.stop);
          show(text, stopped ? text.length : settledLength(text, options.stop));
          return stopped;
        };
        const found = await session.generate(
          filled.map((job) => job.prompt.ids),
          options.maxNew,
          tokenizer.eosId,
          { watch, live: follow !== undefined, ...samplingOf(options, filled.map((_, i) => at + i)) },
        );
        group.forEach(({ index, sample, prompt }, i) => {
          const ids = found[i]!;
          const { text, stopped } = cutAtStop(continuation(tokenizer, prompt, ids), options.stop);
          show(text, text.length);
          const most = Math.min(options.maxNew, config.maxPositions - prompt.ids.length);
          const finish = stopped ? "stop" : ids.length < most ? "end" : "length";
          hooks.result({ index, sample, prompt: prompt.text, text, tokens: ids.length, finish });
        });
      }
    });
  }));
}

function samplingOf(
  { temperature, topK, topP, seed }: GenerateFlags,
  rows: readonly number[],
): Pick<GenerateOptions, "sampling"> {
  return temperature === 0 ? {} : { sampling: { temperature, topK, topP, seed, rows } };
}

/** Text that ids add to a prompt. Tokenizers drop a space where a text begins, so both are decoded together. */
function continuation({ decode }: Tokenizer, { ids: before }: Prompt, ids: readonly number[]): string {
  const start = decode(before), whole = decode([...before, ...ids]);
  return whole.startsWith(start) ? whole.slice(start.length) : decode(ids);
}

function readPrompts({ prompt, prompts: file }: GenerateFlags, tokenizer: Tokenizer): Prompt[] {
  if (prompt !== null) return [promptOf(prompt, tokenizer)];
  try {
    return parsePrompts(Deno.readTextFileSync(file!), file!, tokenizer);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new DataError(`${file}: not found; give a JSON-lines file.`, { file });
  }
}
