/** Models of the Hugging Face hub by their ids: downloaded once, checked, and gone on with where a download broke off. @module */
import { exists } from "./atomic_file.ts";
import { CheckpointError } from "./errors.ts";
import { download, type HubAccess, isOfTheDisk } from "./hub_download.ts";
import {
  BRANCH,
  type Environment,
  hubCache,
  isComplete,
  knownCommit,
  linkBlob,
  modelCache,
  noteCommit,
  shardsIn,
  snapshotOf,
} from "./hub_cache.ts";
import { didYouMean } from "./nearby_path.ts";

/** What may be enough of a model. */
type Part = "config" | "tokenizer";

/** How a model is looked for. */
export interface HubOptions {
  /** A line for people. */
  readonly say: (line: string) => void;
  /** The process's own unless given. */
  readonly environment?: Environment;
  /** The adapter that names the model, where nobody gave it. */
  readonly namedBy?: string | undefined;
  /** Only the configuration is needed, or all but the weights. Default: all of it. */
  readonly only?: Part;
}

/** Files of a model besides its weights; the first three it must have. */
const NEEDED = ["config.json", "tokenizer.json", "tokenizer_config.json"];
const WANTED = [...NEEDED, "special_tokens_map.json", "generation_config.json", "chat_template.jinja"];
const INDEX = "model.safetensors.index.json";
const PUBLIC_HUB = "https://huggingface.co";
/** What `--model` takes from the disk. */
const MODEL_FILES = "a directory with config.json, model.safetensors and tokenizer.json: --model DIR";

/** Whether a text has the form of an id, `owner/name`. */
export function isHubId(text: string): boolean {
  return /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(text) && !text.includes("..");
}

/**
 * The directory of a model that is given as a directory, or as an id of the hub, which is then downloaded into the cache
 * unless it is there. HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE mean what they mean to the hub's own tools. Throws
 * CheckpointError where it cannot be had, and says what to do.
 */
export async function modelDirectory(
  model: string,
  { say, environment = env, only, namedBy }: HubOptions,
): Promise<string> {
  const asked = namedBy === undefined ? `--model ${model}` : `${namedBy}: belongs to ${model}`;
  if (exists(model)) {
    if (Deno.statSync(model).isDirectory) return model;
    throw new CheckpointError(`${asked}: is a file; give the directory that it is in: --model DIR.`, {
      model,
    });
  }
  const data = { model };
  if (!isHubId(model)) {
    throw new CheckpointError(
      `${asked}: there is no such directory${
        didYouMean(model)
      }; give ${MODEL_FILES}, or a model's id on the hub, owner/name.`,
      data,
    );
  }
  const fail = (what: string, more: Record<string, unknown> = {}): CheckpointError =>
    new CheckpointError(
      `${asked}: as a path, there is no such directory${didYouMean(model)}; as an id of the hub, ${what}. ` +
        `Mend one of them, or give ${MODEL_FILES}.`,
      { ...data, ...more },
    );
  const { endpoint, token, own, offline } = settings(model, environment, fail);
  const commit = knownCommit(own);
  const cached = commit === null ? null : snapshotOf(own, commit);
  const suffices = (dir: string): boolean =>
    only ? neededOf(only).every((name) => exists(`${dir}/${name}`)) : isComplete(dir);
  const isCached = cached !== null && suffices(cached);
  if (offline) {
    if (!isCached) throw fail(`${own} has no complete copy, while HF_HUB_OFFLINE forbids to download one`);
    return cached;
  }
  const access: HubAccess = { id: model, endpoint, token };
  try {
    return await fetchModel(access, own, { say, fail, suffices, only: only ?? null });
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    const status = statusOf(error);
    if (status !== null && status < 500) {
      throw fail(refusal(status, endpoint, token !== undefined), { endpoint, status });
    }
    const reason = reasonOf(error);
    if (isOfTheDisk(error)) throw error;
    if (isCached) {
      say(`${endpoint} cannot be reached (${reason}): using ${cached}, which may not be the newest`);
      return cached;
    }
    throw fail(
      `${endpoint} cannot be reached or broke off (${reason}); connect and run again, what was downloaded is kept`,
      { endpoint, reason },
    );
  }
}

type Fail = (what: string) => CheckpointError;

/** What the environment says of the hub; without leave to read it, nothing can be looked up. Throws what `fail` makes. */
function settings(model: string, environment: Environment, fail: Fail): {
  readonly endpoint: string;
  readonly token: string | undefined;
  /** Where the model is in the cache. */
  readonly own: string;
  readonly offline: boolean;
} {
  try {
    return {
      endpoint: (environment("HF_ENDPOINT") || PUBLIC_HUB).replace(/\/+$/, ""),
      token: environment("HF_TOKEN")?.trim() || undefined,
      own: modelCache(hubCache(environment), model),
      offline: ["1", "true", "yes", "on"].includes((environment("HF_HUB_OFFLINE") ?? "").toLowerCase()),
    };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    throw fail("it cannot be looked up without --allow-env and --allow-net");
  }
}

interface Fetching {
  readonly say: HubOptions["say"];
  readonly fail: Fail;
  /** Whether a directory has what is needed. */
  readonly suffices: (dir: string) => boolean;
  /** What is needed; null: all that a model has. */
  readonly only: Part | null;
}

function neededOf(only: Part | null): readonly string[] {
  return only === "config" ? NEEDED.slice(0, 1) : NEEDED;
}

/** Have the files of the branch's newest commit in the cache; their directory. */
async function fetchModel(
  access: HubAccess,
  own: string,
  { say, fail, suffices, only }: Fetching,
): Promise<string> {
  const { id, endpoint, token } = access;
  const { listFiles, modelInfo } = await import("@huggingface/hub");
  const credentials = { hubUrl: endpoint, ...(token === undefined ? {} : { accessToken: token }) };
  const { sha } = await modelInfo({ name: id, revision: BRANCH, additionalFields: ["sha"], ...credentials });
  if (!/^[0-9a-f]{40}$/.test(sha)) {
    throw fail(`${endpoint} names no commit of it, but ${JSON.stringify(sha)}`);
  }
  const dir = snapshotOf(own, sha);
  if (!suffices(dir)) {
    const files = new Map<string, RemoteFile>();
    for await (const file of listFiles({ repo: id, revision: sha, ...credentials })) {
      const hash = file.lfs?.oid ?? file.oid ?? "";
      if (file.type !== "file" || !/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(hash)) continue;
      files.set(file.path, { path: file.path, size: file.lfs?.size ?? file.size, hash });
    }
    const lacking = neededOf(only).find((name) => !files.has(name));
    if (lacking !== undefined) throw fail(`the model at ${endpoint} has no ${lacking}, which Gyre needs`);
    const take = async (names: readonly string[]): Promise<void> => {
      for (const name of names) {
        const file = files.get(name);
        if (!file) throw fail(`the model at ${endpoint} has no ${name}, which its index names`);
        await download({ ...access, commit: sha }, own, file, say);
        linkBlob(own, sha, name, file.hash);
      }
    };
    await take(only === "config" ? neededOf(only) : WANTED.filter((name) => files.has(name)));
    if (only) return dir;
    if (files.has("model.safetensors")) await take(["model.safetensors"]);
    else if (files.has(INDEX)) {
      await take([INDEX]);
      await take(shardsIn(`${dir}/${INDEX}`));
    } else {
      const pickle = [...files.keys()].find((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
      throw fail(
        pickle === undefined
          ? `the model at ${endpoint} has no model.safetensors`
          : `the model at ${endpoint} has its weights in ${pickle}, a pickle, which can run any code when it is read; ` +
            "choose a model with safetensors",
      );
    }
    say(`${id} is in ${dir}`);
  }
  noteCommit(own, sha);
  return dir;
}

/** A file as the hub lists it. */
export interface RemoteFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of the content, or git's SHA-1 of small files. */
  readonly hash: string;
}

function env(name: string): string | undefined {
  return Deno.env.get(name);
}

/** What went wrong, in short: `fetch` itself says little. */
function reasonOf(error: unknown): string {
  const { message, cause } = error instanceof Error ? error : new Error(String(error));
  const all = cause instanceof Error ? `${message}: ${cause.message}` : message;
  // The address is told already, and what is asked of it is long.
  return all.replace(/ for url \(\S*\)/, "");
}

/** The status of an answer that the hub's client took for an error; null for other errors. */
function statusOf(error: unknown): number | null {
  const status = (error as { readonly statusCode?: unknown } | null)?.statusCode;
  return typeof status === "number" ? status : null;
}

function refusal(status: number, endpoint: string, hasToken: boolean): string {
  if (status === 429) return `${endpoint} has too many requests at present (429); wait a little`;
  if (status === 404) return `${endpoint} knows no such model (404); mind the spelling`;
  return hasToken
    ? `${endpoint} refuses it to HF_TOKEN (${status}): there is no such model, or its terms were not accepted there`
    : `${endpoint} refuses it (${status}): there is no such model, or it needs a token; set HF_TOKEN`;
}
