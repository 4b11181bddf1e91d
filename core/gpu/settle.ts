/** Waiting for a device. @module */

/** Waits for a promise of the device. */
export type Settle = <T>(promise: Promise<T>) => Promise<T>;

/** Milliseconds until the first nudge, and at most between two. */
const SOON_MS = 1, LATE_MS = 16;

/** How to wait where promises settle by themselves. */
export const plainly: Settle = (promise) => promise;

/**
 * How to wait for Dawn. In Deno its promises, those of pipelines as well as those of reads, now and then stay open
 * although the work is done, until more work is submitted; turns of the event loop alone do not help. So a few bytes
 * are read as long as anybody waits, more and more rarely.
 */
export function nudging(gpu: GPUDevice): Settle {
  const source = gpu.createBuffer({ label: "nudge", size: 4, usage: GPUBufferUsage.COPY_SRC });
  let waiting = 0, delay = 0;
  const read = async (): Promise<void> => {
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const target = gpu.createBuffer({ label: "nudge", size: 4, usage });
    const encoder = gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(source, 0, target, 0, 4);
    gpu.queue.submit([encoder.finish()]);
    await target.mapAsync(GPUMapMode.READ);
    target.destroy();
  };
  const nudge = (): void => {
    if (waiting === 0) return void (delay = 0);
    // A lost device reads nothing; whoever waits hears of the loss.
    read().catch(() => {});
    delay = Math.min(2 * delay, LATE_MS);
    setTimeout(nudge, delay);
  };
  return async (promise) => {
    waiting++;
    const isIdle = delay === 0;
    delay = SOON_MS;
    if (isIdle) setTimeout(nudge, delay);
    try {
      return await promise;
    } finally {
      waiting--;
    }
  };
}
