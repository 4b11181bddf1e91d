/** The flags of `examples/pretrain.ts`. @module */
import { type DeviceChoice, DEVICES } from "../../train/devices.ts";
import { OptionError } from "../../train/errors.ts";
import {
  bundled,
  flag,
  helpOf,
  optional,
  parseFlags,
  type PlainFlag,
  type TableOf,
  toggle,
} from "../../train/parse_flags.ts";
import { above0, oneOf, text, whole } from "../../train/readers.ts";
import { type GivenSizes, type Sizes, sizesOf } from "./config.ts";

interface PretrainFlags extends GivenSizes {
  readonly out: string | null;
  readonly tokenizer: string;
  readonly steps: number;
  /** Null: no limit. */
  readonly seconds: number | null;
  readonly batch: number;
  readonly seq: number;
  /** Largest learning rate. */
  readonly lr: number;
  readonly seed: number;
  readonly device: DeviceChoice;
  readonly help: boolean;
}

/** What is pretrained, and how. */
export interface PretrainOptions extends Omit<PretrainFlags, keyof GivenSizes | "help"> {
  readonly out: string;
  /** Of a new model; null: `config.json` in `out` says them. */
  readonly sizes: Sizes | null;
}

type Site = { readonly root: string };

function size(shown: string, help: string): PlainFlag<number | null> {
  return optional("N", whole(1), shown, help);
}

const FLAGS: TableOf<PretrainFlags, Site> = {
  out: optional(
    "DIR",
    text,
    "needed",
    "directory of the model: the weights are written there; without sizes its config.json and tokenizer are read",
  ),
  steps: {
    value: "N",
    read: whole(1),
    help: "optimiser steps",
    absent: (get) => get("seconds") === null ? 3000 : 1_000_000,
    shown: "3000, with --seconds as many as there is time for",
    section: "Training",
  },
  seconds: optional("X", above0, "no limit", "time to train; the learning rate falls with the clock then"),
  batch: flag("N", whole(1), 32, "rows of a step"),
  seq: flag("N", whole(2), 128, "positions of a row"),
  lr: flag("X", above0, 3e-3, "largest learning rate"),
  seed: flag("N", whole(0, 2 ** 32 - 1), 1, "decides the text and the initial weights"),
  device: flag("NAME", oneOf(...DEVICES), "auto", `${DEVICES.slice(0, -1).join(", ")} or ${DEVICES.at(-1)}`),
  layers: { ...size("8", "layers"), section: "Sizes of a new model (one of them makes a new one)" },
  hidden: size("384", "size of the hidden states"),
  intermediate: size("8/3 of --hidden, in whole 64s", "size between the matrices of the MLP"),
  heads: size("one for 64 of --hidden", "attention heads"),
  kvHeads: size("as --heads", "heads of keys and values"),
  positions: size("256, or --seq if that is more", "positions that the model has"),
  tokenizer: bundled("DIR", "examples/base", "directory with the tokenizer of a new model"),
  help: toggle("show this text"),
};

/** Understand the command line; null: help is wanted. Throws OptionError. */
export function parsePretrainFlags(argv: readonly string[], site: Site): PretrainOptions | null {
  const { help, out, layers, hidden, intermediate, heads, kvHeads, positions, ...others } = parseFlags(
    FLAGS,
    argv,
    site,
  );
  if (help) return null;
  if (out === null) throw new OptionError("There is no place for the model: give --out DIR.", {});
  const sizes = sizesOf({ layers, hidden, intermediate, heads, kvHeads, positions }, others.seq);
  return { ...others, out, sizes };
}

/** The text of `--help`. */
export function pretrainHelp(): string {
  return helpOf(
    "Pretrain a model from nothing on generated text: deno run -A examples/pretrain.ts --out DIR [flags]",
    FLAGS,
    [
      "deno run -A examples/pretrain.ts --out examples/base",
      "deno run -A examples/pretrain.ts --out runs/base14m --layers 8 --hidden 384 --batch 64 --lr 1e-3 --seconds 200",
    ],
  );
}
