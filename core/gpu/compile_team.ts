/**
 * Threads that compile shaders before the device that wants them asks for them. A driver compiles for one device on one
 * thread, and knows in the whole process what it compiled for another device with the same features: so threads with a
 * device each fill its cache. The result is the same without them. @module
 */
import { Worker } from "node:worker_threads";
import type { AdapterOptions } from "./adapter.ts";
import { type Batch, type Order, type Report, type Start, STOP, WORDS } from "./compile_worker.ts";
import type { Shader } from "./shader.ts";

/** Milliseconds that threads wait for more to compile: a start is several plans. */
const LINGER_MS = 10_000;

/** Threads with a device each, while there is something to compile. */
export class CompileTeam {
  #members: readonly Member[] = [];
  readonly #batches = new Map<number, Work>();
  readonly #ending = new Set<Promise<void>>();
  #count = 0;
  #isClosed = false;
  #lingering: ReturnType<typeof setTimeout> | null = null;

  /** `options` must be those that the device that wants the shaders was opened with. */
  constructor(
    readonly options: AdapterOptions,
    readonly threads: number,
    readonly lingerMs: number = LINGER_MS,
  ) {}

  /** Threads that there are now. */
  get size(): number {
    return this.#members.length;
  }

  /** Begin to open the devices, before there is something to compile. Threads without work keep no process alive. */
  start(): void {
    if (this.#members.length > 0 || this.#isClosed) return;
    this.#members = Array.from(
      { length: this.threads },
      (_, i) => new Member(this.options, (report) => this.#hear(i, report)),
    );
  }

  /**
   * Begin to compile, longest first, before what was asked for earlier; the threads end some time after all is done. Each
   * promise tells which thread has compiled its shader, and null where none did: it is not valid, or no thread has a
   * device. None rejects.
   */
  compile(shaders: readonly Shader[]): readonly Promise<number | null>[] {
    this.#stay();
    this.start();
    const order = shaders.map((_, i) => i).sort((a, b) => shaders[b]!.code.length - shaders[a]!.code.length);
    const words = new Int32Array(new SharedArrayBuffer(4 * WORDS)), id = this.#count++;
    const done = shaders.map(() => Promise.withResolvers<number | null>());
    const batch: Batch = { kind: "batch", id, shaders: order.map((i) => shaders[i]!), words };
    const able = [...this.#members.entries()].filter(([, member]) => !member.isGone);
    this.#batches.set(id, {
      words,
      busy: new Set(able.map(([i]) => i)),
      end: (shader, thread) => done[order[shader]!]!.resolve(thread),
      endAll: () => done.forEach((d) => d.resolve(null)),
    });
    for (const [, member] of able) member.tell(batch);
    if (able.length === 0) this.#finish(id);
    return done.map((d) => d.promise);
  }

  /** End all threads and their devices, after the shaders that they are at. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { words } of this.#batches.values()) Atomics.store(words, STOP, 1);
    this.#stay();
    this.#end();
    await Promise.all(this.#ending);
  }

  #hear(thread: number, report: Report | null): void {
    if (report === null || report.kind === "failed") this.#leave(thread);
    else if (report.kind === "compiled") this.#batches.get(report.id)?.end(report.shader, thread);
    else if (report.kind === "done") this.#leave(thread, report.id);
  }

  /** A thread takes no more shaders of a batch, or of any. */
  #leave(thread: number, id?: number): void {
    for (const [of, { busy }] of this.#batches) {
      if (id !== undefined && of !== id) continue;
      busy.delete(thread);
      if (busy.size === 0) this.#finish(of);
    }
  }

  #finish(id: number): void {
    this.#batches.get(id)?.endAll();
    this.#batches.delete(id);
    if (this.#batches.size > 0 || this.#isClosed) return;
    this.#members.forEach((m) => m.rest());
    this.#stay();
    const timer = setTimeout(() => this.#end(), this.lingerMs);
    Deno.unrefTimer(timer);
    this.#lingering = timer;
  }

  #stay(): void {
    if (this.#lingering !== null) clearTimeout(this.#lingering);
    this.#lingering = null;
  }

  #end(): void {
    const ending = Promise.all(this.#members.map((m) => m.close())).then(() => {
      this.#ending.delete(ending);
    });
    this.#ending.add(ending);
    this.#members = [];
  }
}

/** A batch that is not done. */
interface Work {
  readonly words: Int32Array;
  /** Threads that may still compile some of it. */
  readonly busy: Set<number>;
  readonly end: (shader: number, thread: number) => void;
  /** What nobody compiled stays so. */
  readonly endAll: () => void;
}

/** One thread. */
class Member {
  readonly #worker: Worker;
  readonly #gone = Promise.withResolvers<void>();
  #isGone = false;

  /** `hear` is given its reports, and null when it ends unasked. */
  constructor(options: AdapterOptions, hear: (report: Report | null) => void) {
    const start: Start = { compilesFor: options };
    this.#worker = new Worker(new URL("./compile_worker.ts", import.meta.url), { workerData: start });
    const leave = (): void => {
      this.#isGone = true;
      this.#gone.resolve();
    };
    this.#worker.on("message", (report: Report) => {
      if (report.kind === "failed" || report.kind === "closed") leave();
      hear(report);
    });
    this.#worker.on("error", () => {
      leave();
      hear(null);
    });
    this.#worker.unref();
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  tell(order: Order): void {
    this.#worker.ref();
    this.#worker.postMessage(order);
  }

  /** Keep no process alive. */
  rest(): void {
    this.#worker.unref();
  }

  async close(): Promise<void> {
    if (!this.#isGone) this.tell({ kind: "close" });
    await this.#gone.promise;
    await this.#worker.terminate();
  }
}
