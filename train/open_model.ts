/** A model on a device, to be asked and not trained. @module */
import type { Device } from "../core/mod.ts";
import { loadAdapter } from "./adapter_directory.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { decoderLayout } from "./methods.ts";
import { adamW } from "./optimiser.ts";
import { openSession, type Session } from "./session.ts";

/** What is put on the device. */
export interface ModelRequest {
  /** Directory of an adapter, Gyre's or PEFT's; null: the model as it is. */
  readonly adapter: string | null;
  readonly seed: number;
  /** Longest sequence that will be asked for. */
  readonly maxLength: number;
}

/** Put a model, with an adapter in place where there is one, on a device. Throws as loadAdapter and openSession do. */
export function openModel(
  device: Device,
  { config, weights }: Checkpoint,
  { adapter: dir, seed, maxLength }: ModelRequest,
): Promise<Session> {
  const adapter = dir === null ? null : loadAdapter(dir, decoderLayout(config), weights, { training: false });
  return openSession({
    device,
    subject: { config, classes: adapter?.classes ?? [] },
    weights: adapter?.weights ?? weights,
    optimiser: adamW({ clip: 0 }),
    accumulate: 1,
    seed,
    maxLength,
    ...(adapter ? { values: adapter.values } : {}),
  });
}
