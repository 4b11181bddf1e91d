/** Limits are checked in the plan, before any device call. @module */
import { showAval } from "../ir/aval.ts";
import type { Capabilities } from "./device.ts";
import type { Plan } from "./plan.ts";

/** A plan that a device cannot run; the message names what is too large, the limit, and ways out. */
export class PlanError extends Error {
  override readonly name = "PlanError";
  constructor(message: string, readonly needed: number, readonly available: number) {
    super(message);
  }
}

/** Bytes of a plan by what they are for. */
export interface PlanBytes {
  readonly inputs: number;
  readonly outputs: number;
  readonly temporaries: number;
  readonly total: number;
}

/** Bytes that a plan allocates. */
export function planBytes({ buffers }: Plan): PlanBytes {
  const of = (...roles: string[]): number =>
    buffers.filter((b) => roles.includes(b.role)).reduce((n, b) => n + b.bytes, 0);
  const inputs = of("input"), outputs = of("output"), temporaries = of("temporary", "zeroed");
  return { inputs, outputs, temporaries, total: inputs + outputs + temporaries };
}

/** Throw a {@linkcode PlanError} when a device cannot hold the plan. */
export function checkLimits(plan: Plan, device: Capabilities): void {
  const { total } = planBytes(plan);
  const largest = plan.buffers.map((b, i) => ({ ...b, i })).sort((a, b) => b.bytes - a.bytes);
  const [first] = largest;
  if (first && first.bytes > device.maxBufferBytes) {
    throw new PlanError(
      `The plan needs a buffer of ${showBytes(first.bytes)} (${
        nameOf(plan, first.i)
      }) and ${device.adapterName} allows ` +
        `${showBytes(device.maxBufferBytes)} each; try a smaller --batch or --seq, or --dtype f16.`,
      first.bytes,
      device.maxBufferBytes,
    );
  }
  if (device.maxTotalBytes !== null && total > device.maxTotalBytes) {
    const names = largest.slice(0, 3).map((b) => `${nameOf(plan, b.i)} ${showBytes(b.bytes)}`).join(", ");
    throw new PlanError(
      `The plan needs ${showBytes(total)} and ${device.adapterName} has ${
        showBytes(device.maxTotalBytes)
      }; the largest are ` +
        `${names}; try a smaller --batch or --seq, or --dtype f16.`,
      total,
      device.maxTotalBytes,
    );
  }
}

function nameOf(plan: Plan, buffer: number): string {
  const input = plan.inputs.find((x) => x.buffer === buffer);
  if (input) return `input ${showAval(input.aval)}`;
  const output = plan.outputs.find((x) => x.place.buffer === buffer);
  if (output) return `output ${showAval(output.aval)}`;
  const step = plan.steps.find((s) => s.slots.some((p) => p.buffer === buffer));
  return step ? `an intermediate of ${plan.kernels[step.kernel]!.name}` : `buffer ${buffer}`;
}

/** `41.2 GiB`, `3.5 MiB`, `640 B`. */
export function showBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, bytes > 0 ? Math.floor(Math.log2(bytes) / 10) : 0);
  const value = bytes / 2 ** (10 * power);
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}
