/** Waiting for a device. @module */

/** Waits for a promise of the device. */
export type Settle = <T>(promise: Promise<T>) => Promise<T>;

/** Milliseconds between two nudges. */
const NUDGE_MS = 1;

/** How to wait where promises settle by themselves. */
export const plainly: Settle = (promise) => promise;

/**
 * How to wait for Dawn. It looks for finished work in a callback that each of its asynchronous calls asks for, and now
 * and then forgets to ask for the next one: its promises then stay open until something else is called. An empty
 * error scope is such a call, and nothing but that.
 */
export function nudging(gpu: GPUDevice): Settle {
  let waiting = 0, isNudging = false;
  const nudge = (): void => {
    if (waiting === 0) return void (isNudging = false);
    gpu.pushErrorScope("validation");
    // A lost device has no scopes; whoever waits hears of the loss.
    gpu.popErrorScope().catch(() => {});
    setTimeout(nudge, NUDGE_MS);
  };
  return async (promise) => {
    waiting++;
    if (!isNudging) {
      isNudging = true;
      setTimeout(nudge, NUDGE_MS);
    }
    try {
      return await promise;
    } finally {
      waiting--;
    }
  };
}
