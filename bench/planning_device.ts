/** A device that keeps plans and runs nothing: what a model of any size would need. Its numbers are random. @module */
import {
  type Aval,
  bytesOf,
  type Capabilities,
  type Device,
  type DeviceArray,
  type HostArray,
  type Plan,
  sizeOf,
} from "../core/mod.ts";

/** A device, and the plans that were compiled for it so far. */
export interface PlanningDevice {
  readonly device: Device;
  readonly plans: readonly Plan[];
}

/** Make one with the capabilities of the device that is planned for. */
export function planningDevice(capabilities: Capabilities): PlanningDevice {
  const plans: Plan[] = [];
  let bytes = 0;
  const hold = (aval: Aval): DeviceArray => ({ aval });
  const anything = ({ shape, dtype }: Aval): HostArray => {
    const n = sizeOf(shape);
    if (dtype === "f32") return Float32Array.from({ length: n }, () => Math.random() - 0.5);
    if (dtype === "i32") return new Int32Array(n);
    return bytesOf(dtype) === 2 ? new Uint16Array(n) : new Uint32Array(n);
  };
  const device: Device = {
    capabilities,
    compile: (plan) => {
      plans.push(plan);
      const outputs = plan.outputs.map((o) => hold(o.aval));
      return Promise.resolve({ run: () => outputs, compileSeconds: 0, dispose: () => {} });
    },
    upload: (_data, aval) => {
      bytes += sizeOf(aval.shape) * bytesOf(aval.dtype);
      return hold(aval);
    },
    write: () => {},
    download: (array) => Promise.resolve(anything(array.aval)),
    free: () => {},
    memory: () => ({ bytes, peakBytes: bytes }),
    close: () => Promise.resolve(),
  };
  return { device, plans };
}
