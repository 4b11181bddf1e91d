/** A device that is lent for a run and comes back empty, its compiled kernels kept. @module */
import type { Device, DeviceArray, Executable } from "../../core/mod.ts";

/** A lent device; disposing of it frees what was put on it. */
export interface LentDevice extends Device, Disposable {}

/** Lend a device. `memory` counts what others have on it too; `close` leaves it open. */
export function lend(device: Device): LentDevice {
  const arrays = new Set<DeviceArray>(), executables = new Set<Executable>();
  const giveBack = (): void => {
    for (const executable of executables) executable.dispose();
    for (const array of arrays) device.free(array);
    executables.clear();
    arrays.clear();
  };
  return {
    capabilities: device.capabilities,
    compile: async (plan) => {
      const executable = await device.compile(plan);
      executables.add(executable);
      return executable;
    },
    upload: (data, aval) => {
      const array = device.upload(data, aval);
      arrays.add(array);
      return array;
    },
    write: (array, data) => device.write(array, data),
    download: (array) => device.download(array),
    free: (array) => {
      arrays.delete(array);
      device.free(array);
    },
    memory: () => device.memory(),
    close: () => Promise.resolve(),
    [Symbol.dispose]: giveBack,
  };
}
