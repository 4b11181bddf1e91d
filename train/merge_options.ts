/** The flags of `merge.ts`. @module */
import * as Either from "fp-ts/Either.js";
import { type DeviceChoice, DEVICES } from "./devices.ts";
import { OptionError } from "./errors.ts";
import type { ModelDType } from "./model_directory.ts";
import { flag, helpOf, optional, parseFlags, type TableOf, toggle } from "./parse_flags.ts";
import { oneOf } from "./readers.ts";

/** What is merged, and into what. */
export interface MergeFlags {
  readonly adapter: string | null;
  /** Null: the model that the adapter names. */
  readonly model: string | null;
  readonly out: string | null;
  readonly dtype: ModelDType;
  readonly device: DeviceChoice;
  readonly json: boolean;
  readonly help: boolean;
}

/** {@linkcode MergeFlags} with what a merge needs. */
export interface MergeOptions extends MergeFlags {
  readonly adapter: string;
  readonly out: string;
}

type Site = { readonly root: string };

const MERGE_FLAGS: TableOf<MergeFlags, Site> = {
  adapter: optional(
    "DIR",
    (t) => Either.right(t),
    "needed",
    "adapter that a run left, or a directory of Hugging Face PEFT",
  ),
  model: optional(
    "DIR",
    (t) => Either.right(t),
    "the one that the adapter names",
    "model directory in the Hugging Face layout, or id of its hub, that the adapter was trained on",
  ),
  out: optional("DIR", (t) => Either.right(t), "needed", "directory for the model; must be new or empty"),
  dtype: flag(
    "NAME",
    oneOf("f32", "f16", "bf16"),
    "f32",
    "element type of the written weights: f32, f16 or bf16",
  ),
  device: flag("NAME", oneOf(...DEVICES), "cpu", `${DEVICES.slice(0, -1).join(", ")} or ${DEVICES.at(-1)}`),
  json: toggle('print {"out", "model", "merged", "bytes", "infinite"} as JSON on standard output'),
  help: toggle("show this text"),
};

/** Understand the command line of `merge.ts`; null: help is wanted. Throws OptionError. */
export function parseMergeFlags(argv: readonly string[]): MergeOptions | null {
  const options = parseFlags<MergeFlags, Site>(MERGE_FLAGS, argv, { root: "" });
  if (options.help) return null;
  const { adapter, out } = options;
  if (adapter === null) throw new OptionError("There is nothing to merge: give --adapter DIR.", {});
  if (out === null) throw new OptionError("There is no place for the model: give --out DIR.", {});
  return { ...options, adapter, out };
}

/** The text of `--help`. */
export function mergeHelp(): string {
  return helpOf(
    "Merge an adapter into its model: deno run -A merge.ts --adapter DIR --out DIR [flags]",
    MERGE_FLAGS,
    [
      "deno run -A merge.ts --adapter runs/a/adapter --out merged",
      "deno run -A merge.ts --adapter peft-dir --model SmolLM2-135M --out merged --dtype bf16",
    ],
  );
}
