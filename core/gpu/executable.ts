/** A plan on a WebGPU device: its buffers, pipelines and bind groups, recorded and submitted once a run. @module */
import { showAval } from "../ir/aval.ts";
import type { DeviceArray, Executable } from "../plan/device.ts";
import type { Plan } from "../plan/plan.ts";
import { type Launch, launchesOf } from "./launches.ts";
import { GpuArray, gpuArray, type Memory } from "./memory.ts";
import type { Pipelines, Ready } from "./pipelines.ts";

/** Sets of inputs whose bind groups are kept. */
const KEPT = 16;

/** Launches of one submission: the GPU works on them while the next are recorded. */
const TOGETHER = 128;

/** A plan's launches, and what they are compiled to. */
export interface Prepared {
  readonly launches: readonly Launch[];
  readonly ready: Promise<readonly Ready[]>;
}

/** Begin to compile a plan's launches, side by side. */
export function prepare(plan: Plan, pipelines: Pipelines): Prepared {
  const { maxStorageBuffersPerShaderStage: maxSlots } = pipelines.gpu.limits;
  const launches = launchesOf(plan, { wgsl: pipelines.limits, maxSlots });
  const variants = new Map(launches.map((launch) => [variantOf(plan, launch), launch.parts]));
  const made = pipelines.readyAll([...variants.values()]);
  const place = new Map([...variants.keys()].map((key, i) => [key, made[i]!]));
  return { launches, ready: Promise.all(launches.map((launch) => place.get(variantOf(plan, launch))!)) };
}

/** Equal for launches of a plan that have the same text. */
export function variantOf({ steps: all }: Plan, { steps, kernels }: Launch): string {
  return kernels.map((kernel, i) => `${all[steps[i]!]!.kernel} ${kernel.slots.map((s) => s.access).join()}`)
    .join(";");
}

/** Make a plan ready: wait for its launches and allocate its buffers. */
export async function makeExecutable(
  plan: Plan,
  memory: Memory,
  prepared: () => Prepared,
): Promise<GpuExecutable> {
  const start = performance.now();
  const { launches, ready } = prepared();
  return new GpuExecutable(plan, memory, launches, await ready, (performance.now() - start) / 1000);
}

/** A plan ready to run. */
export class GpuExecutable implements Executable {
  /** Null where the caller gives the buffer. */
  readonly #buffers: readonly (GPUBuffer | null)[];
  readonly #inputOf: ReadonlyMap<number, number>;
  readonly #outputs: readonly (GpuArray | null)[];
  readonly #groups = new Map<string, readonly GPUBindGroup[]>();
  readonly #numbers = new WeakMap<GPUBuffer, number>();
  #numbered = 0;
  #disposed = false;

  constructor(
    readonly plan: Plan,
    readonly memory: Memory,
    readonly launches: readonly Launch[],
    readonly ready: readonly Ready[],
    readonly compileSeconds: number,
  ) {
    this.#inputOf = new Map(plan.inputs.map((x, i) => [x.buffer, i]));
    this.#buffers = plan.buffers.map((
      b,
      i,
    ) => (b.role === "input" ? null : memory.allocate(b.bytes, `${b.role} ${i}`)));
    this.#outputs = plan.outputs.map(({ aval, place }) => {
      const buffer = this.#buffers[place.buffer];
      return buffer ? new GpuArray(aval, buffer, place.offset, false) : null;
    });
  }

  /** Threads that compiled some of its shaders before the device asked for them. */
  get compileThreads(): number {
    return new Set(this.ready.flatMap((r) => r.thread ?? [])).size;
  }

  /** Record all launches and submit them. Throws a TypeError when the inputs are not those of the plan. */
  run(inputs: readonly DeviceArray[]): readonly DeviceArray[] {
    return this.record(inputs, (groups, submit) => {
      for (let first = 0; first < this.ready.length; first += TOGETHER) {
        submit((encoder) => {
          const pass = encoder.beginComputePass();
          const part = this.ready.slice(first, first + TOGETHER);
          part.forEach((launch, i) => dispatch(pass, launch, groups[first + i]!, part[i - 1]));
          pass.end();
        });
      }
    });
  }

  /** Run with what `encode` submits; {@linkcode dispatch} records a launch. */
  record(
    inputs: readonly DeviceArray[],
    encode: (
      groups: readonly GPUBindGroup[],
      submit: (record: (encoder: GPUCommandEncoder) => void) => void,
    ) => void,
  ): readonly DeviceArray[] {
    if (this.#disposed) throw new Error("The executable was disposed: compile the plan again.");
    const arrays = inputs.map(gpuArray);
    const groups = this.#bind(arrays);
    const { gpu } = this.memory;
    this.memory.flushReads();
    encode(groups, (record) => {
      const encoder = gpu.createCommandEncoder();
      record(encoder);
      gpu.queue.submit([encoder.finish()]);
    });
    return this.#outputs.map((own, i) => {
      if (own) return own;
      const { aval, place } = this.plan.outputs[i]!;
      const given = arrays[this.#inputOf.get(place.buffer)!]!;
      return place.offset === 0
        ? given
        : new GpuArray(aval, given.buffer, given.offset + place.offset, false);
    });
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#groups.clear();
    for (const buffer of this.#buffers) if (buffer) this.memory.release(buffer);
  }

  /** Bind groups of all launches for these inputs. */
  #bind(arrays: readonly GpuArray[]): readonly GPUBindGroup[] {
    const { inputs } = this.plan;
    if (arrays.length !== inputs.length) {
      throw new TypeError(`The plan has ${inputs.length} inputs and was given ${arrays.length}.`);
    }
    const key = arrays.map((a) => `${this.#numberOf(a.buffer)}+${a.offset}`).join();
    const known = this.#groups.get(key);
    if (known) return known;
    arrays.forEach(({ aval }, i) => {
      if (showAval(aval) === showAval(inputs[i]!.aval)) return;
      throw new TypeError(
        `Input ${i} of the plan is ${showAval(inputs[i]!.aval)} and was given ${showAval(aval)}.`,
      );
    });
    const groups = this.launches.map((launch, i) => this.#bindLaunch(launch, this.ready[i]!, arrays));
    const [oldest] = this.#groups.keys();
    if (this.#groups.size >= KEPT && oldest !== undefined) this.#groups.delete(oldest);
    this.#groups.set(key, groups);
    return groups;
  }

  #bindLaunch({ steps }: Launch, { name, layout }: Ready, arrays: readonly GpuArray[]): GPUBindGroup {
    const places = steps.flatMap((number) => {
      const { kernel, slots } = this.plan.steps[number]!;
      return slots.map(({ buffer, offset }, i) => {
        const writes = this.plan.kernels[kernel]!.slots[i]!.access !== "read", own = this.#buffers[buffer];
        if (own) return { of: buffer, writes, buffer: own, offset };
        const given = arrays[this.#inputOf.get(buffer)!]!;
        return { of: buffer, writes, buffer: given.buffer, offset: given.offset + offset };
      });
    });
    for (const a of places) {
      if (a.writes && places.some((b) => b.buffer === a.buffer && b.of !== a.of)) {
        throw new Error(`Kernel ${name} writes an array that was also given as another input: give a copy.`);
      }
    }
    // Bindings that are written must not overlap others of their buffer: there each part ends where the next one begins.
    // Parts that are only read may lie in one another.
    const written = new Set(places.filter((p) => p.writes).map((p) => p.buffer));
    const entries = places.map(({ buffer, offset }, binding) => {
      const next = written.has(buffer)
        ? places.filter((p) => p.buffer === buffer && p.offset > offset).map((p) => p.offset)
        : [];
      return { binding, resource: { buffer, offset, size: Math.min(buffer.size, ...next) - offset } };
    });
    return this.memory.gpu.createBindGroup({ label: name, layout, entries });
  }

  #numberOf(buffer: GPUBuffer): number {
    let number = this.#numbers.get(buffer);
    if (number === undefined) this.#numbers.set(buffer, number = this.#numbered++);
    return number;
  }
}

/** Record one launch, after `before` in the same pass. */
export function dispatch(
  pass: GPUComputePassEncoder,
  { pipeline, workgroups }: Ready,
  group: GPUBindGroup,
  before?: Ready,
): void {
  if (before?.pipeline !== pipeline) pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(...workgroups);
}
