/** Command lines from tables of flags: parsing, messages, `--help`. @module */
import { parseArgs } from "@std/cli/parse-args";
import * as Either from "fp-ts/Either.js";
import { OptionError } from "./errors.ts";
import { nearest } from "./nearest.ts";
import type { Read } from "./readers.ts";

/** A flag of a program with options `O`, whose defaults may depend on `S`. */
export interface FlagOf<T, O, S> {
  /** Begins a section of the help. */
  readonly section?: string;
  /** What the value is called; null for flags without a value. */
  readonly value: string | null;
  readonly help: string;
  readonly read: Read<T>;
  /** Set where the flag may be given several times: joins the values of two. */
  readonly join?: (earlier: T, later: T) => T;
  /** The value when the flag is not given; may ask for other flags, but not in a circle. */
  readonly absent: (get: GetOf<O>, site: S) => T;
  /** The default, for the help. */
  readonly shown: string;
}

/** The value of another flag. */
export type GetOf<O> = <K extends keyof O>(key: K) => O[K];

/** A flag for each option. */
export type TableOf<O, S> = { readonly [K in keyof O]: FlagOf<O[K], O, S> };

/** `orthogonalLr` → `orthogonal-lr`. */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
}

/** Whether a command line has the flag `name`, as `--rank`. */
export function isGiven(argv: readonly string[], name: string): boolean {
  return argv.some((arg) => arg === name || arg.startsWith(`${name}=`));
}

type Entry<O, S> = readonly [name: string, key: keyof O & string, flag: FlagOf<unknown, O, S>];

function entriesOf<O, S>(table: TableOf<O, S>): readonly Entry<O, S>[] {
  // Each flag reads and joins its own values alone, whatever their type.
  return Object.entries(table).map(([key, flag]) =>
    [flagName(key), key as keyof O & string, flag as FlagOf<unknown, O, S>] as const
  );
}

/** A command line's words that are no flags and no values of flags, and the rest. */
export function takeWords<O, S>(
  table: TableOf<O, S>,
  argv: readonly string[],
): { readonly words: readonly string[]; readonly flags: readonly string[] } {
  const valued = entriesOf(table).filter(([, , f]) => f.value !== null).map(([name]) => `--${name}`);
  const isValue = (i: number): boolean => i > 0 && valued.includes(argv[i - 1]!);
  const isWord = argv.map((arg, i) => !isValue(i) && !/^-./.test(arg));
  return { words: argv.filter((_, i) => isWord[i]), flags: argv.filter((_, i) => !isWord[i]) };
}

/** Understand a command line. Throws OptionError: the flag, its value, what was expected. */
export function parseFlags<O, S>(table: TableOf<O, S>, argv: readonly string[], site: S): O {
  const entries = entriesOf(table);
  const valued = entries.filter(([, , f]) => f.value !== null).map(([name]) => name);
  const toggles = entries.filter(([, , f]) => f.value === null).map(([name]) => name);
  for (const arg of argv) {
    const [name, value] = arg.split("=", 2);
    if (value !== undefined && toggles.some((t) => name === `--${t}`)) {
      throw new OptionError(`${name} takes no value: leave out "=${value}".`, { flag: name, value });
    }
  }
  const given = parseArgs(joinNegative(argv, valued), {
    string: valued,
    boolean: toggles,
    collect: entries.filter(([, , f]) => f.join).map(([name]) => name),
    alias: { help: "h" },
    unknown: (arg, key) => refuse(arg, key, entries.map(([name]) => name)),
  });
  const values = new Map<keyof O, unknown>();
  for (const [name, key, f] of entries) {
    const found: unknown = given[name];
    const { join } = f;
    if (f.value === null && found === true) values.set(key, true);
    else if (typeof found === "string") values.set(key, readValue(name, f, found));
    else if (join && Array.isArray(found) && found.length > 0) {
      values.set(key, found.map((text) => readValue(name, f, String(text))).reduce(join));
    }
  }
  const get: GetOf<O> = (key) => {
    if (!values.has(key)) values.set(key, table[key].absent(get, site));
    // The table's type ties each key to its reader.
    return values.get(key) as O[typeof key];
  };
  return Object.fromEntries(entries.map(([, key]) => [key, get(key)])) as O;
}

function readValue<T, O, S>(name: string, { read, value }: FlagOf<T, O, S>, found: string): T {
  const fail = (problem: string) =>
    new OptionError(problem.replace(/[.?]?$/, (end) => end || "."), { flag: name, value: found });
  if (found === "") throw fail(`--${name} needs a value: --${name} ${value}`);
  const result = read(found);
  if (Either.isRight(result)) return result.right;
  throw fail(`--${name} is "${found}": give ${result.left}`);
}

function refuse(arg: string, key: string | undefined, names: readonly string[]): never {
  if (key === undefined) {
    throw new OptionError(`"${arg}" is not a flag: values follow their flag, see --help.`, { arg });
  }
  const near = nearest(key, names);
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

/** The text of `--help`: `title`, then a line a flag, then examples of use. */
export function helpOf<O, S>(title: string, table: TableOf<O, S>, examples: readonly string[] = []): string {
  const entries = entriesOf(table);
  const usages = entries.map(([name, , { value }]) => value === null ? `--${name}` : `--${name} ${value}`);
  const pad = Math.max(...usages.map((u) => u.length));
  const lines = entries.flatMap(([, , { section, help, shown }], i) => [
    ...(section === undefined ? [] : ["", `${section}:`]),
    `  ${usages[i]!.padEnd(pad)}  ${help}${shown === "" ? "" : ` [${shown}]`}`,
  ]);
  const uses = examples.length === 0 ? [] : ["", "Examples:", ...examples.map((line) => `  ${line}`)];
  return [title, ...lines, ...uses, ""].join("\n");
}

/** A flag whose default is fixed, or follows from where the program runs. */
export interface PlainFlag<T> {
  readonly section?: string;
  readonly value: string | null;
  readonly help: string;
  readonly read: Read<T>;
  readonly absent: (get: unknown, site: { readonly root: string }) => T;
  readonly shown: string;
}

/** A flag with a fixed default. */
export function flag<T extends string | number>(
  value: string,
  read: Read<T>,
  absent: T,
  help: string,
): PlainFlag<T> {
  return { value, read, help, absent: () => absent, shown: String(absent) };
}

/** A flag whose default is a path within the repository. */
export function bundled(value: string, path: string, help: string): PlainFlag<string> {
  return {
    value,
    read: (t) => Either.right(t),
    help,
    absent: (_, { root }) => `${root}/${path}`,
    shown: path,
  };
}

/** A flag that is null when it is not given. */
export function optional<T>(value: string, read: Read<T>, shown: string, help: string): PlainFlag<T | null> {
  return { value, read, help, absent: () => null, shown };
}

/** A flag without a value. */
export function toggle(help: string): PlainFlag<boolean> {
  return { value: null, read: () => Either.right(true), help, absent: () => false, shown: "" };
}
