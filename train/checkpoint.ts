/** Models in Hugging Face's directory layout: `config.json` and `model.safetensors`, or its shards and their index. @module */
import { type Aval, sameShape, showAval } from "../core/mod.ts";
import { isFile } from "./atomic_file.ts";
import { type DecoderConfig, modulesOf } from "./decoder.ts";
import { CheckpointError, SafetensorsError } from "./errors.ts";
import type { F16Losses } from "./floats.ts";
import { isPickle, PICKLE_ADVICE, pickleIn } from "./input_file.ts";
import { readJson } from "./json_file.ts";
import { parseConfig } from "./model_config.ts";
import {
  floatReader,
  onDemand,
  openSafetensors,
  type SafetensorsFile,
  type StoredTensor,
} from "./safetensors.ts";
import type { TensorEntry } from "./safetensors_header.ts";
import { readWeight } from "./weight_file.ts";

export type { DecoderConfig } from "./decoder.ts";
export type { LlamaConfig } from "./llama_config.ts";

/** A model in its files. */
export interface Checkpoint {
  /** The model's directory. */
  readonly dir: string;
  readonly config: DecoderConfig;
  /** Each weight's `data` is read from its file whenever it is asked for, and not kept: a model may be larger than memory. */
  readonly weights: ReadonlyMap<string, StoredTensor>;
  /** Tensors of the files that the model has no use for. */
  readonly unused: readonly string[];
  /** What f16 could not hold of the weights that were read so far, by name, where there was anything. */
  readonly lost: ReadonlyMap<string, F16Losses>;
}

/** Options of {@linkcode loadCheckpoint}. */
export interface LoadOptions {
  /** Storage of matrices. Vectors (the scales of norms) are always f32. */
  readonly dtype: "f32" | "f16";
  /** Names and shapes of all weights that a model of this configuration has. */
  readonly shapes: (config: DecoderConfig) => ReadonlyMap<string, Aval>;
  /** Told, when a weight is read, how many of its values f16 cannot hold, if there are any, and of how many. */
  readonly lost?: (name: string, lost: F16Losses, of: number) => void;
}

/** Read and check `config.json`. Throws CheckpointError. */
export function loadConfig(dir: string): DecoderConfig {
  const file = `${dir}/config.json`;
  if (isPickle(dir) && isFile(dir)) {
    throw new CheckpointError(
      `${dir}: ${PICKLE_ADVICE}: transformers' save_pretrained writes a model directory.`,
      { dir },
    );
  }
  const missing = "a model directory needs config.json, model.safetensors and tokenizer.json";
  return parseConfig(readJson(file, CheckpointError, missing), file);
}

/**
 * Open a model: its configuration, and every weight to be read when it is needed. BF16, F16, F32 and F64 become `dtype`,
 * rounded to nearest; maps that are stored [in, out] become [out, in]. Throws CheckpointError for a tensor that is
 * missing, of the wrong shape, or unknown (a bias left out would be another model), SafetensorsError for a damaged file.
 */
export function loadCheckpoint(dir: string, { dtype, shapes, lost }: LoadOptions): Checkpoint {
  const config = loadConfig(dir);
  return {
    config,
    ...loadTensors(dir, {
      dtype,
      expected: shapes(config),
      turned: new Set(modulesOf(config).flatMap((m) => m.inputFirst ? [`${m.path}.weight`] : [])),
      isHarmless: (name) => isHarmless(name, config),
      isOptional: () => false,
      nameOf: (name) => modelName(name, config),
      ...(lost ? { lost } : {}),
    }),
  };
}

/** The tensors that a model has. */
export interface TensorRequest {
  readonly dtype: LoadOptions["dtype"];
  readonly expected: ReadonlyMap<string, Aval>;
  /** Weights that the files have [in, out]. */
  readonly turned: ReadonlySet<string>;
  /** Whether a tensor that is not expected changes nothing where it is left out. */
  readonly isHarmless: (name: string) => boolean;
  /** Whether an expected tensor may be absent or of another shape; it is left out then. */
  readonly isOptional: (name: string) => boolean;
  /** The model's name for a tensor of the files. */
  readonly nameOf: (name: string) => string;
  readonly lost?: NonNullable<LoadOptions["lost"]>;
}

/** Read a model's tensors, as {@linkcode loadCheckpoint} does. */
export function loadTensors(
  dir: string,
  { dtype, expected, turned, isHarmless, isOptional, nameOf, lost: tell }: TensorRequest,
): Omit<Checkpoint, "config"> {
  const weights = new Map<string, StoredTensor>();
  const allLost = new Map<string, F16Losses>();
  const unused: string[] = [];
  using shards = openShards(dir);
  const names = new Map<string, string>();
  for (const name of shards.places.keys()) {
    const own = nameOf(name), other = names.get(own);
    if (other !== undefined) {
      throw new CheckpointError(`${dir}: "${name}" and "${other}" are the same tensor; keep one.`, { dir });
    }
    names.set(own, name);
    if (expected.has(own)) continue;
    if (!isHarmless(name)) {
      throw new CheckpointError(
        `${dir}: tensor "${name}" is no part of a model with this config.json; without it this would be another model.`,
        { dir, tensor: name },
      );
    }
    unused.push(name);
  }
  for (const [own, at] of expected) {
    const stored = names.get(own), file = stored === undefined ? undefined : shards.places.get(stored);
    if (stored === undefined || !file) {
      if (isOptional(own)) continue;
      throw missingTensor(dir, own, at);
    }
    const entry = file.header.tensors.get(stored)!;
    const transposed = turned.has(own), asked = transposed ? at.shape.toReversed() : at.shape;
    if (!sameShape(entry.shape, asked)) {
      if (isOptional(own)) {
        unused.push(stored);
        continue;
      }
      throw new CheckpointError(
        `${file.path}: tensor "${stored}" has shape [${entry.shape.join()}]; config.json asks for [${asked.join()}]; use the files of one model.`,
        { dir, tensor: stored, expected: asked, found: entry.shape },
      );
    }
    floatReader(file.path, stored, entry.dtype);
    const as = at.shape.length > 1 ? dtype : "f32", { path } = file;
    weights.set(
      own,
      onDemand({ shape: at.shape, dtype: as }, (memory) => {
        using again = openSafetensors(path);
        requireSame(again, stored, entry);
        const { data, lost } = readWeight(again, stored, as, transposed, memory);
        if (lost.infinite + lost.vanished > 0) {
          allLost.set(own, lost);
          tell?.(own, lost, data.length);
        }
        return data;
      }),
    );
  }
  return { dir, weights, unused, lost: allLost };
}

/** Refuse a file that is another one than when the model was opened. Throws SafetensorsError. */
function requireSame({ header, path }: SafetensorsFile, name: string, { dtype, shape }: TensorEntry): void {
  const now = header.tensors.get(name);
  if (now && now.dtype === dtype && sameShape(now.shape, shape)) return;
  throw new SafetensorsError(
    `${path}: tensor "${name}" changed since the model was opened; leave the files of a model alone while it is used.`,
    { file: path, tensor: name },
  );
}

/** GPT-2's first checkpoints, which are still about, name tensors without what holds them. */
const GPT2_PREFIX = "transformer.";

/** The weight that a tensor of the files is. */
function modelName(stored: string, { family }: DecoderConfig): string {
  const short = family === "gpt2" && !stored.startsWith(GPT2_PREFIX) && stored !== "lm_head.weight";
  return short ? `${GPT2_PREFIX}${stored}` : stored;
}

/** Tables that are computed anew, and a head that is not used because the embedding is the head. */
function isHarmless(name: string, { tiedEmbeddings, family }: DecoderConfig): boolean {
  const table = family === "gpt2"
    ? /^(transformer\.)?h\.\d+\.attn\.(masked_)?bias$/
    : /\.rotary_emb\.inv_freq$/;
  return table.test(name) || (tiedEmbeddings && name === "lm_head.weight");
}

function missingTensor(dir: string, name: string, at: Aval): CheckpointError {
  const hint = name === "lm_head.weight"
    ? "if the embedding is also the head, set tie_word_embeddings to true in config.json"
    : "use the config.json and all the shards of one model";
  return new CheckpointError(`${dir}: has no tensor "${name}", expected ${showAval(at)}; ${hint}.`, {
    dir,
    tensor: name,
    expected: at.shape,
  });
}

/** Shapes of the tensors in a directory's files, by the names that `nameOf` makes of theirs. Throws CheckpointError and SafetensorsError. */
export function tensorShapes(
  dir: string,
  nameOf: (stored: string) => string,
): ReadonlyMap<string, readonly number[]> {
  using shards = openShards(dir);
  return new Map(
    [...shards.places].map(([name, file]) => [nameOf(name), file.header.tensors.get(name)!.shape]),
  );
}

interface Shards extends Disposable {
  /** Which open file holds a tensor. */
  readonly places: ReadonlyMap<string, SafetensorsFile>;
}

function openShards(dir: string): Shards {
  const open = new Map<string, SafetensorsFile>();
  const close = (): void => open.forEach((file) => file.close());
  try {
    for (const name of shardNames(dir)) open.set(name, openSafetensors(`${dir}/${name}`));
    const places = new Map<string, SafetensorsFile>();
    for (const file of open.values()) {
      for (const name of file.header.tensors.keys()) {
        const other = places.get(name);
        if (other) {
          throw new CheckpointError(
            `${dir}: tensor "${name}" is in ${other.path} and in ${file.path}; keep one.`,
            { dir },
          );
        }
        places.set(name, file);
      }
    }
    return { places, [Symbol.dispose]: close };
  } catch (error) {
    close();
    if (error instanceof Deno.errors.NotFound) {
      throw new CheckpointError(
        `${dir}: a shard named in model.safetensors.index.json is missing (${error.message}).`,
        { dir },
      );
    }
    throw error;
  }
}

/** A file's name, short enough for any file system, without a way to another directory. */
const SHARD = /^[^/\\\0]{1,200}\.safetensors$/;

/** `model.safetensors`, or the shards that the index names. */
export function shardNames(dir: string): string[] {
  if (isFile(`${dir}/model.safetensors`)) return ["model.safetensors"];
  const index = `${dir}/model.safetensors.index.json`;
  const pickle = isFile(index) ? null : pickleIn(dir);
  if (pickle !== null) {
    throw new CheckpointError(
      `${dir}/${pickle}: ${PICKLE_ADVICE}: transformers' save_pretrained writes model.safetensors.`,
      { dir, pickle },
    );
  }
  const json = readJson(index, CheckpointError, `${dir} has no model.safetensors either`);
  const map = (json as { readonly weight_map?: unknown } | null)?.weight_map;
  const names: unknown[] = typeof map === "object" && map !== null ? Object.values(map) : [];
  // Only files of this directory: an index must not lead elsewhere.
  if (
    names.length === 0 ||
    !names.every((n): n is string => typeof n === "string" && SHARD.test(n))
  ) {
    throw new CheckpointError(`${index}: expected {"weight_map": {"<tensor>": "<file>.safetensors"}}.`, {
      file: index,
    });
  }
  return [...new Set(names)].sort();
}
