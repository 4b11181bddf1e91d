/** The flags of `generate.ts` as one table, and what goes together. @module */
import * as Either from "fp-ts/Either.js";
import { type DeviceChoice, DEVICES } from "./devices.ts";
import { OptionError } from "./errors.ts";
import { flag, helpOf, optional, parseFlags, type TableOf, toggle } from "./parse_flags.ts";
import { from0, number, oneOf, type Read, whole } from "./readers.ts";

/** What texts are asked for. */
export interface GenerateFlags {
  /** Null only beside an adapter: the model that it belongs to. */
  readonly model: string | null;
  /** Null: the model as it is. */
  readonly adapter: string | null;
  /** Exactly one of the two is given. */
  readonly prompt: string | null;
  readonly prompts: string | null;
  readonly maxNew: number;
  /** 0: always the likeliest token. */
  readonly temperature: number;
  /** Null: all tokens. */
  readonly topK: number | null;
  /** 1: all tokens. */
  readonly topP: number;
  readonly seed: number;
  readonly stop: readonly string[];
  readonly samples: number;
  readonly batch: number;
  readonly device: DeviceChoice;
  readonly dtype: "f32" | "f16";
  readonly json: boolean;
  readonly help: boolean;
}

/** What defaults depend on. */
export interface GenerateSite {
  /** Directory of the repository, where the bundled model is. */
  readonly root: string;
}

const anyText: Read<string> = (t) => Either.right(t);

/** `--model` where an adapter may say what it belongs to. */
function askedModelFlag(
  help: string,
): TableOf<Pick<GenerateFlags, "model" | "adapter">, GenerateSite>["model"] {
  return {
    value: "DIR",
    read: anyText,
    help,
    absent: (get, { root }) => get("adapter") === null ? `${root}/${BUNDLED}` : null,
    shown: `what --adapter belongs to, else ${BUNDLED}`,
  };
}

/** The model that is used where nothing is said. */
const BUNDLED = "examples/base";

/** Flags of every program that asks a model. */
export const ASKING_FLAGS = {
  model: askedModelFlag("model directory in the Hugging Face layout, or an id of its hub: owner/name"),
  adapter: optional("DIR", anyText, "none", "adapter that a run left, or a directory of Hugging Face PEFT"),
  temperature: flag("T", from0, 0, "0 takes the likeliest token; above, logits are divided by it"),
  topK: optional(
    "K",
    whole(1),
    "all",
    "choose among the K likeliest tokens, and those as likely as the last",
  ),
  topP: flag(
    "P",
    number("a number above 0 up to 1", (n) => n > 0 && n <= 1),
    1,
    "choose among the likeliest tokens that have this probability together",
  ),
  seed: flag("N", whole(0, 2 ** 32 - 1), 0, "decides what is chosen"),
  device: flag("NAME", oneOf(...DEVICES), "auto", `${DEVICES.slice(0, -1).join(", ")} or ${DEVICES.at(-1)}`),
  dtype: flag(
    "NAME",
    oneOf("f32", "f16"),
    "f32",
    "storage of weights, f32 or f16; with f16, matrix units may multiply in f16, adding up in f32",
  ),
  help: toggle("show this text"),
};

/** All flags, in the order of the help. */
export const GENERATE_FLAGS: TableOf<GenerateFlags, GenerateSite> = {
  model: { ...ASKING_FLAGS.model, section: "Model and prompts" },
  adapter: ASKING_FLAGS.adapter,
  prompt: optional("TEXT", anyText, "none", "go on from this text, written as it comes"),
  prompts: optional(
    "FILE",
    anyText,
    "none",
    'JSON lines in place of --prompt: {"prompt"}, {"question"}, {"text"} or {"messages"}, by the chat template',
  ),
  maxNew: { ...flag("N", whole(1), 128, "most tokens of an answer"), section: "Choosing tokens" },
  temperature: ASKING_FLAGS.temperature,
  topK: ASKING_FLAGS.topK,
  topP: ASKING_FLAGS.topP,
  seed: ASKING_FLAGS.seed,
  stop: {
    value: "TEXT",
    read: (t) => Either.right([t]),
    join: (earlier, later) => [...earlier, ...later],
    help: "end an answer before this text; may be given several times",
    absent: () => [],
    shown: "the model's end token alone",
  },
  samples: flag("N", whole(1), 1, "answers to each prompt"),
  batch: { ...flag("N", whole(1), 8, "answers computed at once"), section: "Running" },
  device: ASKING_FLAGS.device,
  dtype: ASKING_FLAGS.dtype,
  json: toggle("print a JSON line for each answer on standard output"),
  help: ASKING_FLAGS.help,
};

/** Understand the command line. Throws OptionError: the flag, its value, what was expected. */
export function parseGenerateFlags(argv: readonly string[], site: GenerateSite): GenerateFlags {
  const options = parseFlags<GenerateFlags, GenerateSite>(GENERATE_FLAGS, argv, site);
  const { help, prompt, prompts } = options;
  if (help) return options;
  if ((prompt === null) === (prompts === null)) {
    throw new OptionError(
      prompt === null
        ? "There is nothing to go on from: give --prompt TEXT or --prompts FILE."
        : `--prompts ${prompts} takes the place of --prompt: give one of the two.`,
      { prompt, prompts },
    );
  }
  requireSampling(options);
  return options;
}

/** Refuse flags of sampling beside a temperature of 0. Throws OptionError. */
export function requireSampling(
  { temperature, samples, topK, topP }: Pick<GenerateFlags, "temperature" | "samples" | "topK" | "topP">,
): void {
  const idle = [
    samples > 1 ? `--samples ${samples}` : null,
    topK === null ? null : `--top-k ${topK}`,
    topP === 1 ? null : `--top-p ${topP}`,
  ].find((given) => given !== null);
  if (temperature > 0 || idle === undefined) return;
  throw new OptionError(
    `${idle} changes nothing at --temperature 0, which always takes the likeliest token: give a --temperature above 0.`,
    { samples, topK, topP },
  );
}

/** The text of `--help`. */
export function generateHelp(): string {
  return helpOf<GenerateFlags, GenerateSite>(
    "Let a language model write: deno run -A generate.ts --prompt TEXT [flags]",
    GENERATE_FLAGS,
  );
}
