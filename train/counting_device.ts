/** A device that computes nothing: it counts what a real one would have in use, so that whole runs can be planned. @module */
import {
  type Aval,
  bytesOf,
  type Capabilities,
  type Device,
  type DeviceArray,
  type HostArray,
  sizeOf,
} from "../core/mod.ts";

/** What it hands out: a type, and what it counts for. */
class CountedArray implements DeviceArray {
  constructor(readonly aval: Aval, public bytes: number) {}
}

/** Sizes of allocations are multiples of this. */
const UNIT = 256;
/** Numbers that are given back of an array at the most: who plans reads but few, and a model's may not fit this machine. */
const MOST_READ = 2 ** 28;

/** A counting device. */
export interface CountingDevice extends Device {
  /** An array of one number, which needs none of the host's memory. */
  readonly filled: (value: number, aval: Aval) => DeviceArray;
}

/** A device of these capabilities that counts. What is read of it is 0. */
export function openCounting(capabilities: Capabilities): CountingDevice {
  let bytes = 0, peakBytes = 0;
  const take = (size: number): number => {
    const whole = Math.max(1, Math.ceil(size / UNIT)) * UNIT;
    bytes += whole;
    peakBytes = Math.max(peakBytes, bytes);
    return whole;
  };
  const make = (aval: Aval): CountedArray =>
    new CountedArray(aval, take(sizeOf(aval.shape) * bytesOf(aval.dtype)));
  return {
    capabilities,
    compile: ({ inputs, outputs, buffers }) => {
      const own = buffers.map(({ role, bytes }) => role === "input" ? 0 : take(bytes));
      const inputOf = new Map(inputs.map(({ buffer }, i) => [buffer, i]));
      let held = own.reduce((a, b) => a + b, 0);
      const results = outputs.map(({ aval, place }) =>
        inputOf.has(place.buffer) ? null : new CountedArray(aval, 0)
      );
      return Promise.resolve({
        run: (given) => results.map((own, i) => own ?? given[inputOf.get(outputs[i]!.place.buffer)!]!),
        compileSeconds: 0,
        dispose: () => {
          bytes -= held;
          held = 0;
        },
      });
    },
    upload: (_, aval) => make(aval),
    filled: (_, aval) => make(aval),
    write: () => {},
    download: ({ aval }) => Promise.resolve(zeros(aval)),
    free: (array) => {
      if (!(array instanceof CountedArray)) return;
      bytes -= array.bytes;
      array.bytes = 0;
    },
    memory: () => ({ bytes, peakBytes }),
    close: () => Promise.resolve(),
  };
}

function zeros({ shape, dtype }: Aval): HostArray {
  const size = Math.min(sizeOf(shape), MOST_READ);
  switch (dtype) {
    case "f32":
      return new Float32Array(size);
    case "f16":
    case "bf16":
      return new Uint16Array(size);
    case "i32":
      return new Int32Array(size);
    case "u32":
    case "bool":
      return new Uint32Array(size);
  }
}

/** An array of one number on a device; where the device only counts, none is made on the host. */
export function filled(device: Device, value: number, aval: Aval): DeviceArray {
  if (isCounting(device)) return device.filled(value, aval);
  if (value === 0 && device.zeros) return device.zeros(aval);
  return device.upload(
    aval.dtype === "i32"
      ? new Int32Array(sizeOf(aval.shape)).fill(value)
      : new Float32Array(sizeOf(aval.shape)).fill(value),
    aval,
  );
}

function isCounting(device: Device): device is CountingDevice {
  return "filled" in device;
}
