/**
 * Plans that were made before: in this process, and in files of the user's cache directory, so that a second start does
 * not plan again. A plan depends on its graph, on what the compiler may do, and on the compiler, and on nothing else; the
 * name of its file is a digest of all three. @module
 */
import { createHash } from "node:crypto";
import { type Plan, planOf, type PlanRequest, readPlan, showRequest, writePlan } from "../core/mod.ts";
import { exists, writeTextAtomically } from "./atomic_file.ts";
import type { Environment } from "./hub_cache.ts";

/** Nodes of a graph from which on a file is faster than planning. */
const LEAST_NODES = 200;
/** Plans that are kept in memory. */
const IN_MEMORY = 16;
/** Bytes that all files together may have; the ones that were used longest ago go first. */
const MOST_BYTES = 64 * 2 ** 20;

/** Where files are, and whom to tell what goes wrong with them. */
export interface PlanFiles {
  readonly dir: string;
  /** Digest of the compiler. */
  readonly compiler: string;
  readonly say: (line: string) => void;
  /** Default 64 MiB. */
  readonly mostBytes?: number;
}

/** Makes plans, or knows them. */
export class PlanStore {
  readonly #plans = new Map<string, Plan>();
  readonly #files: PlanFiles | null;
  #isClosed = false;

  /** Without files plans are kept in memory alone. */
  constructor(files: PlanFiles | null = null) {
    this.#files = files;
  }

  /** The plan of a request. */
  plan(request: PlanRequest): Plan {
    const key = createHash("sha256").update(`${this.#files?.compiler}\n${showRequest(request)}`).digest(
      "hex",
    );
    const isLarge = request.program.nodes.length >= LEAST_NODES;
    const known = this.#plans.get(key) ?? (isLarge ? this.#read(key) : null);
    const plan = known ?? planOf(request);
    this.#plans.delete(key);
    this.#plans.set(key, plan);
    const [oldest] = this.#plans.keys();
    if (this.#plans.size > IN_MEMORY && oldest !== undefined) this.#plans.delete(oldest);
    if (!known && isLarge) this.#write(key, plan);
    return plan;
  }

  #path(key: string): string {
    return `${this.#files!.dir}/${key}.plan`;
  }

  #read(key: string): Plan | null {
    if (!this.#files || this.#isClosed) return null;
    const path = this.#path(key);
    let text: string;
    try {
      text = Deno.readTextFileSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) this.#close(error);
      return null;
    }
    const end = text.indexOf("\n"), body = text.slice(end + 1);
    if (text.slice(0, Math.max(0, end)) === digestOf(body)) {
      try {
        const plan = readPlan(body);
        this.#touch(path);
        return plan;
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
      }
    }
    this.#files.say(`${path}: damaged; the plan is made anew.`);
    return null;
  }

  /** Note that a file was used. */
  #touch(path: string): void {
    try {
      Deno.utimeSync(path, new Date(), new Date());
    } catch (error) {
      // A cache that others own is good to read from.
      if (!isRefusal(error)) throw error;
    }
  }

  #write(key: string, plan: Plan): void {
    if (!this.#files || this.#isClosed) return;
    try {
      Deno.mkdirSync(this.#files.dir, { recursive: true });
      const body = writePlan(plan);
      writeTextAtomically(this.#path(key), `${digestOf(body)}\n${body}`);
      this.#bound();
    } catch (error) {
      this.#close(error);
    }
  }

  /** Remove files until the rest is within bounds; other processes may do the same. */
  #bound(): void {
    const { dir, mostBytes = MOST_BYTES } = this.#files!;
    const files = [...Deno.readDirSync(dir)].filter(({ name }) => /\.plan(\.|$)/.test(name)).flatMap(
      ({ name }) => {
        const path = `${dir}/${name}`, found = unlessGone(() => Deno.statSync(path));
        return found ? [{ path, size: found.size, used: found.mtime?.getTime() ?? 0 }] : [];
      },
    ).sort((a, b) => b.used - a.used);
    let bytes = 0;
    for (const { path, size } of files) {
      bytes += size;
      if (bytes > mostBytes) unlessGone(() => Deno.removeSync(path));
    }
  }

  /** Go on without files: said once. */
  #close(error: unknown): void {
    if (!isRefusal(error)) throw error;
    this.#isClosed = true;
    this.#files!.say(
      `${this.#files!.dir}: plans are not kept there (${error.message}); --no-cache does without, ` +
        "GYRE_CACHE names another place.",
    );
  }
}

function unlessGone<T>(use: () => T): T | null {
  try {
    return use();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Whether the file system, or a permission, refused, or another process was faster. */
export function isRefusal(error: unknown): error is Error {
  return error instanceof Error &&
    (/\(os error \d+\)/.test(error.message) || error instanceof Deno.errors.NotCapable ||
      error instanceof Deno.errors.NotADirectory || error.name === "WriteError");
}

/** Variables that say where the user's caches are. */
const VARIABLES = ["GYRE_CACHE", "HOME", "USERPROFILE", "XDG_CACHE_HOME"];

/** Gyre's cache directory: GYRE_CACHE, or `gyre` in the user's; null where there is none. */
export function cacheDirectory(environment: Environment): string | null {
  const value = (name: string): string | undefined => environment(name) || undefined;
  const home = value("HOME") ?? value("USERPROFILE");
  const caches = value("XDG_CACHE_HOME") ?? (home && `${home}/.cache`);
  return value("GYRE_CACHE") ?? (caches === undefined ? null : `${caches}/gyre`);
}

/** {@linkcode cacheDirectory} where the environment may be read, and files there read and written, without asking; else null. */
export function usableCache(): string | null {
  const may = (descriptor: Deno.PermissionDescriptor): boolean =>
    Deno.permissions.querySync(descriptor).state === "granted";
  if (!VARIABLES.every((variable) => may({ name: "env", variable }))) return null;
  const dir = cacheDirectory((name) => Deno.env.get(name));
  return dir !== null && may({ name: "read", path: dir }) && may({ name: "write", path: dir }) ? dir : null;
}

/**
 * The store of a program: with files where environment, reading and writing are allowed without asking, and the
 * compiler's own sources can be read, else without.
 */
export function openPlanStore(say: (line: string) => void): PlanStore {
  const cache = usableCache(), compiler = cache === null ? null : compilerDigest();
  return new PlanStore(compiler === null ? null : { dir: `${cache}/plans`, compiler, say });
}

/** Directories whose sources decide what plan comes of a graph. */
const SOURCES = ["core", "ops", "adapters"];

/** Digest of the compiler's sources; null where they are not files that may be read. */
export function compilerDigest(): string | null {
  const root = new URL("../", import.meta.url);
  if (root.protocol !== "file:") return null;
  const hash = createHash("sha256").update(Deno.version.deno);
  const visit = (dir: URL): void => {
    const entries = [...Deno.readDirSync(dir)].sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { name, isDirectory } of entries) {
      if (isDirectory) visit(new URL(`${name}/`, dir));
      else if (name.endsWith(".ts")) hash.update(name).update(Deno.readFileSync(new URL(name, dir)));
    }
  };
  for (const name of SOURCES) {
    const dir = new URL(`${name}/`, root);
    if (
      !exists(dir.pathname) || Deno.permissions.querySync({ name: "read", path: dir }).state !== "granted"
    ) {
      return null;
    }
    visit(dir);
  }
  return hash.digest("hex");
}
