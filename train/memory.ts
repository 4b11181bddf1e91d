/** What a run needs on the device beside what there is: found in plans, before anything is uploaded. @module */
import {
  type Aval,
  aval,
  type Capabilities,
  checkLimits,
  type Compiled,
  planBytes,
  showBytes,
} from "../core/mod.ts";
import { arenaAval, bind } from "./arena.ts";
import { tableShapes } from "./decoder.ts";
import { decodeStateAvals, decodeStep } from "./decode.ts";
import { UserError } from "./errors.ts";
import { compileFor } from "./runner.ts";
import { type StepBytes, stepBytes } from "./session.ts";
import { bindModel, firstPositions, lossOf } from "./step.ts";
import { planStep, type StepPlanOptions } from "./step_plan.ts";

/** Rows and positions of a plan. */
export interface PlanShape {
  readonly rows: number;
  readonly length: number;
}

/** Everything that a run compiles. */
export interface RunShapes {
  readonly steps: readonly PlanShape[];
  readonly evaluations: readonly PlanShape[];
  readonly answers: readonly PlanShape[];
}

/** What a run needs on the device, in bytes. */
export interface RunBytes {
  /** Of the largest step alone. */
  readonly step: StepBytes;
  /** Of the plans of all steps, evaluations and answers together, which stay for the length of the run. */
  readonly steps: number;
  readonly evaluations: number;
  readonly answers: number;
  /** All of it together, and what stays: weights, trained parameters, the optimiser's state. */
  readonly peak: number;
}

type Sizes = Omit<StepPlanOptions, "batch">;

/** Plan a whole run; nothing is uploaded. `shapes.steps` must have one at least. Throws ShapeError. */
export function planRun(sizes: Sizes, shapes: RunShapes): RunBytes {
  const plans = shapes.steps.map((batch) => stepBytes({ compiled: planStep({ ...sizes, batch }) }));
  const step = plans.reduce((a, b) => b.total > a.total ? b : a);
  const steps = plans.reduce((n, p) => n + p.temporaries, 0);
  const evaluations = shapes.evaluations.reduce((n, s) => n + ownBytes(planEvaluation(sizes, s)), 0);
  const answers = shapes.answers.reduce((n, s) => n + ownBytes(planAnswers(sizes, s)), 0);
  const staying = step.weights + step.trained + step.optimiser;
  return { step, steps, evaluations, answers, peak: staying + steps + evaluations + answers };
}

/** Bytes of a plan beside weights and parameters, which all plans share. */
function ownBytes(compiled: Compiled): number {
  const shared = compiled.plan.inputs.reduce(
    (n, { buffer }, i) =>
      /^(weights|params)\./.test(compiled.inputs[i]!) ? n + compiled.plan.buffers[buffer]!.bytes : n,
    0,
  );
  return planBytes(compiled.plan).total - shared;
}

function avalsOf({ subject: { config, classes }, weights, maxLength }: Sizes) {
  const trained = new Set(classes.filter((c) => !c.fitted).flatMap((c) => c.members));
  const all = [...weights, ...tableShapes(config, maxLength)];
  return {
    weights: Object.fromEntries(all.filter(([name]) => !trained.has(name))) as Record<string, Aval>,
    params: Object.fromEntries(
      classes.flatMap((c) => c.leaves.map((l) => [l.key, arenaAval(c, l)] as const)),
    ),
  };
}

function planEvaluation(sizes: Sizes, { rows, length }: PlanShape): Compiled {
  const { subject, capabilities } = sizes, ids = aval([rows, length], "i32");
  return compileFor(capabilities, ({ weights, params, batch }) => {
    const { members } = bind(subject.classes, params);
    return { ...lossOf(bindModel(subject, weights, members, firstPositions(length)), batch) };
  }, { ...avalsOf(sizes), batch: { ids, labels: ids } });
}

function planAnswers(sizes: Sizes, { rows, length }: PlanShape): Compiled {
  const { subject, capabilities } = sizes;
  const state = decodeStateAvals(subject.config, rows, length);
  return compileFor(
    capabilities,
    decodeStep(subject),
    { ...avalsOf(sizes), state, lengths: aval([rows]) },
    ["state"],
  );
}

/** Free memory of the machine in bytes; null where the program may not ask (`--allow-sys`). */
export function freeMemory(): number | null {
  // Asking without a permission would stop and ask the user.
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  return state === "granted" ? Deno.systemMemoryInfo().available : null;
}

/**
 * Refuse a step that does not fit: more than the device or the machine has, or a buffer that is larger than the device
 * takes. Throws UserError with what is needed, what there is, the largest parts and the flags that make them smaller, and
 * PlanError for a single buffer.
 */
export function requireRoom(compiled: Compiled, capabilities: Capabilities, free: number | null): void {
  const bytes = stepBytes({ compiled });
  const { kind, maxTotalBytes, adapterName } = capabilities;
  const has = [
    ...(maxTotalBytes === null ? [] : [{ bytes: maxTotalBytes, what: `${adapterName} has` }]),
    // What a processor computes on is the machine's memory.
    ...(kind === "cpu" && free !== null ? [{ bytes: free, what: "the machine has free" }] : []),
  ].sort((a, b) => a.bytes - b.bytes)[0];
  if (has && bytes.total > has.bytes) {
    const parts = consumers(bytes);
    throw new UserError(
      `A step needs ${showBytes(bytes.total)}, and ${has.what} ${showBytes(has.bytes)}: ` +
        `${parts.map((p) => `${p.name} ${showBytes(p.bytes)}`).join(", ")}. What helps most: ${
          parts[0]!.helps
        }; ` +
        `then ${parts[1]!.helps}.`,
      { needed: bytes.total, available: has.bytes },
    );
  }
  checkLimits(compiled.plan, capabilities);
}

/** What takes memory, the largest first, and what makes it smaller. */
function consumers({ weights, trained, optimiser, temporaries }: StepBytes) {
  return [
    { name: "weights", bytes: weights, helps: "--dtype f16, which halves the weights" },
    {
      name: "trained parameters and optimiser",
      bytes: trained + optimiser,
      helps: "fewer trained parameters: a method with adapters, a lower --rank, fewer maps in --target",
    },
    {
      name: "activations and gradients",
      bytes: temporaries,
      helps: "a smaller --batch, a larger --accumulate, or a shorter --seq",
    },
  ].sort((a, b) => b.bytes - a.bytes);
}
