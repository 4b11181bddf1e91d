/** Buffers on a WebGPU device: allocation, accounting, and the way of numbers in and out. @module */
import { type Aval, bytesOf, type DType, showAval, sizeOf } from "../ir/aval.ts";
import type { DeviceArray, HostArray } from "../plan/device.ts";
import { ALIGNMENT } from "../plan/plan.ts";
import { type Begin, plainly } from "./pace.ts";

/** Numbers in a buffer, from `offset` bytes on. */
export class GpuArray implements DeviceArray {
  constructor(
    readonly aval: Aval,
    readonly buffer: GPUBuffer,
    readonly offset: number,
    /** Whether it was made by `upload`, and so may be written and freed by itself. */
    readonly isUploaded: boolean,
  ) {}
}

/** The array as one of this device; throws for those of other devices. */
export function gpuArray(array: DeviceArray): GpuArray {
  if (array instanceof GpuArray) return array;
  throw new TypeError(`${showAval(array.aval)} is on another device: upload it to this one first.`);
}

/** The kind of host array that holds a dtype; throws a TypeError when `data` is of another kind or length. */
export function requireHost(data: HostArray, { shape, dtype }: Aval): void {
  const kind = hostKinds[dtype];
  if (!(data instanceof kind) || data.length !== sizeOf(shape)) {
    throw new TypeError(
      `${showAval({ shape, dtype })} needs a ${kind.name} of ${
        sizeOf(shape)
      } elements and was given a ${data.constructor.name} of ${data.length}.`,
    );
  }
}

const hostKinds: Record<
  DType,
  { new (buffer: ArrayBuffer, offset: number, length: number): HostArray; readonly name: string }
> = {
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  bool: Uint32Array,
};

/** Allocates on one device and counts. */
export class Memory {
  #bytes = 0;
  #peakBytes = 0;
  readonly #live = new Set<GPUBuffer>();
  readonly #asked: Asked[] = [];

  constructor(readonly gpu: GPUDevice, readonly begin: Begin = plainly) {}

  /** A zeroed buffer for kernels, its size rounded up to the alignment. */
  allocate(bytes: number, label: string): GPUBuffer {
    const size = Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    this.#bytes += size;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    const buffer = this.gpu.createBuffer({ label, size, usage });
    this.#live.add(buffer);
    return buffer;
  }

  /** Give a buffer back; throws when that was done before. */
  release(buffer: GPUBuffer): void {
    this.flushReads();
    if (!this.#live.delete(buffer)) throw new Error(`The buffer of ${buffer.label} was freed before.`);
    this.#bytes -= buffer.size;
    buffer.destroy();
  }

  counts(): { readonly bytes: number; readonly peakBytes: number } {
    return { bytes: this.#bytes, peakBytes: this.#peakBytes };
  }

  write(buffer: GPUBuffer, offset: number, data: HostArray): void {
    this.flushReads();
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    if (bytes.length % 4 === 0) return this.gpu.queue.writeBuffer(buffer, offset, bytes);
    // An odd number of 16-bit values: WebGPU copies whole words.
    const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
    padded.set(bytes);
    this.gpu.queue.writeBuffer(buffer, offset, padded);
  }

  /**
   * Copy an array to the host. Reads that are asked for together share one buffer and one wait: waiting is what costs,
   * about 11 ms in Deno.
   */
  read(array: GpuArray): Promise<HostArray> {
    if (this.#asked.length === 0) queueMicrotask(() => this.flushReads());
    return new Promise((resolve, reject) => this.#asked.push({ array, resolve, reject }));
  }

  /** Queue the copies of the reads asked for so far: before anything that may change what they read. */
  flushReads(): void {
    const asked = this.#asked.splice(0);
    if (asked.length === 0) return;
    void this.#readAll(asked).catch((error: unknown) => asked.forEach(({ reject }) => reject(error)));
  }

  async #readAll(asked: readonly Asked[]): Promise<void> {
    let size = 0;
    const places = asked.map(({ array: { aval } }) => {
      const offset = size, bytes = sizeOf(aval.shape) * bytesOf(aval.dtype);
      size += Math.max(1, Math.ceil(bytes / READ_ALIGNMENT)) * READ_ALIGNMENT;
      return { offset, bytes: Math.ceil(bytes / 4) * 4 };
    });
    const staging = this.gpu.createBuffer({
      label: "read",
      size,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const encoder = this.gpu.createCommandEncoder();
    asked.forEach(({ array: { buffer, offset } }, i) => {
      const { offset: to, bytes } = places[i]!;
      if (bytes > 0) encoder.copyBufferToBuffer(buffer, offset, staging, to, bytes);
    });
    this.gpu.queue.submit([encoder.finish()]);
    await this.begin(() => staging.mapAsync(GPUMapMode.READ));
    const copy = staging.getMappedRange().slice(0);
    staging.destroy();
    asked.forEach(({ array: { aval }, resolve }, i) =>
      resolve(
        new hostKinds[aval.dtype](
          copy.slice(places[i]!.offset, places[i]!.offset + places[i]!.bytes),
          0,
          sizeOf(aval.shape),
        ),
      )
    );
  }
}

/** A read that was asked for. */
interface Asked {
  readonly array: GpuArray;
  readonly resolve: (data: HostArray) => void;
  readonly reject: (reason: unknown) => void;
}

/** Bytes between the arrays of one read. */
const READ_ALIGNMENT = 8;
