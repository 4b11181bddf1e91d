/**
 * Command-line flags under the name and signature of `jsr:@std/cli/parse-args`, over the built-in `node:util`: the part
 * of it that Gyre uses. `deno add jsr:@std/cli` rebinds the name to the original; nothing else changes.
 * @module
 */
import { parseArgs as tokenise } from "node:util";

/** What flags there are. */
export interface ParseOptions<S extends string, B extends string, C extends string, D> {
  /** Flags that take a value. */
  readonly string?: readonly S[];
  /** Flags that are true when given, false when not. */
  readonly boolean?: readonly B[];
  /** Flags that may be given several times; their values become an array. */
  readonly collect?: readonly C[];
  /** Boolean flags that `--no-<flag>` sets to false. */
  readonly negatable?: readonly string[];
  /** Values of flags that were not given. */
  readonly default?: D;
  /** Other names of flags: flag → names. */
  readonly alias?: Readonly<Record<string, string | readonly string[]>>;
  /** Called for each argument that is no known flag; when it returns false the argument is left out of the result. */
  readonly unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

type Value<K, C> = K extends C ? string[] : string;

/** Flags by name; arguments that are no flags are in `_`. */
export type Args<S extends string, B extends string, C extends string, D> =
  & { _: (string | number)[]; [name: string]: unknown }
  & { [K in Exclude<S, keyof D>]?: Value<K, C> }
  & { [K in Extract<S, keyof D>]: Value<K, C> | D[K] }
  & { [K in B]: boolean };

function guess(value: string): string | number {
  return value.trim() !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
}

/** Split command-line arguments into flags and the rest. A flag's value is the next argument unless that starts with "-". */
export function parseArgs<
  S extends string = never,
  B extends string = never,
  C extends string = never,
  D extends Readonly<Record<string, unknown>> = Record<never, never>,
>(args: string[], options: ParseOptions<S, B, C, D> = {}): Args<S, B, C, D> {
  const strings = new Set<string>(options.string), booleans = new Set<string>(options.boolean);
  const collect = new Set<string>(options.collect), negatable = new Set(options.negatable);
  const groups = Object.entries(options.alias ?? {}).map(([flag, others]) => [flag, others].flat());
  const namesOf = (flag: string): readonly string[] => groups.find((g) => g.includes(flag)) ?? [flag];
  const within = (set: ReadonlySet<string>, flag: string): boolean => namesOf(flag).some((n) => set.has(n));
  const known = (flag: string): boolean =>
    within(strings, flag) || within(booleans, flag) || within(collect, flag) || namesOf(flag).length > 1;

  const flags: Record<string, unknown> = {};
  const rest: (string | number)[] = [];
  const set = (flag: string, value: unknown): void => {
    const old = flags[flag];
    const next = within(collect, flag) ? [...(Array.isArray(old) ? old : []), value] : value;
    for (const name of namesOf(flag)) flags[name] = next;
  };

  const { tokens } = tokenise({ args, options: {}, strict: false, allowPositionals: true, tokens: true });
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!;
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional") {
      if (options.unknown?.(token.value) !== false) {
        rest.push(strings.has("_") ? token.value : guess(token.value));
      }
      continue;
    }
    const positive = token.name.replace(/^no-/, "");
    if (positive !== token.name && within(negatable, positive)) {
      set(positive, false);
      continue;
    }
    const isBoolean = within(booleans, token.name), isString = within(strings, token.name);
    const next = tokens[i + 1];
    let text = token.value;
    if (text === undefined && next?.kind === "positional" && next.index === token.index + 1) {
      if (!isBoolean || /^(true|false)$/.test(next.value)) {
        text = next.value;
        i++;
      }
    }
    const value = isBoolean
      ? text !== "false"
      : isString
      ? text ?? ""
      : text === undefined
      ? true
      : guess(text);
    if (!known(token.name) && options.unknown?.(args[token.index]!, token.name, value) === false) continue;
    set(token.name, value);
  }

  for (const [flag, value] of Object.entries(options.default ?? {})) {
    for (const name of namesOf(flag)) flags[name] ??= value;
  }
  for (const flag of booleans) for (const name of namesOf(flag)) flags[name] ??= false;
  for (const flag of collect) for (const name of namesOf(flag)) flags[name] ??= [];
  // The result is a record built by name; its type follows the options.
  return { ...flags, _: rest } as Args<S, B, C, D>;
}
