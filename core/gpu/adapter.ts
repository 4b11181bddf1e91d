/** Finding a WebGPU adapter and what it can do. @module */
import type { Capabilities } from "../plan/device.ts";
import type { WgslLimits } from "../kernel/wgsl.ts";

/** A device with what the compiler and the WGSL printer need to know of it. */
export interface Opened {
  readonly gpu: GPUDevice;
  readonly capabilities: Capabilities;
  readonly limits: WgslLimits;
  readonly isSoftware: boolean;
}

/** Limits that are raised from WebGPU's defaults to what the adapter has. */
const RAISED = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;

/** Buffers of one kernel; some drivers allow a million. */
const MAX_SLOTS = 32;

/** WebGPU does not tell how many processors a GPU has; an H100 has 132. */
const PROCESSORS = 132;

/** Whether an adapter computes on the processor: lavapipe (llvmpipe), SwiftShader, or a fallback by its own word. */
export function isSoftware(info: GPUAdapterInfo): boolean {
  const words = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  return info.isFallbackAdapter === true ||
    /llvmpipe|lavapipe|softpipe|swiftshader|software|basic render/i.test(words);
}

/** Open the best adapter's device; null when there is no adapter, or only a software one and `software` is not set. */
export async function openAdapter(software: boolean): Promise<Opened | null> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }) ?? null;
  if (adapter === null || (isSoftware(adapter.info) && !software)) return null;
  const wanted: readonly GPUFeatureName[] = ["shader-f16", "timestamp-query"];
  const gpu = await adapter.requestDevice({
    requiredFeatures: wanted.filter((f) => adapter.features.has(f)),
    requiredLimits: {
      ...Object.fromEntries(RAISED.map((name) => [name, adapter.limits[name]])),
      maxStorageBuffersPerShaderStage: Math.min(adapter.limits.maxStorageBuffersPerShaderStage, MAX_SLOTS),
    },
  });
  const { limits } = gpu, f16 = gpu.features.has("shader-f16"), slow = isSoftware(adapter.info);
  return {
    gpu,
    isSoftware: slow,
    capabilities: {
      kind: "gpu",
      adapterName: nameOf(adapter.info),
      f16,
      maxSlots: limits.maxStorageBuffersPerShaderStage,
      // Kernels bind whole buffers.
      maxBufferBytes: Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize),
      maxTotalBytes: null,
    },
    limits: {
      f16,
      maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
      maxInvocations: Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX),
      busyWorkgroups: slow ? navigator.hardwareConcurrency : PROCESSORS,
    },
  };
}

/** `NVIDIA H200 (vendor 4318)`; vendors are PCI numbers or names, as the driver likes. */
function nameOf({ vendor, architecture, description, device }: GPUAdapterInfo): string {
  const name = description || device || "unnamed adapter";
  const more = [architecture, vendor && `vendor ${vendor}`].filter(Boolean).join(", ");
  return more ? `${name} (${more})` : name;
}
