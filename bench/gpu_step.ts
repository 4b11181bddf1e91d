/** Whole training steps on random weights, through the same session as `train.ts`. @module */
import { extentOf, type Kernel } from "../core/kernel/kernel.ts";
import { bytesTouched, productOperations } from "../core/kernel/work.ts";
import { type Gpu, GpuExecutable, type LaunchTime, profile } from "../core/gpu/mod.ts";
import type { Device, DeviceArray, Executable } from "../core/plan/device.ts";
import type { Plan } from "../core/plan/plan.ts";
import { methodClasses, type MethodName } from "../train/methods.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { lossScaleOf } from "../train/loss_scale.ts";
import { adamW } from "../train/optimiser.ts";
import type { LlamaConfig } from "../train/llama_config.ts";
import { type HostBatch, openSession, type Session } from "../train/session.ts";
import type { StepMetrics } from "../train/training.ts";
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
  /** Seconds from the first call to the first step's numbers. */
  readonly compile_s: number;
  /** 10¹² operations of all products, by the second. */
  readonly tflops: number;
  readonly losses: readonly number[];
  readonly kernels?: readonly KernelTime[];
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
}

/** A session for steps of a case, its weights random. */
export function openStep(device: Device, of: StepCase): Promise<Session> {
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
    weights: randomWeights(config, of.dtype),
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
  { profiled, trace }: Profiling,
): Promise<StepResult> {
  const watched = watch(gpu);
  const session = await openStep(watched.device, of);
  const start = performance.now();
  const losses = [(await takeStep(session, of)).loss];
  const compile_s = (performance.now() - start) / 1000;
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

/** A device that remembers what it ran last. */
function watch(gpu: Gpu): {
  readonly device: Device;
  /** Milliseconds of each run on the host. */
  host: number[];
  last: { readonly executable: GpuExecutable; readonly inputs: readonly DeviceArray[] } | null;
} {
  const seen: ReturnType<typeof watch> = {
    last: null,
    host: [],
    device: {
      capabilities: gpu.capabilities,
      compile: async (plan): Promise<Executable> => {
        const executable = await gpu.compile(plan);
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
      upload: (data, aval) => gpu.upload(data, aval),
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
