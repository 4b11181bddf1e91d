/**
 * Where models of the Hugging Face hub are kept: the layout of its own tools, so that what they have downloaded is found
 * and what Gyre downloads is theirs too. `models--owner--name/` has `refs/<branch>` (a commit), `snapshots/<commit>/` (the
 * files, as links) and `blobs/` (their contents, by hash). @module
 */
import { exists, parentOf, writeTextAtomically } from "./atomic_file.ts";
import { CheckpointError } from "./errors.ts";
import { readJson } from "./json_file.ts";

/** Values of environment variables. */
export type Environment = (name: string) => string | undefined;

/** Branch that a model is taken from. */
export const BRANCH = "main";

const COMMIT = /^[0-9a-f]{40}$/;

/** Directory of all models: HF_HUB_CACHE, or `hub` in HF_HOME, or in the user's cache directory. Throws where there is no home. */
export function hubCache(environment: Environment): string {
  const value = (name: string): string | undefined => environment(name) || undefined;
  const given = value("HF_HUB_CACHE") ?? value("HUGGINGFACE_HUB_CACHE");
  if (given !== undefined) return given;
  const home = value("HOME") ?? value("USERPROFILE");
  const caches = value("XDG_CACHE_HOME") ?? (home && `${home}/.cache`);
  const own = value("HF_HOME") ?? (caches && `${caches}/huggingface`);
  if (own === undefined) {
    throw new Error("HF_HOME, HOME and USERPROFILE are not set: there is no cache directory.");
  }
  return `${own}/hub`;
}

/** Directory of one model. */
export function modelCache(cache: string, id: string): string {
  return `${cache}/models--${id.replace("/", "--")}`;
}

/** The commit that the branch was at when it was last looked at; null: never. */
export function knownCommit(model: string): string | null {
  const file = `${model}/refs/${BRANCH}`;
  if (!exists(file)) return null;
  const commit = Deno.readTextFileSync(file).trim();
  return COMMIT.test(commit) ? commit : null;
}

/** Note the commit that the branch is at. */
export function noteCommit(model: string, commit: string): void {
  Deno.mkdirSync(`${model}/refs`, { recursive: true });
  writeTextAtomically(`${model}/refs/${BRANCH}`, commit);
}

/** Directory with the files of a commit. */
export function snapshotOf(model: string, commit: string): string {
  return `${model}/snapshots/${commit}`;
}

/** Whether a directory has all that a model needs. */
export function isComplete(dir: string): boolean {
  if (!["config.json", "tokenizer.json", "tokenizer_config.json"].every((name) => exists(`${dir}/${name}`))) {
    return false;
  }
  if (exists(`${dir}/model.safetensors`)) return true;
  const index = `${dir}/model.safetensors.index.json`;
  if (!exists(index)) return false;
  const shards = shardsIn(index);
  return shards.length > 0 && shards.every((name) => exists(`${dir}/${name}`));
}

/** The shards that an index file names, none of them outside its directory. Throws CheckpointError for a broken one. */
export function shardsIn(index: string): string[] {
  const json = readJson(index, CheckpointError, "it belongs to the shards");
  const map = (json as { readonly weight_map?: unknown } | null)?.weight_map;
  const names: unknown[] = typeof map === "object" && map !== null ? Object.values(map) : [];
  const bad = names.find((n) => typeof n !== "string" || !/^[^/\\]+\.safetensors$/.test(n));
  if (bad === undefined) return [...new Set(names as string[])].sort();
  throw new CheckpointError(`${index}: names ${JSON.stringify(bad)}, which is no file beside it.`, { index });
}

/** Put a blob under its name into a snapshot, as a link where the system has them. */
export function linkBlob(model: string, commit: string, name: string, hash: string): void {
  const path = `${snapshotOf(model, commit)}/${name}`;
  Deno.mkdirSync(parentOf(path), { recursive: true });
  try {
    Deno.symlinkSync(`../../blobs/${hash}`, path);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    // Windows lets only some users make links.
    if (Deno.build.os !== "windows") throw error;
    Deno.copyFileSync(`${model}/blobs/${hash}`, path);
  }
}
