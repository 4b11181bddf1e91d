/** Flags of `train.ts` on the device, on going on, and on what is told. @module */
import * as Either from "fp-ts/Either.js";
import { DEVICES } from "../devices.ts";
import { flag, toggle } from "../parse_flags.ts";
import { number, oneOf, text, whole } from "../readers.ts";
import type { Table } from "../train_options.ts";

const lossScaleNumber = number("dynamic, or a number above 0", (n) => n > 0);

/** In the order of the help. */
export const RUNNING_FLAGS = {
  device: {
    ...flag("NAME", oneOf(...DEVICES), "auto", `${DEVICES.slice(0, -1).join(", ")} or ${DEVICES.at(-1)}`),
    section: "Running",
  },
  dtype: flag(
    "NAME",
    oneOf("f32", "f16"),
    "f32",
    "storage of frozen weights, f32 or f16; with f16, matrix units may multiply in f16, adding up in f32",
  ),
  lossScale: {
    value: "X",
    read: (t) => t === "dynamic" ? Either.right(t) : lossScaleNumber(t),
    help:
      "with f16: factor of the loss, so that small gradients are held: dynamic (lower after a step that overflows, " +
      "higher after 2000 that do not), or a number, by the sum of the losses",
    absent: (get) => get("dtype") === "f16" ? "dynamic" : null,
    shown: "dynamic with f16, else none",
  },
  adapter: {
    value: "DIR",
    read: text,
    help:
      "go on with this adapter: one that a run left, or a directory of Hugging Face PEFT; its method stands",
    absent: () => null,
    shown: "none",
  },
  merge: toggle("write the model with what was trained merged in, as a model directory, to <out>/merged"),
  resume: toggle(
    "go on with the run in --out from its newest checkpoint; its flags stand, --steps is the total",
  ),
  saveEvery: flag(
    "N",
    whole(0),
    100,
    "steps between checkpoints; 0: one when training ends or is interrupted",
  ),
  keep: flag("N", whole(1), 2, "checkpoints to keep, the newest ones"),
  keepBest: toggle(
    "keep the state with the least held-out loss of --eval-every in <out>/best, and leave that at the end",
  ),
  config: {
    value: "FILE",
    read: text,
    help:
      "flags from a JSON or TOML file, such as the config.json that a run left; those of the command line win",
    absent: () => null,
    shown: "none",
  },
  tuneKernels: toggle(
    "measure which tiles the products of a step are fastest with on this GPU, once: kept in the cache; numbers change " +
      "in their last digits",
  ),
  noCache: toggle(
    "neither read nor keep plans and tiles of earlier runs (in GYRE_CACHE, by default ~/.cache/gyre; at most 64 MiB)",
  ),
  dryRun: toggle(
    "only show the first rows as the model sees them, their lengths, the steps and the memory; nothing is written",
  ),
  json: toggle("print the result as JSON on standard output"),
  help: toggle("show this text"),
} satisfies Partial<Table>;
