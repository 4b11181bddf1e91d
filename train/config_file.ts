/** Flags in a file, JSON or TOML: what a person wrote down, or the `config.json` that a run left. @module */
import { OptionError } from "./errors.ts";
import { FLAGS } from "./flags.ts";
import { readJson, readSettingsText } from "./json_file.ts";
import { nearest } from "./nearest.ts";
import { flagName } from "./parse_flags.ts";

/** What `config.json` says beside what can be asked for: which processor it was, and that it was no call for help. */
const NOTES: ReadonlySet<string> = new Set(["adapter_name", "help"]);

/** Flags as on the command line. A toggle that is off and what is not given are left out. */
export function flagsOfOptions(options: Iterable<readonly [key: string, value: unknown]>): string[] {
  return [...options].flatMap(([key, value]) => {
    // An expression stands for its method.
    if (value === false || (key === "method" && value === "compose")) return [];
    const flag = `--${flagName(key)}`;
    if (value === null) return key === "eval" ? [`${flag}=none`] : [];
    return [value === true ? flag : `${flag}=${value}`];
  });
}

/**
 * Read a file of flags: an object, or TOML without sections, whose keys are flags as `orthogonal-lr`, `orthogonal_lr` or
 * `orthogonalLr`; lists stand for words with commas between. Throws OptionError naming file, key and value.
 */
export async function readFlagsFile(file: string): Promise<string[]> {
  const json = await readTable(file);
  const bad = (what: string, data: Record<string, unknown> = {}): OptionError =>
    new OptionError(`${file}: ${what}${what.endsWith("?") ? "" : "."}`, { file, ...data });
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw bad("expected an object of flags");
  }
  const flags = new Map(Object.keys(FLAGS).map((key) => [flagName(key), key as keyof typeof FLAGS] as const));
  const given = new Map<string, unknown>();
  for (const [name, value] of Object.entries(json)) {
    if (NOTES.has(name)) continue;
    const flag = flagName(name).replaceAll("_", "-"), key = flags.get(flag);
    if (key === "config") {
      throw bad(`"${name}" is for the command line alone: one file of flags names no other`, { name });
    }
    if (key === undefined) {
      const near = nearest(flag, [...flags.keys()]);
      throw bad(`there is no flag "${name}"${near === null ? "; see --help" : `; did you mean ${near}?`}`, {
        name,
      });
    }
    if (given.has(key)) throw bad(`"${name}" is there twice, written differently`, { name });
    given.set(
      key,
      valueOf(value, FLAGS[key].value === null, (what) => bad(`${name} ${what}`, { name, value })),
    );
  }
  return flagsOfOptions(given);
}

/** A value that the command line could have given; null: not given. */
function valueOf(value: unknown, isToggle: boolean, bad: (what: string) => OptionError): unknown {
  if (value === null) return null;
  if (isToggle) {
    if (typeof value === "boolean") return value;
    throw bad(`is ${JSON.stringify(value)}; expected true or false`);
  }
  if (Array.isArray(value) && value.every((v) => typeof v === "string")) return value.join(",");
  if (typeof value === "string" || typeof value === "number") return value;
  throw bad(
    typeof value === "object"
      ? "is a section; expected flags without sections"
      : `is ${value}; expected a value`,
  );
}

async function readTable(file: string): Promise<unknown> {
  const missing = "give a JSON or TOML file of flags";
  if (/\.json$/i.test(file)) return readJson(file, OptionError, missing);
  if (!/\.toml$/i.test(file)) {
    throw new OptionError(`${file}: expected a name that ends in .json or .toml.`, { file });
  }
  const text = readSettingsText(file, OptionError, missing);
  const { parse, TomlError } = await import("smol-toml");
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const why = error.message.split("\n")[0]!.replace(/^Invalid TOML document: /, "");
    throw new OptionError(`${file}:${error.line}: not TOML (${why}).`, { file, line: error.line });
  }
}
