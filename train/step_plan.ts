/** The plan of a training step without a model in memory: what a run would need. @module */
import { type Aval, aval, type Capabilities, type Compiled } from "../core/mod.ts";
import { arenaAval, type ShapeClass } from "./arena.ts";
import { tableShapes } from "./decoder.ts";
import type { Optimiser } from "./optimiser.ts";
import { compileFor } from "./runner.ts";
import { type Subject } from "./bind_model.ts";
import { languageObjective } from "./language_loss.ts";
import { type Objective, objectiveStep } from "./step.ts";

/** What is planned. */
export interface StepPlanOptions {
  readonly capabilities: Capabilities;
  readonly subject: Subject;
  /** Shapes of all weights of the model, by name. */
  readonly weights: ReadonlyMap<string, Aval>;
  readonly optimiser: Optimiser;
  readonly accumulate: number;
  /** Rows of the tables of positions. */
  readonly maxLength: number;
  readonly batch: { readonly rows: number; readonly length: number };
  /** Whether rows hold several examples. */
  readonly packed?: boolean;
}

/** Compile the step of a session with these options; nothing is uploaded or run. Throws ShapeError. */
export function planStep(options: StepPlanOptions): Compiled {
  const { subject, maxLength, batch: { rows, length }, packed } = options;
  const ids = aval([rows, length], "i32");
  return planObjective({
    ...options,
    classes: subject.classes,
    objective: languageObjective(subject),
    weights: new Map([...options.weights, ...tableShapes(subject.config, maxLength)]),
    batch: { ids, labels: ids, ...(packed ? { segments: ids, positions: ids } : {}) },
  });
}

/** What is planned of a training towards any objective. */
export interface ObjectivePlanOptions
  extends Pick<StepPlanOptions, "capabilities" | "weights" | "optimiser" | "accumulate"> {
  readonly classes: readonly ShapeClass[];
  readonly objective: Objective;
  /** What the objective reads of a batch. */
  readonly batch: Readonly<Record<string, Aval>>;
}

/** {@linkcode planStep} for any objective. */
export function planObjective(options: ObjectivePlanOptions): Compiled {
  const { capabilities, classes, objective, optimiser, accumulate, batch } = options;
  const state = Object.entries(optimiser.state(classes)).map(([name, s]) => [name, s.aval] as const);
  return compileFor(
    capabilities,
    objectiveStep(classes, objective, optimiser, accumulate),
    {
      ...splitWeights(options.weights, classes),
      optimiser: Object.fromEntries(state),
      batch,
      rates: aval([4]),
      key: aval([2], "u32"),
    },
    { inPlace: ["params", "optimiser"] },
  );
}

/** Types of the weights that stay as they are, and of the arenas of what is trained. */
function splitWeights(
  weights: ReadonlyMap<string, Aval>,
  classes: readonly ShapeClass[],
): { readonly weights: Record<string, Aval>; readonly params: Record<string, Aval> } {
  const trained = new Set(classes.filter((c) => !c.fitted).flatMap((c) => c.members));
  return {
    weights: Object.fromEntries([...weights].filter(([name]) => !trained.has(name))),
    params: Object.fromEntries(classes.flatMap((c) => c.leaves.map((l) => [l.key, arenaAval(c, l)]))),
  };
}
