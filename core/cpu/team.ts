/** The threads of the CPU target: the caller's, which leads, and workers. @module */
import { Worker } from "node:worker_threads";
import {
  ARRIVED,
  CALL,
  type KernelFunction,
  MESSAGES,
  PHASE,
  PLAN,
  RUNS,
  SCRATCH,
  type Walk,
  Walker,
} from "./walk.ts";
import { importsOf, kernelsOf, type ThreadMessage, type ThreadStart } from "./worker.ts";

/** Threads over one memory, all with the same kernels and plans. */
export class Team {
  readonly #memory: WebAssembly.Memory;
  readonly #words: Int32Array;
  readonly #workers: Worker[] = [];
  readonly #imports: WebAssembly.Imports;
  readonly #kernels: KernelFunction[] = [];
  readonly #plans = new Map<number, Walker>();
  #last: Promise<void> = Promise.resolve();
  #count = 0;

  private constructor(memory: WebAssembly.Memory, shared: WebAssembly.Module) {
    this.#memory = memory;
    this.#words = new Int32Array(memory.buffer);
    this.#imports = importsOf(shared, memory);
  }

  /** Start `threads - 1` workers and wait until they are ready. They do not keep the process alive. */
  static async start(threads: number, memory: WebAssembly.Memory, shared: WebAssembly.Module): Promise<Team> {
    const team = new Team(memory, shared);
    await Promise.all(Array.from({ length: threads - 1 }, (_, i) => {
      const start: ThreadStart = { memory, shared, thread: i + 1 };
      const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: start });
      team.#workers.push(worker);
      return answer(worker);
    }));
    for (const worker of team.#workers) worker.unref();
    return team;
  }

  /** Threads, the caller's included. */
  get threads(): number {
    return this.#workers.length + 1;
  }

  /** Number of kernels so far: the next module's first kernel gets this number. */
  get kernelCount(): number {
    return this.#kernels.length;
  }

  /** Make the `count` kernels of a module known to all threads. */
  async addModule(module: WebAssembly.Module, count: number): Promise<void> {
    this.#kernels.push(...kernelsOf(module, count, this.#imports));
    await this.#tell({ kind: "module", module, count });
  }

  /** Make a plan known to all threads; returns its number. */
  async addPlan(walk: Walk): Promise<number> {
    const id = this.#count++;
    this.#plans.set(id, new Walker(walk, this.#kernels, this.#memory, 0));
    await this.#tell({ kind: "plan", id, walk });
    return id;
  }

  /** Forget a plan. */
  dropPlan(id: number): void {
    this.#plans.delete(id);
    void this.#tell({ kind: "drop", id });
  }

  /** Where threads find their scratch memory. */
  setScratch(address: number, bytes: number): void {
    this.#words[SCRATCH] = address;
    this.#words[SCRATCH + 1] = bytes;
  }

  /** Run a plan on all threads; returns when it is done. */
  run(id: number): void {
    const walker = this.#plans.get(id);
    if (!walker) throw new Error("The executable was disposed of, or its device closed.");
    if (this.#workers.length > 0 && walker.walk.steps.some((s) => s.isPhase)) {
      Atomics.store(this.#words, PHASE, 0);
      Atomics.store(this.#words, ARRIVED, 0);
      Atomics.store(this.#words, PLAN, id);
      this.#call(RUNS);
    }
    walker.lead(this.threads);
  }

  /** End all threads. */
  async close(): Promise<void> {
    this.#plans.clear();
    await this.#tell({ kind: "close" });
    await Promise.all(this.#workers.splice(0).map((w) => w.terminate()));
  }

  #call(reason: number): void {
    Atomics.add(this.#words, reason, 1);
    Atomics.add(this.#words, CALL, 1);
    Atomics.notify(this.#words, CALL);
  }

  /** Send a message and wake the workers to read it; one message at a time. */
  #tell(message: ThreadMessage): Promise<void> {
    this.#last = this.#last.then(async () => {
      // Announced before it is sent: a worker that found more messages than announcements would go to sleep too late.
      this.#call(MESSAGES);
      const answers = this.#workers.map((w) => {
        w.ref();
        const answered = answer(w);
        w.postMessage(message);
        return answered;
      });
      await Promise.all(answers);
      for (const w of this.#workers) w.unref();
    });
    return this.#last;
  }
}

function answer(worker: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.once("message", () => {
      worker.off("error", reject);
      resolve();
    });
    worker.once("error", reject);
  });
}
