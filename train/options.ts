/** The command line of `train.ts`: parsing, validation and `--help`, all from the table of flags. @module */
import { parseArgs } from "@std/cli/parse-args";
import * as Either from "fp-ts/Either.js";
import { ShapeError } from "../core/mod.ts";
import { type AdapterName, ADAPTERS } from "./adapter_specs.ts";
import { composedPlacements } from "./compose_adapters.ts";
import { OptionError } from "./errors.ts";
import { type Flag, FLAGS, type Get, type Site, type TrainOptions } from "./flags.ts";
import { nearest } from "./nearest.ts";

export type { MethodName, Site, TrainOptions } from "./flags.ts";

/** `orthogonalLr` → `orthogonal-lr`. */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
}

const ENTRIES: readonly (readonly [name: string, key: keyof TrainOptions, flag: Flag<unknown>])[] =
  (Object.keys(FLAGS) as (keyof TrainOptions)[]).map((key) => [flagName(key), key, FLAGS[key]]);

/** Understand the command line. Throws OptionError: the flag, its value, what was expected. */
export function parseOptions(argv: readonly string[], site: Site): TrainOptions {
  const options = readOptions(argv, site);
  checkTogether(options);
  return options;
}

/** {@linkcode parseOptions} without a look at whether the values go together. */
export function readOptions(argv: readonly string[], site: Site): TrainOptions {
  const valued = ENTRIES.filter(([, , f]) => f.value !== null).map(([name]) => name);
  const toggles = ENTRIES.filter(([, , f]) => f.value === null).map(([name]) => name);
  for (const arg of argv) {
    const [name, value] = arg.split("=", 2);
    if (value !== undefined && toggles.some((t) => name === `--${t}`)) {
      throw new OptionError(`${name} takes no value: leave out "=${value}".`, { flag: name, value });
    }
  }
  const given = parseArgs(joinNegative(argv, valued), {
    string: valued,
    boolean: toggles,
    alias: { help: "h" },
    unknown: (arg, key) => refuse(arg, key),
  });
  const values = new Map<keyof TrainOptions, unknown>();
  for (const [name, key, f] of ENTRIES) {
    const found = given[name];
    if (f.value === null && found === true) values.set(key, true);
    else if (typeof found === "string") values.set(key, readValue(name, f, found));
  }
  const get: Get = (key) => {
    if (!values.has(key)) values.set(key, FLAGS[key].absent(get, site));
    // The table's type ties each key to its reader.
    return values.get(key) as TrainOptions[typeof key];
  };
  return Object.fromEntries(ENTRIES.map(([, key]) => [key, get(key)])) as unknown as TrainOptions;
}

/** Refuse values that do not go together, and expressions with a mistake. */
function checkTogether(options: TrainOptions): void {
  const { batch, accumulate, compose, method, saveModules, target } = options;
  if (batch % accumulate !== 0) {
    throw new OptionError(
      `--batch ${batch} cannot be cut into --accumulate ${accumulate} equal parts: give a multiple of ${accumulate}.`,
      { batch, accumulate },
    );
  }
  if (compose !== null) {
    if (method !== "compose") {
      throw new OptionError(`--compose takes the place of --method ${method}: give one of the two.`, {
        method,
      });
    }
    composedPlacements(compose, options, target);
  }
  if (method !== "full" && method !== "compose") requireMade(method, options);
  if (saveModules !== null && method === "full") {
    throw new OptionError(
      `--save-modules ${saveModules} is for adapters: --method full trains all weights, leave it out.`,
      { saveModules },
    );
  }
}

/** Refuse settings that no map can have, such as a space that a branch has no scale for. */
function requireMade(method: AdapterName, options: TrainOptions): void {
  try {
    ADAPTERS[method].make(options)({ inDim: 1024, outDim: 1024 });
  } catch (error) {
    if (error instanceof TypeError) throw new OptionError(`--method ${method}: ${error.message}`, { method });
    // Sizes are those of the model's maps, which are not known here.
    if (!(error instanceof ShapeError)) throw error;
  }
}

function readValue<T>(name: string, { read, value }: Flag<T>, found: string): T {
  const fail = (problem: string) =>
    new OptionError(problem.replace(/[.?]?$/, (end) => end || "."), { flag: name, value: found });
  if (found === "") throw fail(`--${name} needs a value: --${name} ${value}`);
  const result = read(found);
  if (Either.isRight(result)) return result.right;
  throw fail(`--${name} is "${found}": give ${result.left}`);
}

function refuse(arg: string, key: string | undefined): never {
  if (key === undefined) {
    throw new OptionError(`"${arg}" is not a flag: values follow their flag, see --help.`, { arg });
  }
  const near = nearest(key, ENTRIES.map(([name]) => name));
  throw new OptionError(
    `There is no flag ${arg.split("=")[0]}: ${near === null ? "see --help." : `did you mean --${near}?`}`,
    { flag: key },
  );
}

/** `--rank -4` → `--rank=-4`: otherwise -4 would be taken for a flag, and the message would be about that. */
function joinNegative(argv: readonly string[], valued: readonly string[]): string[] {
  const joined: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i]!, next = argv[i + 1];
    const takes = valued.some((name) => arg === `--${name}`);
    if (takes && next !== undefined && /^-\.?\d/.test(next)) {
      joined.push(`${arg}=${next}`);
      i++;
    } else joined.push(arg);
  }
  return joined;
}

/** The text of `--help`. */
export function helpText(): string {
  const usages = ENTRIES.map(([name, , { value }]) => value === null ? `--${name}` : `--${name} ${value}`);
  const pad = Math.max(...usages.map((u) => u.length));
  const lines = ENTRIES.flatMap(([, , { section, help, shown }], i) => [
    ...(section === undefined ? [] : ["", `${section}:`]),
    `  ${usages[i]!.padEnd(pad)}  ${help}${shown === "" ? "" : ` [${shown}]`}`,
  ]);
  return ["Fine-tune a language model: deno run -A train.ts [flags]", ...lines, ""].join("\n");
}
