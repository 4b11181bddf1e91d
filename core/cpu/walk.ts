/**
 * How threads run a plan together. The thread that calls `run` leads: it does small steps alone, and opens the large ones
 * (phases) to all. In a phase each thread claims chunks of units until none is left; the next step begins when all threads
 * have arrived. Which thread runs a chunk does not change its result. @module
 */

/** A compiled kernel: (begin, end, scratch, address of each slot). */
export type KernelFunction = (...args: number[]) => void;

/** A step as the threads see it. */
export interface WalkStep {
  /** Its place in the device's list of kernels. */
  readonly kernel: number;
  readonly units: number;
  /** Chunks that the units are claimed in. */
  readonly chunks: number;
  /** Whether all threads take part. */
  readonly isPhase: boolean;
  /** Addresses of the slots; those of inputs are filled in at each run. */
  readonly addresses: readonly number[];
}

/** A plan as the threads see it. */
export interface Walk {
  readonly steps: readonly WalkStep[];
  /** Address of one claim counter (i32) for each step, followed by the addresses of the inputs' buffers. */
  readonly table: number;
  /** Slots that are bound to inputs: `addresses[slot]` of `steps[step]` is input number `input` plus `offset`. */
  readonly bindings: readonly { step: number; slot: number; input: number; offset: number }[];
}

// Words of the first page, a cache line apart.
/** Changes with every call: what sleeping threads wait on. */
export const CALL = 16;
/** Runs called for. */
export const RUNS = 24;
/** Messages sent to each thread. */
export const MESSAGES = 32;
/** The plan to run. */
export const PLAN = 48;
/** Phases opened in this run. */
export const PHASE = 64;
/** Arrivals at the end of phases in this run, of all threads but the leader. */
export const ARRIVED = 80;
/** 1 + the step at which a thread failed, 0 while none has. */
export const FAILED = 96;
/** Address of the scratch memory; the next word has the bytes of each thread. */
export const SCRATCH = 112;

const SPINS = 3000;

/** Wait until the word is at least `value`: a short time awake, then asleep. */
export function waitFor(words: Int32Array, word: number, value: number): void {
  for (let i = 0; i < SPINS; i++) if (Atomics.load(words, word) >= value) return;
  for (let now = Atomics.load(words, word); now < value; now = Atomics.load(words, word)) {
    Atomics.wait(words, word, now);
  }
}

/** One thread's view of one plan. */
export class Walker {
  readonly #args: number[][];
  readonly #words: Int32Array;
  readonly #counters: number;

  constructor(
    readonly walk: Walk,
    readonly kernels: readonly KernelFunction[],
    memory: WebAssembly.Memory,
    readonly thread: number,
  ) {
    this.#words = new Int32Array(memory.buffer);
    this.#counters = walk.table / 4;
    this.#args = walk.steps.map((s) => [0, 0, 0, ...s.addresses]);
  }

  /** Take the addresses of this run's inputs and of the scratch memory. */
  bind(): void {
    const words = this.#words;
    const scratch = words[SCRATCH]! + this.thread * words[SCRATCH + 1]!;
    for (const args of this.#args) args[2] = scratch;
    const inputs = this.#counters + this.walk.steps.length;
    for (const { step, slot, input, offset } of this.walk.bindings) {
      this.#args[step]![3 + slot] = words[inputs + input]! + offset;
    }
  }

  /** Run chunks of a step until none is left. */
  work(index: number): void {
    const { kernel, units, chunks } = this.walk.steps[index]!;
    const run = this.kernels[kernel]!, args = this.#args[index]!;
    for (;;) {
      const chunk = Atomics.add(this.#words, this.#counters + index, 1);
      if (chunk >= chunks) return;
      args[0] = Math.floor(units * chunk / chunks);
      args[1] = Math.floor(units * (chunk + 1) / chunks);
      run.apply(null, args);
    }
  }

  /** What a thread other than the leader does in a run. */
  follow(): void {
    this.bind();
    let phase = 0;
    this.walk.steps.forEach(({ isPhase }, step) => {
      if (!isPhase) return;
      waitFor(this.#words, PHASE, ++phase);
      try {
        this.work(step);
      } catch {
        Atomics.store(this.#words, FAILED, step + 1);
      }
      Atomics.add(this.#words, ARRIVED, 1);
      Atomics.notify(this.#words, ARRIVED);
    });
  }

  /** What the leader of `threads` threads does in a run. Throws what a kernel throws, after all threads have ended. */
  lead(threads: number): void {
    const words = this.#words, { steps } = this.walk;
    this.bind();
    words.fill(0, this.#counters, this.#counters + steps.length);
    let phase = 0;
    let failure: { readonly error: unknown; readonly step: number } | null = null;
    const attempt = (step: number): void => {
      if (failure) return;
      try {
        this.work(step);
      } catch (error) {
        failure = { error, step };
      }
    };
    steps.forEach(({ isPhase }, step) => {
      if (!isPhase) return attempt(step);
      Atomics.store(words, PHASE, ++phase);
      Atomics.notify(words, PHASE);
      attempt(step);
      waitFor(words, ARRIVED, phase * (threads - 1));
    });
    const failed = Atomics.exchange(words, FAILED, 0);
    if (failed > 0) throw new StepError(failed - 1, null);
    if (failure) {
      throw new StepError((failure as { step: number }).step, (failure as { error: unknown }).error);
    }
  }
}

/** A kernel stopped in the middle; `step` is its place in the plan. */
export class StepError extends Error {
  override readonly name = "StepError";
  constructor(readonly step: number, cause: unknown) {
    super(
      `Step ${step} of the plan failed${cause === null ? " on a worker thread" : `: ${String(cause)}`}.`,
      { cause },
    );
  }
}
