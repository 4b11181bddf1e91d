/** Whole training steps on random weights, through the same session as `train.ts`. @module */
import { extentOf, type Kernel } from "../core/kernel/kernel.ts";
import { bytesTouched, productOperations } from "../core/kernel/work.ts";
import { type Gpu, GpuExecutable, type LaunchTime, profile } from "../core/gpu/mod.ts";
import type { Device, DeviceArray, Executable } from "../core/plan/device.ts";
import type { Plan } from "../core/plan/plan.ts";
import { methodClasses, type MethodName } from "../train/methods.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { tuneKernels } from "../train/tile_store.ts";
import { PlanStore } from "../train/plan_store.ts";
import { type Plans, usePlans } from "../train/runner.ts";
import { stepPlan } from "./step_plan.ts";
import { lossScaleOf } from "../train/loss_scale.ts";
import { adamW } from "../train/optimiser.ts";
import type { LlamaConfig } from "../train/llama_config.ts";
import { type HostBatch, openSession, type Session } from "../train/session.ts";
import type { HostTensor, StepMetrics } from "../train/training.ts";
import { randomWeights, SHAPES } from "./shapes.ts";

/** What step to measure. */
export interface StepCase {
  readonly shape: string;
  readonly method: MethodName;
  readonly dtype: "f32" | "f16";
  readonly batch: number;
  readonly seq: number;
}

/** One line of the result. */
export interface StepResult extends StepCase {
  readonly provider: string;
  readonly adapter_name: string;
  /** Milliseconds of a step, several in flight. */
  readonly ms: number;
  /** Milliseconds in which the host records and submits a step. */
  readonly host_ms: number;
  readonly tok_s: number;
  readonly peak_gib: number;
  /** Seconds from the first call to the first step's numbers; pipelines are begun before. */
  readonly compile_s: number;
  readonly first: FirstStep;
  /** 10¹² operations of all products, by the second. */
  readonly tflops: number;
  readonly losses: readonly number[];
  readonly kernels?: readonly KernelTime[];
}

/** Seconds until the first step's numbers are there, from weights in memory on: in the order in which they pass. */
export interface FirstStep {
  /** Derivatives and the graph in a line; then its plan; then texts of launches, and the request for their pipelines. */
  readonly trace_s: number;
  readonly plan_s: number;
  readonly print_s: number;
  /** Measuring of tiles, before the texts, not in the total. */
  readonly tune_s?: number;
  /** Opening of the session, and what of it passes in uploads; pipelines are compiled meanwhile. */
  readonly open_s: number;
  readonly upload_s: number;
  /** Waiting for pipelines that are not there yet. */
  readonly pipelines_s: number;
  /** The rest: the graph once more, memory, and the step itself. */
  readonly run_s: number;
  readonly total_s: number;
  readonly pipelines: number;
  /** Threads that compiled some of them first; 0: the device compiled alone. */
  readonly compile_threads: number;
}

/** Time of equal kernels in a step. */
export interface KernelTime {
  readonly kernel: string;
  readonly count: number;
  readonly ms: number;
  readonly tflops: number;
  /** 10⁹ bytes a second of what the kernel must at least move. */
  readonly gb_s: number;
}

const RANK = 16, WARM = 4, MEASURED = 12, IN_FLIGHT = 4;

/** What to find out about kernels. */
export interface Profiling {
  /** The time of each. */
  readonly profiled: boolean;
  /** Called with the profile of one step. */
  readonly trace?: (plan: Plan, times: readonly LaunchTime[]) => void;
  /** Plans of earlier runs, as `train.ts` keeps them; absent: planned anew. */
  readonly cache?: PlanStore;
  /** Measure tiles of products before. */
  readonly tuned?: boolean;
}

/** A session for steps of a case, its weights random. */
export function openStep(
  device: Device,
  of: StepCase,
  weights: ReadonlyMap<string, HostTensor> = randomWeights(shapeOf(of), of.dtype),
): Promise<Session> {
  const config = shapeOf(of);
  const options = {
    ...DEFAULT_SETTINGS,
    method: of.method,
    rank: RANK,
    alpha: 2 * RANK,
    target: "all-linear",
  };
  return openSession({
    device,
    subject: { config, classes: methodClasses(options, config) },
    weights,
    optimiser: adamW({ clip: 1, lossScale: lossScaleOf({ dtype: of.dtype, lossScale: null }) }),
    accumulate: 1,
    seed: 0,
    maxLength: of.seq,
    startBatches: [batchOf(of)],
  });
}

function shapeOf({ shape }: StepCase): LlamaConfig {
  const config = SHAPES[shape];
  if (!config) throw new Error(`There is no shape ${shape}; there are ${Object.keys(SHAPES).join(", ")}.`);
  return config;
}

/** Measure one training step. */
export async function measureStep(
  gpu: Gpu,
  of: StepCase,
  { profiled, trace, cache, tuned }: Profiling,
): Promise<StepResult> {
  const watched = watch(gpu), weights = randomWeights(shapeOf(of), of.dtype);
  const clock = stopwatch(), plans = timedPlans(cache);
  usePlans(plans.store);
  const planned = stepPlan(of, gpu.capabilities).plan;
  const plan_s = plans.seconds(), trace_s = clock() - plan_s;
  if (tuned) await tuneKernels(gpu, planned, { noCache: false, say: console.error });
  const tune_s = clock();
  gpu.prepare(planned);
  const print_s = clock();
  const session = await openStep(watched.device, of, weights);
  const open_s = clock(), upload_s = watched.uploadSeconds;
  const losses = [(await takeStep(session, of)).loss];
  const compile_s = clock(), pipelines_s = watched.last!.executable.compileSeconds;
  await steps(session, of, WARM);
  watched.host = [];
  const ms = await steps(session, of, MEASURED, losses) / MEASURED;
  const last = watched.last!;
  const { capabilities } = gpu;
  return {
    ...of,
    provider: capabilities.gpu!.provider,
    adapter_name: capabilities.adapterName,
    ms: round(ms),
    host_ms: round(watched.host.reduce((a, b) => a + b) / watched.host.length),
    tok_s: Math.round(of.batch * of.seq / ms * 1000),
    peak_gib: round(gpu.memory().peakBytes / 2 ** 30),
    compile_s: round(compile_s),
    first: {
      ...(tuned ? { tune_s: round(tune_s) } : {}),
      ...{ trace_s: round(trace_s), plan_s: round(plan_s), print_s: round(print_s), open_s: round(open_s) },
      ...{
        upload_s: round(upload_s),
        pipelines_s: round(pipelines_s),
        run_s: round(compile_s - pipelines_s),
      },
      total_s: round(trace_s + plan_s + print_s + open_s + compile_s),
      pipelines: new Set(watched.last!.executable.ready.map((r) => r.pipeline)).size,
      compile_threads: watched.last!.executable.compileThreads,
    },
    tflops: round(
      last.executable.plan.steps.reduce(
        (sum, s) => sum + productOperations(last.executable.plan.kernels[s.kernel]!.body),
        0,
      ) / ms / 1e9,
    ),
    losses: losses.map(round),
    ...(profiled ? { kernels: await times(last.executable, last.inputs, trace) } : {}),
  };
}

function round(x: number): number {
  return Number(x.toPrecision(4));
}

async function times(
  executable: GpuExecutable,
  inputs: readonly DeviceArray[],
  trace: Profiling["trace"],
): Promise<KernelTime[]> {
  await profile(executable, inputs);
  const all = await profile(executable, inputs);
  trace?.(executable.plan, all);
  const groups = Map.groupBy(
    all.map((t) => ({ ...t, kernels: t.steps.map((i) => executable.plan.steps[i]!.kernel) })),
    ({ kernels }) => kernels.join(),
  );
  return [...groups.values()].map((of) => {
    const seconds = of.reduce((sum, t) => sum + t.seconds, 0);
    const kernels = of[0]!.kernels.map((number) => executable.plan.kernels[number]!);
    const total = (count: (kernel: Kernel) => number): number =>
      kernels.reduce((sum, kernel) => sum + count(kernel), 0) * of.length / seconds;
    return {
      kernel: kernels.map((kernel) => `${kernel.name} ${sizes(kernel)}`).join(" | "),
      count: of.length,
      ms: round(seconds * 1000),
      tflops: round(total((k) => productOperations(k.body)) / 1e12),
      gb_s: round(total(bytesTouched) / 1e9),
    };
  }).sort((a, b) => b.ms - a.ms);
}

function sizes({ body, slots }: Kernel): string {
  const types = slots.map((s) => s.dtype).join(",");
  if (body.form === "attention") {
    const of = [body.batch, body.head, body.group, body.query, body.key, body.feature].map((v) => v.extent);
    return `attention ${of.join("x")} ${types}`;
  }
  if (body.form !== "contract") return `${body.form} ${types}`;
  const of = [body.batch, body.row, body.col].map(extentOf).join("x");
  return `contract ${of} over ${body.terms.map((t) => extentOf(t.inner)).join("+")} ${types}`;
}

/** Seconds since it was asked last. */
function stopwatch(): () => number {
  let last = performance.now();
  return () => {
    const before = last;
    last = performance.now();
    return (last - before) / 1000;
  };
}

/** A store that knows how long it took so far. */
function timedPlans(
  of: PlanStore = new PlanStore(),
): { readonly store: Plans; readonly seconds: () => number } {
  let seconds = 0;
  return {
    store: {
      plan: (request) => {
        const clock = stopwatch(), plan = of.plan(request);
        seconds += clock();
        return plan;
      },
    },
    seconds: () => seconds,
  };
}

/** A device that remembers what it ran last. */
function watch(gpu: Gpu): {
  readonly device: Device;
  /** Milliseconds of each run on the host. */
  host: number[];
  /** Seconds of all uploads on the host. */
  uploadSeconds: number;
  last: { readonly executable: GpuExecutable; readonly inputs: readonly DeviceArray[] } | null;
} {
  const seen: ReturnType<typeof watch> = {
    last: null,
    host: [],
    uploadSeconds: 0,
    device: {
      capabilities: gpu.capabilities,
      compile: async (plan, exact): Promise<Executable> => {
        const executable = await gpu.compile(plan, exact);
        return {
          compileSeconds: executable.compileSeconds,
          dispose: () => executable.dispose(),
          run: (inputs) => {
            seen.last = { executable, inputs };
            const start = performance.now();
            const outputs = executable.run(inputs);
            seen.host.push(performance.now() - start);
            return outputs;
          },
        };
      },
      upload: (data, aval) => {
        const clock = stopwatch(), array = gpu.upload(data, aval);
        seen.uploadSeconds += clock();
        return array;
      },
      zeros: (aval) => gpu.zeros(aval),
      write: (array, data) => gpu.write(array, data),
      download: (array) => gpu.download(array),
      free: (array) => gpu.free(array),
      memory: () => gpu.memory(),
      close: () => gpu.close(),
    },
  };
  return seen;
}

function batchOf(of: StepCase): HostBatch {
  const { batch, seq } = of, length = batch * seq, vocabulary = Math.min(32000, shapeOf(of).vocabSize);
  const ids = Int32Array.from({ length }, (_, i) => (i * 7919 + 13) % vocabulary);
  return { ids, labels: Int32Array.from(ids, (_, i) => ids[i + 1] ?? -100), rows: batch, length: seq };
}

/** One step on the case's one batch. */
export function takeStep(
  session: Session,
  of: StepCase,
  rates: Parameters<Session["step"]>[1] = { plain: 1e-4, orthogonal: 5e-5 },
): Promise<StepMetrics> {
  return session.step(batchOf(of), rates);
}

/** Milliseconds of `count` steps. */
async function steps(
  session: Session,
  of: StepCase,
  count: number,
  losses: number[] = [],
): Promise<number> {
  const start = performance.now();
  const flying: Promise<StepMetrics>[] = [];
  for (let i = 0; i < count; i++) {
    flying.push(takeStep(session, of));
    if (flying.length >= IN_FLIGHT) losses.push((await flying.shift()!).loss);
  }
  for (const each of flying) losses.push((await each).loss);
  return performance.now() - start;
}
