/** A thread of the CPU target: asleep until called, then it follows the leader through a plan. @module */
import { parentPort, workerData } from "node:worker_threads";
import { CALL, type KernelFunction, MESSAGES, PLAN, RUNS, type Walk, Walker } from "./walk.ts";

/** What a thread is started with. */
export interface ThreadStart {
  readonly memory: WebAssembly.Memory;
  readonly shared: WebAssembly.Module;
  readonly thread: number;
}

/** What a thread is told between runs. */
export type ThreadMessage =
  | { readonly kind: "module"; readonly module: WebAssembly.Module; readonly count: number }
  | { readonly kind: "plan"; readonly id: number; readonly walk: Walk }
  | { readonly kind: "drop"; readonly id: number }
  | { readonly kind: "close" };

/** Functions `k0`, `k1`, … of a module of kernels. */
export function kernelsOf(
  module: WebAssembly.Module,
  count: number,
  imports: WebAssembly.Imports,
): KernelFunction[] {
  const { exports } = new WebAssembly.Instance(module, imports);
  return Array.from({ length: count }, (_, i) => exports[`k${i}`] as KernelFunction);
}

/** Imports of kernels: the memory and the shared functions. */
export function importsOf(shared: WebAssembly.Module, memory: WebAssembly.Memory): WebAssembly.Imports {
  const { exports } = new WebAssembly.Instance(shared, { gyre: { memory } });
  return { gyre: { memory, ...exports } };
}

if (parentPort) serve(workerData as ThreadStart, parentPort);

function serve({ memory, shared, thread }: ThreadStart, port: NonNullable<typeof parentPort>): void {
  const words = new Int32Array(memory.buffer);
  const imports = importsOf(shared, memory);
  const kernels: KernelFunction[] = [];
  const plans = new Map<number, Walker>();
  let runs = 0, messages = 0;

  /** Runs plans until there is a message; the event loop, which brings it, stands still meanwhile. */
  const obey = (): void => {
    for (;;) {
      const call = Atomics.load(words, CALL);
      if (Atomics.load(words, RUNS) !== runs) {
        runs++;
        plans.get(Atomics.load(words, PLAN))!.follow();
      } else if (Atomics.load(words, MESSAGES) !== messages) return;
      else Atomics.wait(words, CALL, call);
    }
  };

  port.on("message", (message: ThreadMessage) => {
    messages++;
    if (message.kind === "module") kernels.push(...kernelsOf(message.module, message.count, imports));
    if (message.kind === "plan") plans.set(message.id, new Walker(message.walk, kernels, memory, thread));
    if (message.kind === "drop") plans.delete(message.id);
    port.postMessage("done");
    // A thread that sleeps cannot be ended.
    if (message.kind !== "close") obey();
  });
  port.postMessage("done");
}
