/** Where a plan's time goes on the GPU, step by step. @module */
import type { DeviceArray } from "../plan/device.ts";
import { dispatch, type GpuExecutable } from "./executable.ts";

/** Time of one step of a plan. */
export interface StepTime {
  readonly kernel: string;
  /** Seconds from the first step's start to this one's. */
  readonly start: number;
  readonly seconds: number;
}

/** Timestamps of one query set; WebGPU allows no more. */
const QUERIES = 4096;

/**
 * Run once with a timestamp before and after every step. The steps cannot overlap then, so their sum may exceed a
 * plain run. Throws when the device has no timestamps.
 */
export async function profile(
  executable: GpuExecutable,
  inputs: readonly DeviceArray[],
): Promise<StepTime[]> {
  const { steps, memory: { gpu, begin } } = executable;
  if (!gpu.features.has("timestamp-query")) throw new Error("The GPU's driver has no timestamps.");
  const size = steps.length * 16;
  const resolved = gpu.createBuffer({ size, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
  const staging = gpu.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const sets: GPUQuerySet[] = [];
  executable.record(inputs, (groups, submit) =>
    submit((encoder) => {
      for (let first = 0; first < steps.length; first += QUERIES / 2) {
        const part = steps.slice(first, first + QUERIES / 2);
        const querySet = gpu.createQuerySet({ type: "timestamp", count: 2 * part.length });
        sets.push(querySet);
        part.forEach((step, i) => {
          const timestampWrites = {
            querySet,
            beginningOfPassWriteIndex: 2 * i,
            endOfPassWriteIndex: 2 * i + 1,
          };
          const pass = encoder.beginComputePass({ timestampWrites });
          dispatch(pass, step, groups[first + i]!);
          pass.end();
        });
        encoder.resolveQuerySet(querySet, 0, 2 * part.length, resolved, first * 16);
      }
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    }));
  await begin(() => staging.mapAsync(GPUMapMode.READ));
  const times = new BigUint64Array(staging.getMappedRange().slice(0));
  [staging, resolved, ...sets].forEach((x) => x.destroy());
  return steps.map(({ name }, i) => ({
    kernel: name,
    start: Number(times[2 * i]! - times[0]!) / 1e9,
    seconds: Number(times[2 * i + 1]! - times[2 * i]!) / 1e9,
  }));
}
