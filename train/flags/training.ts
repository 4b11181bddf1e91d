/** Flags of `train.ts` on the steps. @module */
import type { MethodName } from "../methods.ts";
import { flag, toggle } from "../parse_flags.ts";
import { above0, from0, oneOf, whole } from "../readers.ts";
import type { Table } from "../train_options.ts";
import { BASE } from "./data.ts";

/**
 * Learning rates that suit a method, used when `--lr` is not given. For the bundled model they were chosen by measuring
 * (docs/RESULTS.md); larger models take lower ones.
 */
function learningRate(method: MethodName | "compose", isBundled: boolean): number {
  switch (method) {
    case "full":
      return isBundled ? 1.5e-3 : 5e-4;
    case "lora-ga":
    case "pissa":
    case "olora":
    case "hybrid":
    case "compose":
      return isBundled ? 1.8e-3 : 3e-4;
    case "boft":
    case "oft":
      return isBundled ? 1.8e-2 : 3e-3;
    default:
      return isBundled ? 6e-3 : 1e-3;
  }
}

/** In the order of the help. */
export const TRAINING_FLAGS = {
  steps: {
    value: "N",
    read: whole(1),
    help: "optimiser steps; overrides --epochs",
    absent: () => null,
    shown: "what --epochs gives",
    section: "Training",
  },
  epochs: flag("X", above0, 1, "times over the data"),
  batch: flag("N", whole(1), 16, "rows of an optimiser step"),
  accumulate: flag(
    "N",
    whole(1),
    1,
    "equal parts that a batch is computed in, one after the other, to save memory",
  ),
  seq: flag("N", whole(2), 128, "longest sequence, in tokens; longer rows are cut and counted"),
  pack: toggle(
    "put several rows of the data into one of --seq positions, each seeing itself alone: less padding, larger batches",
  ),
  lr: {
    value: "X",
    read: above0,
    help: "learning rate",
    absent: (get, { root }) => learningRate(get("method"), get("model") === `${root}/${BASE}`),
    shown: `by method: hybrid ${learningRate("hybrid", false)}, bundled model ${
      learningRate("hybrid", true)
    }`,
  },
  orthogonalLr: {
    value: "X",
    read: above0,
    help: "learning rate of orthogonal parameters",
    absent: (get) => get("lr") / 2,
    shown: "half of --lr",
  },
  schedule: flag("NAME", oneOf("cosine", "linear", "constant"), "cosine", "cosine, linear or constant"),
  warmup: flag("X", from0, 0.05, "warm-up: a share of all steps below 1, otherwise steps"),
  clip: flag("X", from0, 1, "largest norm of the gradient; 0 for no limit"),
  seed: flag("N", whole(0, 2 ** 32 - 1), 0, "decides the order of the rows and the initial parameters"),
} satisfies Partial<Table>;
