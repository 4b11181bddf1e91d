/** The CPU target: plans run as WebAssembly on threads over one shared memory. @module */
import { type Aval, bytesOf, showAval, sizeOf } from "../ir/aval.ts";
import { kernelKey } from "../kernel/show_kernel.ts";
import { printWat, sharedModule } from "../kernel/wat.ts";
import type { Capabilities, Device, DeviceArray, Executable, HostArray } from "../plan/device.ts";
import type { Plan } from "../plan/plan.ts";
import { assemble } from "./assemble.ts";
import { CpuMemory } from "./memory.ts";
import { makeWalk, type PlacedKernel, tableBytes } from "./schedule.ts";
import { Team } from "./team.ts";
import { StepError, type Walk } from "./walk.ts";

/** Most threads that are started unasked. */
const MAX_THREADS = 16;

/** How to open the CPU target. */
export interface CpuOptions {
  /** Threads, the caller's included; those of the machine, at most 16, unless said. */
  readonly threads?: number;
  /** Bytes of all buffers together; 4 GiB unless said. */
  readonly maxBytes?: number;
}

/** Open the CPU target. Needs permission to read Gyre's own files, nothing else. */
export async function openCpu(options: CpuOptions = {}): Promise<Device> {
  const threads = options.threads ?? Math.min(navigator.hardwareConcurrency, MAX_THREADS);
  if (!Number.isInteger(threads) || threads < 1) {
    throw new RangeError(`The CPU target needs a whole number of threads, at least 1; got ${threads}.`);
  }
  const memory = new CpuMemory(options.maxBytes);
  const shared = await assemble("shared", sharedModule());
  return new CpuDevice(memory, await Team.start(threads, memory.memory, shared));
}

/** An array in the memory of a CPU target; `address` is null after it was freed. */
class CpuArray implements DeviceArray {
  constructor(
    readonly aval: Aval,
    readonly device: CpuDevice,
    public address: number | null,
    readonly isOwned: boolean,
  ) {}
}

class CpuDevice implements Device {
  readonly capabilities: Capabilities;
  readonly #memory: CpuMemory;
  readonly #team: Team;
  readonly #kernels = new Map<string, PlacedKernel>();
  /** Compilations one after the other, so that they find each other's kernels. */
  #compiling: Promise<unknown> = Promise.resolve();
  #scratch: { address: number; bytes: number } | null = null;

  constructor(memory: CpuMemory, team: Team) {
    this.#memory = memory;
    this.#team = team;
    this.capabilities = {
      kind: "cpu",
      adapterName: `CPU, WebAssembly SIMD, ${team.threads} ${team.threads === 1 ? "thread" : "threads"}`,
      f16: true,
      maxSlots: 64,
      maxBufferBytes: memory.limit,
      maxTotalBytes: memory.limit,
      gpu: null,
    };
  }

  compile(plan: Plan): Promise<Executable> {
    const compiled = this.#compiling.then(() => this.#compile(plan));
    this.#compiling = compiled.catch(() => {});
    return compiled;
  }

  async #compile(plan: Plan): Promise<Executable> {
    const begin = performance.now();
    const kernels = await this.#place(plan);
    this.#reserveScratch(Math.max(0, ...kernels.map((k) => k.cut.scratchBytes)));
    const owned: number[] = [];
    const allocate = (bytes: number): number => {
      const address = this.#memory.allocate(bytes);
      owned.push(address);
      return address;
    };
    try {
      const bases = plan.buffers.map(({ bytes, role }) => {
        if (role === "input") return null;
        const address = allocate(bytes);
        if (role === "zeroed") this.bytes(address, bytes).fill(0);
        return address;
      });
      const walk = makeWalk(plan, kernels, bases, allocate(tableBytes(plan)), this.#team.threads);
      const id = await this.#team.addPlan(walk);
      const dispose = (): void => {
        if (owned.length === 0) return;
        this.#team.dropPlan(id);
        for (const address of owned.splice(0)) this.#memory.release(address);
      };
      const compileSeconds = (performance.now() - begin) / 1000;
      return { run: this.#runner(plan, walk, id, bases), compileSeconds, dispose };
    } catch (error) {
      for (const address of owned) this.#memory.release(address);
      throw error;
    }
  }

  /** Kernels of the plan; those that are new are printed and assembled as one module. */
  async #place(plan: Plan): Promise<PlacedKernel[]> {
    const keys = plan.kernels.map(kernelKey);
    const fresh = new Map(
      keys.map((key, i) => [key, plan.kernels[i]!]).filter(([key]) => !this.#kernels.has(key as string)) as [
        string,
        Plan["kernels"][number],
      ][],
    );
    if (fresh.size > 0) {
      const { text, cuts } = printWat([...fresh.values()]);
      const first = this.#team.kernelCount;
      await this.#team.addModule(await assemble("kernels", text), fresh.size);
      [...fresh.keys()].forEach((key, i) => this.#kernels.set(key, { number: first + i, cut: cuts[i]! }));
    }
    return keys.map((key) => this.#kernels.get(key)!);
  }

  #reserveScratch(bytes: number): void {
    if (bytes <= (this.#scratch?.bytes ?? 0)) return;
    if (this.#scratch) this.#memory.release(this.#scratch.address);
    this.#scratch = null;
    // Threads' parts are whole cache lines, and a page apart so that they do not collide in the caches.
    const each = Math.ceil(bytes / 64) * 64 + 4096 + 64;
    const address = this.#memory.allocate(each * this.#team.threads);
    this.#scratch = { address, bytes };
    this.#team.setScratch(address, each);
  }

  #runner(plan: Plan, walk: Walk, id: number, bases: readonly (number | null)[]): Executable["run"] {
    const inputOf = new Map(plan.inputs.map(({ buffer }, i) => [buffer, i]));
    const inputWords = (walk.table / 4) + walk.steps.length;
    const own = plan.outputs.map(({ aval, place }) => {
      const base = bases[place.buffer];
      return base === null || base === undefined
        ? null
        : new CpuArray(aval, this, base + place.offset, false);
    });
    return (inputs) => {
      if (inputs.length !== plan.inputs.length) {
        throw new Error(`The plan takes ${plan.inputs.length} inputs and was given ${inputs.length}.`);
      }
      const words = new Int32Array(this.#memory.memory.buffer);
      inputs.forEach((array, i) => {
        const expected = plan.inputs[i]!.aval;
        if (showAval(array.aval) !== showAval(expected)) {
          throw new Error(
            `Input ${i} of the plan is ${showAval(expected)} and was given ${showAval(array.aval)}.`,
          );
        }
        words[inputWords + i] = this.#address(array);
      });
      try {
        this.#team.run(id);
      } catch (error) {
        if (!(error instanceof StepError)) throw error;
        const { name } = plan.kernels[plan.steps[error.step]!.kernel]!;
        throw new Error(`Kernel ${name} failed. ${error.message}`, { cause: error });
      }
      return plan.outputs.map(({ place }, o) => own[o] ?? inputs[inputOf.get(place.buffer)!]!);
    };
  }

  upload(data: HostArray, aval: Aval): DeviceArray {
    const array = new CpuArray(aval, this, null, true);
    const expected = sizeOf(aval.shape);
    if (data.length !== expected || data.BYTES_PER_ELEMENT !== bytesOf(aval.dtype)) {
      throw new Error(
        `${showAval(aval)} is ${expected} numbers of ${bytesOf(aval.dtype)} bytes; ` +
          `the data are ${data.length} of ${data.BYTES_PER_ELEMENT}.`,
      );
    }
    array.address = this.#memory.allocate(data.byteLength);
    this.write(array, data);
    return array;
  }

  write(array: DeviceArray, data: HostArray): void {
    const address = this.#address(array);
    const bytes = sizeOf(array.aval.shape) * bytesOf(array.aval.dtype);
    if (data.byteLength !== bytes) {
      throw new Error(`${showAval(array.aval)} has ${bytes} bytes and cannot take ${data.byteLength}.`);
    }
    this.bytes(address, bytes).set(new Uint8Array(data.buffer, data.byteOffset, bytes));
  }

  download(array: DeviceArray): Promise<HostArray> {
    const { shape, dtype } = array.aval;
    const address = this.#address(array), size = sizeOf(shape);
    const copy = this.bytes(address, size * bytesOf(dtype)).slice().buffer;
    switch (dtype) {
      case "f32":
        return Promise.resolve(new Float32Array(copy));
      case "f16":
      case "bf16":
        return Promise.resolve(new Uint16Array(copy));
      case "i32":
        return Promise.resolve(new Int32Array(copy));
      case "u32":
      case "bool":
        return Promise.resolve(new Uint32Array(copy));
    }
  }

  /** Arrays that an executable returned stay until it is disposed of. */
  free(array: DeviceArray): void {
    const address = this.#address(array);
    if (!(array instanceof CpuArray) || !array.isOwned) return;
    this.#memory.release(address);
    array.address = null;
  }

  memory(): { readonly bytes: number; readonly peakBytes: number } {
    return this.#memory.usage;
  }

  close(): Promise<void> {
    return this.#team.close();
  }

  /** A view of the memory as it is now; growing replaces it. */
  bytes(address: number, bytes: number): Uint8Array {
    return new Uint8Array(this.#memory.memory.buffer, address, bytes);
  }

  #address(array: DeviceArray): number {
    if (!(array instanceof CpuArray) || array.device !== this) {
      throw new Error(`The array ${showAval(array.aval)} belongs to another device: upload it to this one.`);
    }
    if (array.address === null) throw new Error(`The array ${showAval(array.aval)} was freed.`);
    return array.address;
  }
}
