/** Plans of what a decoder does on held-out rows: nothing is uploaded or run. @module */
import { aval, type Compiled } from "../core/mod.ts";
import { bind } from "./arena.ts";
import { decodeStateAvals, decodeStep } from "./decode.ts";
import { tableShapes } from "./decoder.ts";
import type { PlanShape } from "./memory.ts";
import { compileFor } from "./runner.ts";
import { bindModel, firstPositions, lossOf } from "./step.ts";
import { splitWeights, type StepPlanOptions } from "./step_plan.ts";

/** What plans of a decoder are made of. */
export type DecoderSizes = Omit<StepPlanOptions, "batch">;

function avalsOf({ subject: { config, classes }, weights, maxLength }: DecoderSizes) {
  return splitWeights(new Map([...weights, ...tableShapes(config, maxLength)]), classes);
}

/** The plan of the loss of a batch. Throws ShapeError. */
export function planEvaluation(sizes: DecoderSizes, { rows, length }: PlanShape): Compiled {
  const { subject, capabilities } = sizes, ids = aval([rows, length], "i32");
  return compileFor(capabilities, ({ weights, params, batch }) => {
    const { members } = bind(subject.classes, params);
    return { ...lossOf(bindModel(subject, weights, members, firstPositions(length)), batch) };
  }, { ...avalsOf(sizes), batch: { ids, labels: ids } });
}

/** The plan of a step of answering. Throws ShapeError. */
export function planAnswers(sizes: DecoderSizes, { rows, length }: PlanShape): Compiled {
  const { subject, capabilities } = sizes;
  const state = decodeStateAvals(subject.config, rows, length);
  return compileFor(
    capabilities,
    decodeStep(subject),
    { ...avalsOf(sizes), state, lengths: aval([rows]) },
    ["state"],
  );
}
