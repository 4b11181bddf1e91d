/** The plan of a training step without a model in memory: what a run would need. @module */
import { type Aval, aval, type Capabilities, type Compiled } from "../core/mod.ts";
import { arenaAval } from "./arena.ts";
import type { Optimiser } from "./optimiser.ts";
import { compileFor } from "./runner.ts";
import { type Subject, trainStep } from "./step.ts";

/** What is planned. */
export interface StepPlanOptions {
  readonly capabilities: Capabilities;
  readonly subject: Subject;
  /** Shapes of all weights of the model, by name. */
  readonly weights: ReadonlyMap<string, Aval>;
  readonly optimiser: Optimiser;
  readonly accumulate: number;
  /** Rows of the rotary tables. */
  readonly maxLength: number;
  readonly batch: { readonly rows: number; readonly length: number };
  /** Whether rows hold several examples. */
  readonly packed?: boolean;
}

/** Compile the step of a session with these options; nothing is uploaded or run. Throws ShapeError. */
export function planStep(options: StepPlanOptions): Compiled {
  const { capabilities, subject, optimiser, accumulate, maxLength, batch: { rows, length }, packed } =
    options;
  const { config, classes } = subject;
  const trained = new Set(classes.filter((c) => !c.fitted).flatMap((c) => c.members));
  const table = aval([maxLength, config.headDim]), ids = aval([rows, length], "i32");
  const frozen = [...options.weights].filter(([name]) => !trained.has(name));
  const params = classes.flatMap((c) => c.leaves.map((l) => [l.key, arenaAval(c, l)] as const));
  const state = Object.entries(optimiser.state(classes)).map(([name, s]) => [name, s.aval] as const);
  return compileFor(
    capabilities,
    trainStep(subject, optimiser, accumulate),
    {
      weights: { ...Object.fromEntries(frozen), "rotary.cos": table, "rotary.sin": table },
      params: Object.fromEntries(params),
      optimiser: Object.fromEntries(state),
      batch: { ids, labels: ids, ...(packed ? { packing: { segments: ids, positions: ids } } : {}) },
      rates: aval([4]),
      key: aval([2], "u32"),
    },
    ["params", "optimiser"],
  );
}
