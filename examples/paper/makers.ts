/** Who makes runs: what they are asked for, and what they tell. @module */
import type { MethodName } from "../../train/mod.ts";
import type { TaskFiles } from "./files.ts";
import type { Narrator } from "./narrator.ts";
import type { Maker, PaperOptions } from "./options.ts";
import type { Rates, RateSource } from "./rates.ts";
import type { ScoreRecord } from "./records.ts";
import type { PaperTask } from "./suites.ts";
import type { Talker } from "./talker.ts";

/** A run as a maker is asked for it. */
export interface Asked {
  readonly task: PaperTask;
  readonly files: TaskFiles;
  readonly method: MethodName;
  readonly seed: number;
  readonly rates: Rates;
  /**
   * What it is for: a score; the loss on the rows to measure on alone; or time and memory, and then it has its device for
   * itself and measures on no rows.
   */
  readonly purpose: "score" | "loss" | "time";
}

/** What a maker tells of a run. */
export interface Made
  extends Pick<ScoreRecord, "processor" | "metrics" | "score" | "trainable" | "loss" | "note"> {
  /** Held-out loss, where it was asked for and there is one. */
  readonly heldOut: number | null;
  /** When steps' numbers were back, in seconds since the end of the first step; the last ones may lack. */
  readonly seconds: readonly number[];
  /** Most bytes on the device; null where it is the processor. */
  readonly deviceBytes: number | null;
}

/** What is told of a run whose numbers were not finite any more. */
export const DIVERGED: Omit<Made, "processor"> = {
  ...{
    metrics: null,
    score: null,
    trainable: null,
    loss: null,
    heldOut: null,
    seconds: [],
    deviceBytes: null,
  },
};

/** Somebody who makes runs. */
export interface RunMaker {
  /** Start a process that makes runs one after another. Throws UserError where it cannot be. */
  readonly start: () => Talker;
  /** Have a run made. Rejects with UserError where it cannot be. */
  readonly make: (process: Talker, asked: Asked) => Promise<Made>;
}

/** What makers need to know of a comparison. */
export type Common =
  & Pick<RateSource, "model" | "root">
  & Pick<PaperOptions, "work" | "rank" | "device" | "dtype" | "jobs" | "patience" | "judgeUrl" | "judgeModel">
  & Pick<Narrator, "say">;

/** Share of the steps in which the rate rises, and the largest norm of a gradient: the defaults of `train.ts`. */
export const WARMUP = 0.05, CLIP = 1;

/** Methods that PEFT has, with a start of the same kind. */
const PEFT_METHODS: readonly MethodName[] = [
  ...(["full", "lora", "rslora", "dora", "pissa", "olora", "oft", "boft", "hra"] as const),
];

/** Whether a maker has a method. */
export function canMake(maker: Maker, method: MethodName): boolean {
  return maker === "Gyre" || PEFT_METHODS.includes(method);
}
