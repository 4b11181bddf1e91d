/** Weights from the host, or from their files, to a device. @module */
import { bytesOf, type Device, type DeviceArray, sizeOf } from "../core/mod.ts";
import type { StoredTensor } from "./safetensors.ts";

/**
 * The weights of these names on a device, as `weights.<name>`. What is read from files goes one after the other through
 * memory of the largest one's size.
 */
export function uploadWeights(
  device: Device,
  weights: ReadonlyMap<string, StoredTensor>,
  names: Iterable<string>,
): Map<string, DeviceArray> {
  const chosen = [...names].map((name) => [name, weights.get(name)!] as const);
  const sizes = chosen.map(([, t]) => t.readInto ? sizeOf(t.aval.shape) * bytesOf(t.aval.dtype) : 0);
  const memory = new ArrayBuffer(sizes.reduce((a, b) => Math.max(a, b), 0));
  return new Map(chosen.map(([name, t]) => [
    `weights.${name}`,
    // A device copies what it is given before it returns.
    device.upload(t.readInto?.(memory) ?? t.data, t.aval),
  ]));
}
