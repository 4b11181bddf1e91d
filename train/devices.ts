/** Which processor runs the training. @module */
import * as Effect from "effect/Effect";
import type * as Scope from "effect/Scope";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import type { Capabilities, Device } from "../core/mod.ts";
import { UserError } from "./errors.ts";

/** What a user can ask for. */
export type DeviceChoice = typeof DEVICES[number];

/** The choices, `gpu:deno` and `gpu:dawn` by who implements WebGPU. */
export const DEVICES = ["auto", "cpu", "gpu", "gpu:deno", "gpu:dawn"] as const;

/** For people: the processor, its driver, who implements WebGPU, and why. */
export function describeDevice({ kind, adapterName, gpu }: Capabilities): string {
  if (!gpu) return `${kind} (${adapterName})`;
  const by = gpu.provider === "dawn" ? "Dawn" : "Deno's WebGPU";
  return `${kind} (${adapterName}) through ${by}${gpu.note ? `; ${gpu.note}` : ""}`;
}

/**
 * Open a device and close it with the scope. `auto`: a hardware GPU if there is one, else the CPU; `gpu`: any WebGPU
 * adapter, a software driver included, and a UserError when there is none; `gpu:deno`, `gpu:dawn`: likewise by that
 * provider. `halfProducts`: matrix units, where there are some, may round what they multiply to f16.
 */
export function openDevice(
  choice: DeviceChoice,
  halfProducts = false,
): Effect.Effect<Device, UserError, Scope.Scope> {
  return Effect.acquireRelease(
    Effect.tryPromise({
      try: () => choose(choice, halfProducts),
      catch: (error) =>
        error instanceof UserError ? error : new UserError(`The device cannot be opened: ${String(error)}`),
    }),
    (device) => Effect.promise(() => device.close()),
  );
}

async function choose(choice: DeviceChoice, halfProducts: boolean): Promise<Device> {
  if (choice === "cpu") return openCpu();
  const provider = choice === "gpu:deno" ? "deno" : choice === "gpu:dawn" ? "dawn" : "auto";
  const gpu = await openGpu({ software: choice !== "auto", provider, halfProducts });
  if (gpu) return gpu;
  if (choice === "auto") return openCpu();
  throw new UserError(
    `--device ${choice}: there is no WebGPU adapter here; install a Vulkan driver (on Debian without a GPU: mesa-vulkan-drivers), or use --device cpu.`,
  );
}
