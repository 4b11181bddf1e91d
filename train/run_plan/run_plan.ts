/** Memory and time of a run that nobody has to start: from the plan of its step, without weights. @module */
import { type Capabilities, matrixGpu, showBytes } from "../../core/mod.ts";
import type { RunBytes } from "../count_run.ts";
import { UserError } from "../errors.ts";
import type { TrainOptions } from "../options.ts";
import { extrapolate, extrapolateRun } from "./extrapolate.ts";
import { type Speed, type StepNeeds, stepNeeds } from "./measure.ts";
import { openPlanned } from "./open_planned.ts";
import type { PlanOptions } from "./options.ts";
import type { PlannedModel } from "./planned_model.ts";

/** What a change of the settings would do. */
export interface Advice {
  readonly flags: string;
  readonly total: number;
  readonly fits: boolean;
}

/** What a run needs; the keys are those of `--json`, sizes in bytes. */
export interface RunPlan {
  readonly model: string;
  readonly parameters: number;
  readonly method: string;
  readonly batch: number;
  readonly seq: number;
  /** Of the device that is planned for. */
  readonly memory: number;
  /** Of a step whose rows are all of `seq` tokens. */
  readonly step: StepNeeds;
  /** Of the whole run, where batches come in all the lengths that they are padded to: each has plans of its own. */
  readonly run: RunBytes;
  readonly tokens_per_s: number;
  /** Weights by what they are. */
  readonly weights: Readonly<Record<string, number>>;
  /** Layers that were planned, where others follow from them; null: all. */
  readonly planned_layers: readonly [number, number] | null;
  readonly fits: boolean;
  /** Why it does not fit. */
  readonly problems: readonly string[];
  /** Changes that make it smaller, where it does not fit. */
  readonly advice: readonly Advice[];
}

/** More layers than this are not planned one by one. */
const MOST_LAYERS = 32;
/** Layers that are planned instead. */
const PLANNED = [4, 8] as const;

/** Parts of a batch that are advised: a graph has all of them, and planning it takes as long. */
const MOST_PARTS = 16;

/** Plan a run. Throws UserError and ShapeError for what cannot be trained. */
export async function planRun(
  options: PlanOptions,
  say: (line: string) => void = () => {},
): Promise<RunPlan> {
  const { train, memory } = options;
  if (train.adapter !== null) {
    throw new UserError(
      `--adapter ${train.adapter}: a plan is of a fresh adapter; give its --method and sizes instead.`,
    );
  }
  if (train.resume) {
    throw new UserError(
      "--resume: a plan is of a whole run, which needs as much when it goes on; leave it out.",
    );
  }
  const model = await openPlanned(options, say), { name, layers, maxPositions, shapes } = model;
  if (train.seq > maxPositions) {
    throw new UserError(`--seq ${train.seq}: ${name} has ${maxPositions} positions; use at most that many.`);
  }
  const capabilities = capabilitiesOf(options), speed = options.speed;
  const whole = options.exact || !model.alike, exact = whole || layers <= MOST_LAYERS;
  // What is said besides the step may be a little less exact, and is there at once.
  const needs = (of: TrainOptions, length: number): StepNeeds =>
    whole || layers <= PLANNED[1]
      ? stepNeeds(model, of, capabilities, speed, length)
      : extrapolated(model, of, capabilities, speed, length);
  const step = exact ? stepNeeds(model, train, capabilities, speed, train.seq) : needs(train, train.seq);
  const runOf = async (of: TrainOptions): Promise<RunBytes> => {
    // The limits of the device are told of beside what is needed, not in its place.
    const open = { ...capabilities, maxBufferBytes: Infinity, maxTotalBytes: null };
    if (whole || layers <= PLANNED[1]) return await model.run(of, open);
    const [few, more] = [
      await model.cutTo(PLANNED[0]).run(of, open),
      await model.cutTo(PLANNED[1]).run(of, open),
    ];
    return extrapolateRun(few, more, PLANNED, layers);
  };
  const run = await runOf(train), problems = problemsOf(run.peak, step.largest, options);
  return {
    model: name,
    parameters: [...shapes.values()].reduce(
      (n, { shape }) => n + shape.reduce((a, b) => a * b, 1),
      0,
    ),
    method: train.compose ?? train.method,
    batch: train.batch,
    seq: train.seq,
    memory,
    step,
    run,
    tokens_per_s: train.batch * train.seq / step.seconds,
    weights: weightsByKind(shapes, train),
    planned_layers: exact ? null : PLANNED,
    fits: problems.length === 0,
    problems,
    advice: problems.length === 0 ? [] : await adviceFor(train, run.peak, async (of) => {
      const { peak } = await runOf(of), { largest } = needs(of, of.seq);
      return { total: peak, fits: problemsOf(peak, largest, options).length === 0 };
    }),
  };
}

function extrapolated(
  model: PlannedModel,
  train: TrainOptions,
  capabilities: Capabilities,
  speed: Speed,
  length: number,
): StepNeeds {
  const at = (layers: number): StepNeeds =>
    stepNeeds(model.cutTo(layers), train, capabilities, speed, length);
  return extrapolate(at(PLANNED[0]), at(PLANNED[1]), PLANNED, model.layers);
}

/** What the planner asks of a device: the CPU target, or a GPU through Dawn. */
function capabilitiesOf({ train, memory, buffer }: PlanOptions): Capabilities {
  const shared = { maxBufferBytes: buffer, maxTotalBytes: memory };
  if (train.device === "cpu") {
    return { kind: "cpu", adapterName: "the processor", f16: true, maxSlots: 64, ...shared, gpu: null };
  }
  return {
    ...{ kind: "gpu", adapterName: "the device", f16: true, maxSlots: 32, ...shared },
    gpu: matrixGpu(train.dtype === "f16"),
  };
}

function problemsOf(
  peak: number,
  largest: StepNeeds["largest"],
  { memory, buffer }: PlanOptions,
): string[] {
  return [
    ...(peak > memory ? [`the device has ${showBytes(memory)}`] : []),
    ...(largest.bytes > buffer
      ? [`a kernel can bind ${showBytes(buffer + 1)}, and ${largest.what} takes ${showBytes(largest.bytes)}`]
      : []),
  ];
}

/** Bytes of the frozen and trained weights of the model by what they are, as they are stored. */
function weightsByKind(
  shapes: PlannedModel["shapes"],
  { dtype, method }: TrainOptions,
): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, { shape }] of shapes) {
    const kind = /LayerNorm/.test(name)
      ? "norms"
      : /attn|attention/.test(name)
      ? "attention"
      : /mlp|\.(intermediate|output)\./.test(name)
      ? "feed-forward"
      : /embed|wte|wpe/.test(name)
      ? "embedding"
      : /lm_head|pooler|classifier/.test(name)
      ? "head"
      : "norms";
    const width = shape.length > 1 && method !== "full" && dtype === "f16" ? 2 : 4;
    found[kind] = (found[kind] ?? 0) + width * shape.reduce((a, b) => a * b, 1);
  }
  return found;
}

/** Changes, each alone, that need less; those that fit come first, the mildest of them first. */
async function adviceFor(
  train: TrainOptions,
  before: number,
  needs: (train: TrainOptions) => Promise<Omit<Advice, "flags">>,
): Promise<Advice[]> {
  const { batch, accumulate, seq, dtype, method } = train;
  const parts = [...new Set([2 * accumulate, 4 * accumulate, ...(batch <= MOST_PARTS ? [batch] : [])])]
    .filter((k) => k > accumulate && k <= Math.max(MOST_PARTS, 2 * accumulate) && batch % k === 0);
  const changes: readonly (readonly [string, Partial<TrainOptions>])[] = [
    ...(dtype === "f32" ? [["--dtype f16", { dtype: "f16" as const }] as const] : []),
    ...parts.map((k) => [`--accumulate ${k}`, { accumulate: k }] as const),
    ...(batch > 1 ? [[`--batch 1`, { batch: 1, accumulate: 1 }] as const] : []),
    ...(seq >= 128 ? [[`--seq ${seq / 2 | 0}`, { seq: seq / 2 | 0 }] as const] : []),
    ...(train.eval !== null ? [["--eval none", { eval: null }] as const] : []),
    ...(method === "full" ? [["--method lora", { method: "lora" as const }] as const] : []),
    ...(dtype === "f32" && batch > 1
      ? [["--dtype f16 --batch 1", { dtype: "f16" as const, batch: 1, accumulate: 1 }] as const]
      : []),
  ];
  const all: Advice[] = [];
  for (const [flags, change] of changes) all.push({ flags, ...await needs({ ...train, ...change }) });
  return all.filter((a) => a.fits || a.total < before).sort((a, b) => Number(b.fits) - Number(a.fits));
}
