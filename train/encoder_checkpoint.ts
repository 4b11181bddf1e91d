/** Encoders in Hugging Face's directory layout, with the head of a task: the model's own, or a fresh one. @module */
import { type Aval, evaluate, sameShape } from "../core/mod.ts";
import { foldIn, key, mul, normal } from "../ops/mod.ts";
import { exists } from "./atomic_file.ts";
import { type Checkpoint, loadTensors, tensorShapes } from "./checkpoint.ts";
import { encoderModules, encoderShapes, headShapes } from "./encoder.ts";
import { type EncoderConfig, isEncoderConfig, parseEncoderConfig } from "./encoder_config.ts";
import { CheckpointError } from "./errors.ts";
import type { F16Losses } from "./floats.ts";
import { readJson } from "./json_file.ts";
import type { ModelLayout } from "./methods.ts";
import type { StoredTensor } from "./safetensors.ts";

/** An encoder with a head, on the host. */
export interface EncoderCheckpoint {
  readonly config: EncoderConfig;
  readonly weights: ReadonlyMap<string, StoredTensor>;
  readonly layout: ModelLayout;
  /** Weights that the directory does not have, or has for another number of outputs: drawn anew. */
  readonly fresh: readonly string[];
  /** As in {@linkcode Checkpoint}. */
  readonly lost: Checkpoint["lost"];
}

/** Options of {@linkcode loadEncoder}. */
export interface LoadEncoderOptions {
  readonly dtype: "f32" | "f16";
  /** Numbers that the head gives for a row. */
  readonly outputs: number;
  /** Draws what is fresh. */
  readonly seed: number;
  /** Told, when a weight is read, how many of its values f16 cannot hold, if there are any, and of how many. */
  readonly lost?: (name: string, lost: F16Losses, of: number) => void;
}

/** Whether a model directory is that of an encoder; false too where it cannot be read, which loading it will tell. */
export function isEncoderDirectory(dir: string): boolean {
  try {
    return isEncoderConfig(JSON.parse(Deno.readTextFileSync(`${dir}/config.json`)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return false;
    throw error;
  }
}

/** Read and check `config.json`. Throws CheckpointError; for a decoder it says what to do instead. */
export function loadEncoderConfig(dir: string): EncoderConfig {
  const file = `${dir}/config.json`;
  const json = readJson(
    file,
    CheckpointError,
    "a model directory needs config.json, model.safetensors and tokenizer.json",
  );
  if (isEncoderConfig(json)) return parseEncoderConfig(json, file);
  const type = (Object(json) as { readonly model_type?: unknown }).model_type;
  throw new CheckpointError(
    `${file}: model_type is ${
      JSON.stringify(type)
    }; --task trains encoders, "bert" or "roberta". A language model learns ` +
      "labelled sentences as text: leave --task out.",
    { file },
  );
}

/** Folded into the seed's key for fresh weights: above the numbers of members and of steps. */
const FRESH_KEYS = 2 ** 31 - 1;
/** Deviation of fresh maps: Hugging Face's `initializer_range` of these families. */
const FRESH_DEVIATION = 0.02;

/**
 * Read an encoder. Its files may name weights with or without the family in front, and scales and offsets of norms `gamma`
 * and `beta` as in old files; heads of other tasks are passed over. What the head needs and the files lack is drawn from
 * `seed`: maps normal with deviation 0.02, offsets 0. Throws CheckpointError and SafetensorsError.
 */
export function loadEncoder(
  dir: string,
  { dtype, outputs, seed, lost: tell }: LoadEncoderOptions,
): EncoderCheckpoint {
  const config = loadEncoderConfig(dir), { family } = config;
  const head = headShapes(config, outputs), shapes = new Map([...encoderShapes(config), ...head]);
  const { weights, lost } = loadTensors(dir, {
    dtype,
    expected: shapes,
    turned: new Set(),
    ...(tell ? { lost: tell } : {}),
    nameOf: (name) => nameOf(name, family),
    isHarmless: (name) => isHarmless(name, family),
    isOptional: (name) => head.has(name),
  });
  // A map and its offset belong together.
  const lacking = new Set([...head.keys()].filter((name) => !weights.has(name)).map(mapOf));
  const fresh = [...head.keys()].filter((name) => lacking.has(mapOf(name)));
  const all = new Map(weights);
  fresh.forEach((name, i) => all.set(name, draw(shapes.get(name)!, seed, i)));
  return { config, weights: all, lost, layout: headLayout(config, outputs, fresh), fresh };
}

/** What can be trained in an encoder whose head gives `outputs` numbers: adapters leave what is `fresh` of it to be trained whole. */
export function headLayout(config: EncoderConfig, outputs: number, fresh: readonly string[]): ModelLayout {
  const head = headShapes(config, outputs);
  return {
    modules: encoderModules(config),
    shapes: new Map([...encoderShapes(config), ...head]),
    tied: false,
    whole: [...head.keys()].filter((name) => name.startsWith("classifier") || fresh.includes(name)),
  };
}

/**
 * The weights of the head that the files of a directory do not have, or have for another number of outputs. A directory
 * without weights is taken to have all but a classifier, as pretrained encoders do. Throws CheckpointError and
 * SafetensorsError.
 */
export function freshOf(dir: string, config: EncoderConfig, outputs: number): readonly string[] {
  const head = headShapes(config, outputs);
  const hasWeights = ["model.safetensors", "model.safetensors.index.json"].some((n) => exists(`${dir}/${n}`));
  const stored = hasWeights ? tensorShapes(dir, (name) => nameOf(name, config.family)) : null;
  const has = (name: string): boolean =>
    stored ? sameShape(stored.get(name) ?? [-1], head.get(name)!.shape) : !name.startsWith("classifier");
  const lacking = new Set([...head.keys()].filter((name) => !has(name)).map(mapOf));
  return [...head.keys()].filter((name) => lacking.has(mapOf(name)));
}

/** A weight's name without `.weight` or `.bias`. */
function mapOf(name: string): string {
  return name.replace(/\.(weight|bias)$/, "");
}

function nameOf(name: string, family: string): string {
  const modern = name.replace(/\.gamma$/, ".weight").replace(/\.beta$/, ".bias");
  return /^(embeddings|encoder|pooler)\./.test(modern) ? `${family}.${modern}` : modern;
}

/** Tables of numbers 0, 1, …, heads of pretraining and of other tasks, and the pooler that RoBERTa's head does without. */
function isHarmless(name: string, family: string): boolean {
  return /(^|\.)embeddings\.(position_ids|token_type_ids)$/.test(name) ||
    /^(cls|lm_head|qa_outputs|classifier)\./.test(name) ||
    (family === "roberta" && /(^|\.)pooler\./.test(name));
}

function draw(at: Aval, seed: number, i: number): StoredTensor {
  const size = at.shape.reduce((a, b) => a * b, 1);
  if (at.shape.length === 1) return { aval: at, data: new Float32Array(size) };
  const [values] = evaluate([
    mul(normal(foldIn(foldIn(key(seed), FRESH_KEYS), i), at.shape), FRESH_DEVIATION),
  ]);
  return { aval: at, data: Float32Array.from(values!) };
}
