/** The GPU target: plans on WebGPU, as Deno or Dawn provides it. @module */
import { type Aval, bytesOf, showAval, sizeOf } from "../ir/aval.ts";
import {
  type Capabilities,
  type Device,
  type DeviceArray,
  DeviceLostError,
  type HostArray,
  type TileMemory,
  type Tuned,
} from "../plan/device.ts";
import type { Plan } from "../plan/plan.ts";
import { openAdapter, type Opened } from "./adapter.ts";
import { CompileTeam } from "./compile_team.ts";
import { GpuExecutable, makeExecutable, prepare, type Prepared } from "./executable.ts";
import { GpuArray, gpuArray, Memory, requireHost } from "./memory.ts";
import { Pipelines } from "./pipelines.ts";
import { tune } from "./tune.ts";
import type { Provider } from "./provider.ts";
import { type Begin, paced, plainly } from "./pace.ts";

export { isSoftware } from "./adapter.ts";

/** Options of {@linkcode openGpu}. */
export interface GpuOptions {
  /** Accept a driver that computes on the processor; for tests, it is slower than the CPU target. Default false. */
  readonly software?: boolean;
  /**
   * Who implements WebGPU. Default `auto`: Dawn (npm package `webgpu`, needs --allow-ffi) where there is a hardware GPU
   * whose matrix units it reaches, else Deno's own, which needs nothing.
   */
  readonly provider?: "auto" | Provider;
  /**
   * Let products of matrices round their operands to f16 where there are matrix units; sums stay f32. Default false:
   * all arithmetic is f32.
   */
  readonly halfProducts?: boolean;
  /** Further settings of Dawn. */
  readonly dawnFlags?: readonly string[];
  /**
   * Threads that compile the shaders of a large plan, on a device each. Default: through Dawn on hardware one less than
   * the processor has, at most 4; else none, and the device alone compiles.
   */
  readonly compileThreads?: number;
}

/** Threads at most that compile: an H200's driver took 9.9 s on one and 4.0 s on four. */
const MOST_THREADS = 4;

/** Open the GPU; null when there is none. Rejects when the driver refuses its own limits, or Dawn was asked for and cannot be loaded. */
export async function openGpu(options: GpuOptions = {}): Promise<Gpu | null> {
  const { compileThreads, ...asked } = options;
  const adapter = { software: false, provider: "auto", halfProducts: false, ...asked } as const;
  const opened = await openAdapter(adapter);
  if (!opened) return null;
  const { provider } = opened.capabilities.gpu!, threads = compileThreads ?? threadsFor(opened);
  const team = threads > 0 ? new CompileTeam({ ...adapter, provider }, threads) : null;
  // The first plan is made meanwhile.
  team?.start();
  return new Gpu(opened, team);
}

function threadsFor({ capabilities, isSoftware }: Opened): number {
  if (capabilities.gpu?.provider !== "dawn" || isSoftware) return 0;
  const threads = Math.min(MOST_THREADS, navigator.hardwareConcurrency - 1);
  return threads > 1 ? threads : 0;
}

/** Milliseconds until a loss has been told of. */
const LOSS_MS = 500;

/** A GPU that runs plans. Calls throw once the device is lost or has reported an error. */
export class Gpu implements Device {
  readonly capabilities: Capabilities;
  /** Whether the driver computes on the processor. */
  readonly isSoftware: boolean;
  readonly #gpu: GPUDevice;
  readonly #begin: Begin;
  readonly #memory: Memory;
  readonly #pipelines: Pipelines;
  /** Those of plans whose products do not round. */
  readonly #exact: Pipelines;
  readonly #team: CompileTeam | null;
  readonly #prepared = new WeakMap<Plan, Prepared>();
  #failure: Error | null = null;
  #closed = false;

  constructor({ gpu, capabilities, limits, isSoftware }: Opened, team: CompileTeam | null = null) {
    this.capabilities = capabilities;
    this.isSoftware = isSoftware;
    this.#gpu = gpu;
    this.#begin = capabilities.gpu?.provider === "dawn" ? paced : plainly;
    this.#memory = new Memory(gpu, this.#begin);
    this.#pipelines = new Pipelines(gpu, limits, this.#begin, team);
    this.#exact = new Pipelines(gpu, { ...limits, matrix: null }, this.#begin, team);
    this.#team = team;
    gpu.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      const message = "error" in event && event.error instanceof Object && "message" in event.error
        ? event.error.message
        : event.type;
      const problem = `${capabilities.adapterName} reported an error: ${message}`;
      this.#failure ??= /\bdevice\b.*\blost\b/i.test(problem)
        ? new DeviceLostError(problem)
        : new Error(problem);
    });
    gpu.lost.then(({ reason, message }) => {
      const why = (message || reason).replace(/\.$/, "");
      // Errors that follow from the loss may have been reported before it.
      this.#failure = this.#closed
        ? new Error("The GPU was closed.")
        : new DeviceLostError(`${capabilities.adapterName} was lost: ${why}. Open it again.`);
    });
  }

  prepare(plan: Plan): void {
    this.#check();
    // What went wrong is told by `compile`.
    this.#prepare(plan).ready.catch(() => {});
  }

  async tune(plan: Plan, known: TileMemory): Promise<Tuned> {
    this.#check();
    const tuned = await tune(plan, this.#memory, this.#pipelines, known)
      .catch((error: unknown) => this.#fail(error));
    this.#check();
    return tuned;
  }

  async compile(plan: Plan, exact = false): Promise<GpuExecutable> {
    this.#check();
    const executable = await makeExecutable(plan, this.#memory, () => this.#prepare(plan, exact))
      .catch((error: unknown) => this.#fail(error));
    this.#check();
    return executable;
  }

  upload(data: HostArray, aval: Aval): DeviceArray {
    this.#check();
    requireHost(data, aval);
    const buffer = this.#memory.allocate(data.byteLength, showAval(aval));
    this.#memory.write(buffer, 0, data);
    return new GpuArray(aval, buffer, 0, true);
  }

  zeros(aval: Aval): DeviceArray {
    this.#check();
    return new GpuArray(
      aval,
      this.#memory.allocate(sizeOf(aval.shape) * bytesOf(aval.dtype), showAval(aval)),
      0,
      true,
    );
  }

  write(array: DeviceArray, data: HostArray): void {
    this.#check();
    const { aval, buffer, offset } = this.#uploaded(array, "written");
    requireHost(data, aval);
    this.#memory.write(buffer, offset, data);
  }

  async download(array: DeviceArray): Promise<HostArray> {
    this.#check();
    const data = await this.#memory.read(gpuArray(array)).catch((error: unknown) => this.#fail(error));
    this.#check();
    return data;
  }

  free(array: DeviceArray): void {
    this.#memory.release(this.#uploaded(array, "freed").buffer);
  }

  memory(): { readonly bytes: number; readonly peakBytes: number } {
    return this.#memory.counts();
  }

  /** Give the device back, with everything on it. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#team?.close();
    this.#begin(() => this.#gpu.destroy());
    await this.#gpu.lost;
  }

  #prepare(plan: Plan, exact = false): Prepared {
    if (exact) return prepare(plan, this.#exact);
    const prepared = this.#prepared.get(plan) ?? prepare(plan, this.#pipelines);
    this.#prepared.set(plan, prepared);
    return prepared;
  }

  #uploaded(array: DeviceArray, what: string): GpuArray {
    const own = gpuArray(array);
    if (own.isUploaded) return own;
    throw new TypeError(
      `${showAval(array.aval)} is a result of an executable and cannot be ${what} by itself.`,
    );
  }

  /** Throw why a call failed: that the device is lost may be told after the calls that failed for it. */
  async #fail(error: unknown): Promise<never> {
    await Promise.race([this.#gpu.lost, new Promise((resume) => setTimeout(resume, LOSS_MS))]);
    throw this.#failure ?? error;
  }

  /** Throw what went wrong on the device since the last call. */
  #check(): void {
    if (this.#failure) throw this.#failure;
  }
}
