/** Models in Hugging Face's directory layout: `config.json` and `model.safetensors`, or its shards and their index. @module */
import { type Aval, sameShape, showAval } from "../core/mod.ts";
import { CheckpointError } from "./errors.ts";
import { countF16Overflow, f32ToF16 } from "./floats.ts";
import { isPickle, PICKLE_ADVICE, pickleIn } from "./input_file.ts";
import { readJson } from "./json_file.ts";
import { type LlamaConfig, parseLlamaConfig } from "./llama_config.ts";
import { openSafetensors, type SafetensorsFile, type StoredTensor } from "./safetensors.ts";

export type { LlamaConfig } from "./llama_config.ts";

/** A model on the host. */
export interface Checkpoint {
  readonly config: LlamaConfig;
  readonly weights: ReadonlyMap<string, StoredTensor>;
  /** Finite values that became infinite in f16, by tensor; empty is good. */
  readonly overflow: ReadonlyMap<string, number>;
  /** Tensors of the files that the model has no use for. */
  readonly unused: readonly string[];
}

/** Options of {@linkcode loadCheckpoint}. */
export interface LoadOptions {
  /** Storage of matrices. Vectors (the scales of norms) are always f32. */
  readonly dtype: "f32" | "f16";
  /** Names and shapes of all weights that a model of this configuration has. */
  readonly shapes: (config: LlamaConfig) => ReadonlyMap<string, Aval>;
}

/** Read and check `config.json`. Throws CheckpointError. */
export function loadConfig(dir: string): LlamaConfig {
  const file = `${dir}/config.json`;
  if (isPickle(dir) && exists(dir)) {
    throw new CheckpointError(
      `${dir}: ${PICKLE_ADVICE}: transformers' save_pretrained writes a model directory.`,
      { dir },
    );
  }
  const missing = "a model directory needs config.json, model.safetensors and tokenizer.json";
  return parseLlamaConfig(readJson(file, CheckpointError, missing), file);
}

/**
 * Read a model: its configuration and every weight, one after the other, under the names in the files. BF16, F16, F32 and
 * F64 become `dtype`, rounded to nearest. Throws CheckpointError for a tensor that is missing, of the wrong shape, or
 * unknown (a bias left out would be another model), SafetensorsError for a damaged file.
 */
export function loadCheckpoint(dir: string, { dtype, shapes }: LoadOptions): Checkpoint {
  const config = loadConfig(dir);
  const expected = shapes(config);
  const weights = new Map<string, StoredTensor>();
  const overflow = new Map<string, number>();
  const unused: string[] = [];
  using shards = openShards(dir);
  for (const name of shards.places.keys()) {
    if (expected.has(name)) continue;
    if (!isHarmless(name, config)) {
      throw new CheckpointError(
        `${dir}: tensor "${name}" is no part of a model with this config.json; without it this would be another model.`,
        { dir, tensor: name },
      );
    }
    unused.push(name);
  }
  for (const [name, at] of expected) {
    const file = shards.places.get(name);
    if (!file) throw missingTensor(dir, name, at);
    const { shape } = file.header.tensors.get(name)!;
    if (!sameShape(shape, at.shape)) {
      throw new CheckpointError(
        `${file.path}: tensor "${name}" has shape [${shape.join()}]; config.json asks for [${at.shape.join()}]; use the files of one model.`,
        { dir, tensor: name, expected: at.shape, found: shape },
      );
    }
    const { tensor, lost } = load(file, name, shape.length > 1 ? dtype : "f32");
    weights.set(name, tensor);
    if (lost > 0) overflow.set(name, lost);
  }
  return { config, weights, overflow, unused };
}

/** Tables that are computed anew, and a head that is not used because the embedding is the head. */
function isHarmless(name: string, { tiedEmbeddings }: LlamaConfig): boolean {
  return name.endsWith(".rotary_emb.inv_freq") || (tiedEmbeddings && name === "lm_head.weight");
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

function load(
  file: SafetensorsFile,
  name: string,
  dtype: "f32" | "f16",
): { tensor: StoredTensor; lost: number } {
  const entry = file.header.tensors.get(name)!;
  const aval: Aval = { shape: entry.shape, dtype };
  if (dtype === "f16" && entry.dtype === "F16") return { tensor: file.read(name), lost: 0 };
  const data = file.readF32(name);
  if (dtype === "f32") return { tensor: { aval, data }, lost: 0 };
  return { tensor: { aval, data: f32ToF16(data) }, lost: countF16Overflow(data) };
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
function shardNames(dir: string): string[] {
  if (exists(`${dir}/model.safetensors`)) return ["model.safetensors"];
  const index = `${dir}/model.safetensors.index.json`;
  const pickle = exists(index) ? null : pickleIn(dir);
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

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}
