/** The flags of `inspect.ts`. @module */
import { OptionError } from "../errors.ts";
import { helpOf, parseFlags, type TableOf, takeWords, toggle } from "../parse_flags.ts";

/** How something is shown. */
export interface InspectFlags {
  readonly tensors: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

/** {@linkcode InspectFlags}, and what is looked at. */
export interface InspectOptions extends InspectFlags {
  readonly path: string;
}

const INSPECT_FLAGS: TableOf<InspectFlags, { readonly root: string }> = {
  tensors: toggle("list every tensor: type, shape, parameters, norm, largest size"),
  json: toggle("print all of it as JSON on standard output"),
  help: toggle("show this text"),
};

/** Understand the command line of `inspect.ts`; null: help is wanted. Throws OptionError. */
export function parseInspectFlags(argv: readonly string[]): InspectOptions | null {
  const { words: [path, second], flags } = takeWords(INSPECT_FLAGS, argv);
  const options = parseFlags<InspectFlags, { readonly root: string }>(INSPECT_FLAGS, flags, { root: "" });
  if (options.help) return null;
  if (path === undefined) throw new OptionError("There is nothing to look at: give a directory.", {});
  if (second !== undefined) {
    throw new OptionError(`"${second}" is one path too many: look at one directory at a time.`, { second });
  }
  return { ...options, path };
}

/** The text of `--help`. */
export function inspectHelp(): string {
  return helpOf(
    "Look at a model, an adapter (Gyre's or PEFT's), a checkpoint, a run or a safetensors file:\n" +
      "  deno run -A inspect.ts PATH [flags]",
    INSPECT_FLAGS,
    ["deno run -A inspect.ts runs/a", "deno run -A inspect.ts SmolLM2-135M --tensors"],
  );
}
