/** How often a device is asked whether it is done. @module */

/** Make a call that begins something on the device, whose end a promise tells. */
export type Begin = <T>(call: () => T) => T;

/** Milliseconds between two looks at Dawn. */
const PACE_MS = 1;

/** Where the provider looks after its promises by itself. */
export const plainly: Begin = (call) => call();

/** What Dawn calls to be called again. */
interface Scope {
  setImmediate: unknown;
}

/**
 * For Dawn. While one of its promises is open it looks at the device in every turn of the event loop, by way of
 * `setImmediate`, with a new native function each time: tens of thousands in a second, whose collection holds up the
 * thread for 0.2 s after 20,000 and for seconds later on (measured in Deno 2.9.6). Here it finds a timer in that place.
 * The exchange lasts as long as the call, and Dawn's later calls go the same way; nobody else sees it.
 */
export const paced: Begin = (call) => {
  const scope: Scope = globalThis;
  const own = scope.setImmediate;
  scope.setImmediate = (look: () => void) => setTimeout(() => paced(look), PACE_MS);
  try {
    return call();
  } finally {
    scope.setImmediate = own;
  }
};
