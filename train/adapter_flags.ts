/** Flags beside `--adapter`: what it was made with stands, and what would make it another adapter is refused. @module */
import { ownOptions } from "./adapter_directory.ts";
import { type AdapterSettings, DEFAULT_SETTINGS } from "./adapter_specs.ts";
import { flagsOfOptions } from "./config_file.ts";
import { OptionError } from "./errors.ts";
import { METHOD_FLAGS } from "./flags/method.ts";
import { type MethodOptions, settingsUsed } from "./methods.ts";
import { readOptions, type Site } from "./options.ts";
import { flagName, isGiven } from "./parse_flags.ts";

/** Flags of a file, each one word, and those of the command line, which win. */
export interface Asked {
  readonly standing: readonly string[];
  readonly given: readonly string[];
}

type Key = keyof typeof METHOD_FLAGS;

const KEYS = Object.keys(METHOD_FLAGS) as Key[];

/**
 * One command line, with the settings of the adapter that the run goes on with, where there is one. Those that were asked
 * for must be the same; a file may also name defaults, as the `config.json` of any run does. Throws OptionError with both
 * flags, and AdapterError.
 */
export function withAdapter({ standing, given }: Asked, site: Site): readonly string[] {
  const all = [...standing, ...given], options = readOptions(all, site), { adapter, config } = options;
  if (adapter === null) return all;
  const own = ownOptions(adapter);
  for (const key of KEYS) {
    const name = `--${flagName(key)}`, isTyped = isGiven(given, name);
    if (!isTyped && !isGiven(standing, name)) continue;
    if (own && key in own && (own[key as keyof MethodOptions] ?? null) === options[key]) continue;
    const others = [...standing.filter((flag) => !isGiven([flag], name)), ...given];
    if (!isTyped && readOptions(others, site)[key] === options[key]) continue;
    const from = isTyped ? "" : ` in ${config}`;
    throw new OptionError(
      `${name}${options[key] === true ? "" : ` is ${options[key]}`}${from} beside --adapter ${adapter}, ` +
        `${reasonOf(key, own)}: leave out ${name} to go on with it, or --adapter to begin anew.`,
      { [key]: options[key], adapter },
    );
  }
  return [
    ...standing.filter((flag) => !KEYS.some((key) => isGiven([flag], `--${flagName(key)}`))),
    ...given,
    ...flagsOfOptions(
      KEYS.flatMap((key) => own && key in own ? [[key, own[key as keyof MethodOptions]]] : []),
    ),
  ];
}

/**
 * What to say of settings that were typed for a method that does not use them; null without any. They are not refused, since
 * methods are compared with one set of flags.
 */
export function unusedFlags({ method }: MethodOptions, given: readonly string[]): string | null {
  const used = settingsUsed(method);
  const idle = Object.keys(DEFAULT_SETTINGS).filter((key) => !used.includes(key as keyof AdapterSettings))
    .map((key) => `--${flagName(key)}`).filter((name) => isGiven(given, name));
  return idle.length === 0 ? null : `note: --method ${method} does not use ${idle.join(", ")}`;
}

/** Why an adapter does not take a setting. */
function reasonOf(key: Key, own: MethodOptions | null): string {
  if (key === "startBatches") return "which does not start anew";
  if (own === null) return "a directory of Hugging Face PEFT, whose files say what it is";
  const value = own[key as keyof MethodOptions] ?? null, used: readonly string[] = settingsUsed(own.method);
  const isSetting = !["method", "compose", "target", "saveModules"].includes(key);
  if (value === null || value === false || (isSetting && !used.includes(key))) {
    return `which was made by ${own.method} without it`;
  }
  return `which was made with ${value}`;
}
