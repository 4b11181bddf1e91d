/** Time of a plan while the device is kept busy. @module */
import type { Gpu } from "../core/gpu/mod.ts";
import { aval } from "../core/ir/aval.ts";
import type { DeviceArray } from "../core/plan/device.ts";
import type { Plan } from "../core/plan/plan.ts";

/** Times that a plan is run by one submission, which costs as much as some short kernels. */
const AT_ONCE = 20;
/** Milliseconds until the clock has gone up, and of a measurement, of which the median counts. */
const WARM_MS = 300, MEASURED_MS = 200, MEASURED = 3;

/**
 * Seconds of one run of a plan, one after the other with no pause between: a device that waits lowers its clock, and
 * timestamps around each kernel count its start and its end as well.
 */
export async function steadySeconds(gpu: Gpu, plan: Plan, inputs: readonly DeviceArray[]): Promise<number> {
  const steps = Array.from({ length: AT_ONCE }, () => plan.steps).flat();
  const executable = await gpu.compile({ ...plan, steps });
  const mark = gpu.upload(Float32Array.of(0), aval([]));
  /** Milliseconds until so many runs are done, and the device has told of it. */
  const wait = async (runs: number): Promise<number> => {
    const start = performance.now();
    for (let i = 0; i < runs; i++) executable.run(inputs);
    await gpu.download(mark);
    return performance.now() - start;
  };
  try {
    await wait(1);
    const start = performance.now();
    let runs = 1;
    while (performance.now() - start < WARM_MS) runs = Math.max(1, Math.ceil(runs * 20 / await wait(runs)));
    runs = Math.ceil(runs * MEASURED_MS / await wait(runs));
    const told: number[] = [], times: number[] = [];
    for (let i = 0; i < MEASURED; i++) times.push(await wait(runs));
    for (let i = 0; i < MEASURED; i++) told.push(await wait(0));
    return (median(times) - median(told)) / 1000 / runs / AT_ONCE;
  } finally {
    gpu.free(mark);
    executable.dispose();
  }
}

function median(of: readonly number[]): number {
  return of.toSorted((x, y) => x - y)[of.length >> 1]!;
}
