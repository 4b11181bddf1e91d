/** Bytes of the one shared WebAssembly memory, handed out and taken back. @module */
import { ALIGNMENT } from "../plan/plan.ts";

const PAGE = 65536;
/** Kernels may read this far behind what they are given. */
const SLACK = 64;

/** The CPU target has no room for an allocation. */
export class CpuMemoryError extends Error {
  override readonly name = "CpuMemoryError";
  constructor(readonly askedBytes: number, readonly usedBytes: number, readonly limitBytes: number) {
    super(
      `The CPU target is asked for ${askedBytes} bytes, ${usedBytes} are in use and the limit is ${limitBytes}: ` +
        `free arrays, run a smaller batch, or use the GPU.`,
    );
  }
}

/** A shared WebAssembly memory and its free parts. The first page is left to the threads' bookkeeping. */
export class CpuMemory {
  readonly memory: WebAssembly.Memory;
  /** Free parts by address, no two adjacent. */
  readonly #free: { at: number; bytes: number }[] = [];
  readonly #sizes = new Map<number, number>();
  readonly #limit: number;
  #end = PAGE;
  #used = 0;
  #peak = 0;

  /** `maxBytes` is cut to the 4 GiB that WebAssembly addresses. */
  constructor(maxBytes: number = 65536 * PAGE) {
    this.#limit = Math.min(Math.floor(maxBytes / PAGE), 65536) * PAGE;
    this.memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
  }

  /** Bytes that may be in use together. */
  get limit(): number {
    return this.#limit - PAGE;
  }

  /** Bytes in use now and at the most. */
  get usage(): { readonly bytes: number; readonly peakBytes: number } {
    return { bytes: this.#used, peakBytes: this.#peak };
  }

  /** Address of `bytes` new bytes with arbitrary contents; throws {@linkcode CpuMemoryError}. */
  allocate(bytes: number): number {
    const size = Math.ceil((bytes + SLACK) / ALIGNMENT) * ALIGNMENT;
    const part = this.#free.find((p) => p.bytes >= size);
    let at: number;
    if (part) {
      at = part.at;
      part.at += size;
      part.bytes -= size;
      if (part.bytes === 0) this.#free.splice(this.#free.indexOf(part), 1);
    } else {
      // A free part at the end is the beginning of what is needed.
      const tail = this.#free.at(-1);
      const isTail = tail !== undefined && tail.at + tail.bytes === this.#end;
      at = isTail ? tail.at : this.#end;
      this.#grow(at + size, bytes);
      if (isTail) this.#free.pop();
      this.#end = at + size;
    }
    this.#sizes.set(at, size);
    this.#used += size;
    this.#peak = Math.max(this.#peak, this.#used);
    return at;
  }

  /** Give back what {@linkcode allocate} returned. */
  release(at: number): void {
    const bytes = this.#sizes.get(at);
    if (bytes === undefined) throw new Error(`Nothing is allocated at address ${at}: it was freed before.`);
    this.#sizes.delete(at);
    this.#used -= bytes;
    const i = this.#free.findIndex((p) => p.at > at);
    const place = i < 0 ? this.#free.length : i;
    const before = this.#free[place - 1], after = this.#free[place];
    const joinsBefore = before !== undefined && before.at + before.bytes === at;
    const joinsAfter = after !== undefined && at + bytes === after.at;
    if (joinsBefore) {
      before.bytes += bytes + (joinsAfter ? after.bytes : 0);
      if (joinsAfter) this.#free.splice(place, 1);
    } else if (joinsAfter) {
      after.at = at;
      after.bytes += bytes;
    } else this.#free.splice(place, 0, { at, bytes });
  }

  #grow(end: number, asked: number): void {
    const missing = Math.ceil((end - this.memory.buffer.byteLength) / PAGE);
    if (missing <= 0) return;
    const refused = (): never => {
      throw new CpuMemoryError(asked, this.#used, this.limit);
    };
    if (end > this.#limit) refused();
    try {
      this.memory.grow(missing);
    } catch {
      refused();
    }
  }
}
