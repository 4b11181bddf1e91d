/** Where a plan's time goes on the GPU, launch by launch. @module */
import type { DeviceArray } from "../plan/device.ts";
import { dispatch, type GpuExecutable } from "./executable.ts";

/** Time of one launch. */
export interface LaunchTime {
  readonly kernel: string;
  /** The steps of the plan that it ran side by side. */
  readonly steps: readonly number[];
  /** Seconds from the first launch's start to this one's. */
  readonly start: number;
  readonly seconds: number;
}

/** Timestamps of one query set; WebGPU allows no more. */
const QUERIES = 4096;

/**
 * Run once with a timestamp before and after every launch. They cannot overlap then, so their sum may exceed a
 * plain run. Throws when the device has no timestamps.
 */
export async function profile(
  executable: GpuExecutable,
  inputs: readonly DeviceArray[],
): Promise<LaunchTime[]> {
  const { ready, launches, memory: { gpu, begin } } = executable;
  if (!gpu.features.has("timestamp-query")) throw new Error("The GPU's driver has no timestamps.");
  const size = ready.length * 16;
  const resolved = gpu.createBuffer({ size, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
  const staging = gpu.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const sets: GPUQuerySet[] = [];
  executable.record(inputs, (groups, submit) =>
    submit((encoder) => {
      for (let first = 0; first < ready.length; first += QUERIES / 2) {
        const part = ready.slice(first, first + QUERIES / 2);
        const querySet = gpu.createQuerySet({ type: "timestamp", count: 2 * part.length });
        sets.push(querySet);
        part.forEach((launch, i) => {
          const timestampWrites = {
            querySet,
            beginningOfPassWriteIndex: 2 * i,
            endOfPassWriteIndex: 2 * i + 1,
          };
          const pass = encoder.beginComputePass({ timestampWrites });
          dispatch(pass, launch, groups[first + i]!);
          pass.end();
        });
        encoder.resolveQuerySet(querySet, 0, 2 * part.length, resolved, first * 16);
      }
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    }));
  await begin(() => staging.mapAsync(GPUMapMode.READ));
  const times = new BigUint64Array(staging.getMappedRange().slice(0));
  [staging, resolved, ...sets].forEach((x) => x.destroy());
  return ready.map(({ name }, i) => ({
    kernel: name,
    steps: launches[i]!.steps,
    start: Number(times[2 * i]! - times[0]!) / 1e9,
    seconds: Number(times[2 * i + 1]! - times[2 * i]!) / 1e9,
  }));
}
