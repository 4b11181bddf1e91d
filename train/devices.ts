/** Which processor runs the training. @module */
import * as Effect from "effect/Effect";
import type * as Scope from "effect/Scope";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import type { Device } from "../core/mod.ts";
import { UserError } from "./errors.ts";

/** What a user can ask for. */
export type DeviceChoice = "auto" | "cpu" | "gpu";

/**
 * Open a device and close it with the scope. `auto`: a hardware GPU if there is one, else the CPU; `gpu`: any WebGPU
 * adapter, a software driver included, and a UserError when there is none.
 */
export function openDevice(choice: DeviceChoice): Effect.Effect<Device, UserError, Scope.Scope> {
  return Effect.acquireRelease(
    Effect.tryPromise({
      try: () => choose(choice),
      catch: (error) =>
        error instanceof UserError ? error : new UserError(`The device cannot be opened: ${String(error)}`),
    }),
    (device) => Effect.promise(() => device.close()),
  );
}

async function choose(choice: DeviceChoice): Promise<Device> {
  if (choice === "cpu") return openCpu();
  const gpu = await openGpu({ software: choice === "gpu" });
  if (gpu) return gpu;
  if (choice === "gpu") {
    throw new UserError(
      "--device gpu: there is no WebGPU adapter here; install a Vulkan driver (on Debian without a GPU: mesa-vulkan-drivers), or use --device cpu.",
    );
  }
  return openCpu();
}
