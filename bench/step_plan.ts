/** The plan of a training step of a real shape, without weights or a device. @module */
import { type Capabilities, type Compiled, matrixGpu } from "../core/mod.ts";
import { DAWN_SUBGROUP, matrixTiles, type WgslLimits } from "../core/kernel/wgsl.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { weightShapes } from "../train/decoder.ts";
import { methodClasses } from "../train/methods.ts";
import { lossScaleOf } from "../train/loss_scale.ts";
import { adamW } from "../train/optimiser.ts";
import { planStep } from "../train/step_plan.ts";
import type { StepCase } from "./gpu_step.ts";
import { SHAPES } from "./shapes.ts";

/** What Dawn says of an H100 or H200: nothing is asked of a device. */
export function dawnLike(dtype: StepCase["dtype"]): {
  readonly capabilities: Capabilities;
  readonly limits: WgslLimits;
} {
  const half = dtype === "f16";
  return {
    capabilities: {
      kind: "gpu",
      adapterName: "planned",
      f16: true,
      maxSlots: 32,
      maxBufferBytes: 2 ** 31,
      maxTotalBytes: null,
      gpu: matrixGpu(half),
    },
    limits: {
      f16: true,
      maxWorkgroupBytes: 49152,
      maxInvocations: 1024,
      busyWorkgroups: 132,
      checked: false,
      matrix: half ? matrixTiles : null,
      subgroup: DAWN_SUBGROUP,
    },
  };
}

/** The step of {@linkcode measureStep}, planned for a device of these capabilities. */
export function stepPlan(of: StepCase, capabilities: Capabilities): Compiled {
  const config = SHAPES[of.shape];
  if (!config) throw new Error(`There is no shape ${of.shape}; there are ${Object.keys(SHAPES).join(", ")}.`);
  const options = { ...DEFAULT_SETTINGS, method: of.method, rank: 16, alpha: 32, target: "all-linear" };
  const weights = new Map(
    [...weightShapes(config)].map(([name, at]) => [
      name,
      at.shape.length > 1 ? { ...at, dtype: of.dtype } : at,
    ]),
  );
  return planStep({
    capabilities,
    subject: { config, classes: methodClasses(options, config) },
    weights,
    optimiser: adamW({ clip: 1, lossScale: lossScaleOf({ dtype: of.dtype, lossScale: null }) }),
    accumulate: 1,
    maxLength: of.seq,
    batch: { rows: of.batch, length: of.seq },
  });
}
