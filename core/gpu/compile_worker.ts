/** A thread that compiles shaders on a device of its own, so that the driver knows them when another asks. @module */
import { parentPort, workerData } from "node:worker_threads";
import { type AdapterOptions, openAdapter } from "./adapter.ts";
import { paced, plainly } from "./pace.ts";
import { type Shader, ShaderCompiler } from "./shader.ts";

/** What a thread is started with: what the device that wants the shaders was opened with. */
export interface Start {
  readonly compilesFor: AdapterOptions;
}

/** Words that the threads of a batch share: the next shader to take, and whether to take none any more. */
export const NEXT = 0, STOP = 1, WORDS = 2;

/** Shaders, each of which one of the threads compiles: whoever is free takes the next. */
export interface Batch {
  readonly kind: "batch";
  readonly id: number;
  readonly shaders: readonly Shader[];
  readonly words: Int32Array;
}

/** What a thread is told. */
export type Order = Batch | { readonly kind: "close" };

/** What a thread tells. */
export type Report =
  /** Its device cannot be opened. */
  | { readonly kind: "failed" }
  | { readonly kind: "compiled"; readonly id: number; readonly shader: number }
  /** It takes no more shaders of this batch. */
  | { readonly kind: "done"; readonly id: number }
  /** Its device is gone. */
  | { readonly kind: "closed" };

type Port = NonNullable<typeof parentPort>;

// A thread of somebody else may import this module too.
const start: unknown = workerData;
if (parentPort && isStart(start)) void serve(parentPort, start.compilesFor);

function isStart(x: unknown): x is Start {
  return typeof x === "object" && x !== null && "compilesFor" in x;
}

async function serve(port: Port, options: AdapterOptions): Promise<void> {
  const tell = (report: Report): void => port.postMessage(report);
  const batches: Batch[] = [];
  let isClosing = false, wake = (): void => {};
  port.on("message", (order: Order) => {
    if (order.kind === "batch") batches.push(order);
    else isClosing = true;
    wake();
  });
  // Why it cannot be opened is told by the device that wants the shaders, which then compiles them itself.
  const opened = await openAdapter(options).catch(() => null);
  if (!opened) return tell({ kind: "failed" });
  const { gpu, capabilities } = opened, begin = capabilities.gpu?.provider === "dawn" ? paced : plainly;
  const compiler = new ShaderCompiler(gpu, begin);
  for (;;) {
    // What was asked for last is waited for first: the shaders of later plans are asked for early.
    const batch = batches.at(-1);
    if (batch) {
      if (await compileNext(batch, compiler, tell)) continue;
      batches.splice(batches.indexOf(batch), 1);
      tell({ kind: "done", id: batch.id });
    } else if (isClosing) break;
    else await new Promise<void>((resolve) => wake = resolve);
  }
  begin(() => gpu.destroy());
  await gpu.lost;
  tell({ kind: "closed" });
}

/** Compile the next shader of a batch; false where this thread takes no more of them. */
async function compileNext(
  { id, shaders, words }: Batch,
  compiler: ShaderCompiler,
  tell: (report: Report) => void,
): Promise<boolean> {
  if (Atomics.load(words, STOP) !== 0) return false;
  const shader = Atomics.add(words, NEXT, 1);
  if (shader >= shaders.length) return false;
  try {
    await compiler.compile(compiler.read(shaders[shader]!));
  } catch {
    // What is wrong with it is told by the device that wants it. Nothing says that this one can compile others.
    return false;
  }
  tell({ kind: "compiled", id, shader });
  return true;
}
