/** Finding a WebGPU adapter and what it can do. @module */
import type { Capabilities } from "../plan/device.ts";
import { DAWN_SUBGROUP, type WgslLimits } from "../kernel/wgsl_memory.ts";
import { matrixTiles, SIDE, SUBGROUP } from "../kernel/wgsl_tile.ts";
import { type Begin, paced, plainly } from "./pace.ts";
import { dawnGpu, denoGpu, mayLoadDawn, type Provider } from "./provider.ts";

/** A device with what the compiler and the WGSL printer need to know of it. */
export interface Opened {
  readonly gpu: GPUDevice;
  readonly capabilities: Capabilities;
  readonly limits: WgslLimits;
  readonly isSoftware: boolean;
}

/** What to open. */
export interface AdapterOptions {
  /** Accept a driver that computes on the processor. */
  readonly software: boolean;
  /** `auto`: Dawn where it may be loaded and has matrix units, else Deno's own. */
  readonly provider: "auto" | Provider;
  /** Let products of matrices round their operands to f16 where there are matrix units. */
  readonly halfProducts: boolean;
  /** Settings of Dawn, as its command line has them: `backend=null` computes nothing but checks all kernels. */
  readonly dawnFlags?: readonly string[];
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

/** Features that are used where they are there; Dawn has more of them than the standard. */
const WANTED = ["shader-f16", "timestamp-query", "subgroups", "chromium-experimental-subgroup-matrix"];
/** Features that Deno gives where the driver has them, although its adapters do not tell of them. */
const UNTOLD = ["subgroups"];

/** One kind of product that matrix units compute, as Dawn reports it. */
interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** What adapters say beyond the standard. */
type Info = GPUAdapterInfo & { readonly subgroupMatrixConfigs?: Iterable<MatrixConfig> };

/** Whether an adapter computes on the processor: lavapipe (llvmpipe), SwiftShader, or a fallback by its own word. */
export function isSoftware(info: GPUAdapterInfo): boolean {
  const words = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  return info.isFallbackAdapter === true ||
    /llvmpipe|lavapipe|softpipe|swiftshader|software|basic render/i.test(words);
}

/**
 * Open the best adapter's device; null when there is no adapter, or only a software one and `software` is not set.
 * `auto` takes Dawn for products in f16 on its matrix units, else Deno's own. Rejects when Dawn is asked for and cannot be
 * loaded; `auto` notes it in the capabilities.
 */
export async function openAdapter(options: AdapterOptions): Promise<Opened | null> {
  const { software, provider, dawnFlags, halfProducts } = options;
  const find = async (from: GPU | null, begin: Begin = plainly): Promise<GPUAdapter | null> => {
    const found = await begin(() => from?.requestAdapter({ powerPreference: "high-performance" })) ?? null;
    return found === null || (isSoftware(found.info) && !software) ? null : found;
  };
  if (provider === "dawn") {
    const adapter = await find(await dawnGpu(dawnFlags), paced);
    return adapter && await open(adapter, "dawn", halfProducts, null);
  }
  const own = await find(denoGpu());
  if (own === null || provider === "deno" || isSoftware(own.info)) {
    return own && await open(own, "deno", halfProducts, null);
  }
  // Without products in f16 there is nothing that only Dawn can do, and Deno's own compiles several times faster.
  if (!halfProducts) return await open(own, "deno", halfProducts, null);
  if (!mayLoadDawn()) {
    return await open(own, "deno", halfProducts, "Dawn not tried: --allow-ffi is not given");
  }
  try {
    const other = await find(await dawnGpu(dawnFlags), paced);
    if (other && hasMatrix(other)) return await open(other, "dawn", halfProducts, null);
    return await open(own, "deno", halfProducts, "Dawn has no matrix units here");
  } catch (error) {
    return await open(own, "deno", halfProducts, error instanceof Error ? error.message : String(error));
  }
}

/** Whether the adapter has the product of f16 matrices with f32 sums that the printer knows, in subgroups of its size. */
function hasMatrix({ info, features }: GPUAdapter): boolean {
  const configs = [...(info as Info).subgroupMatrixConfigs ?? []];
  return WANTED.every((f) => features.has(f as GPUFeatureName)) && info.subgroupMaxSize === SUBGROUP &&
    configs.some((c) =>
      c.componentType === "f16" && c.resultComponentType === "f32" && [c.M, c.N, c.K].every((n) => n === SIDE)
    );
}

async function open(
  adapter: GPUAdapter,
  provider: Provider,
  halfProducts: boolean,
  note: string | null,
): Promise<Opened> {
  const has = (f: string): boolean => adapter.features.has(f as GPUFeatureName);
  const begin = provider === "dawn" ? paced : plainly;
  const request = (features: readonly string[]): Promise<GPUDevice> =>
    adapter.requestDevice({
      requiredFeatures: features as GPUFeatureName[],
      requiredLimits: {
        ...Object.fromEntries(RAISED.map((name) => [name, adapter.limits[name]])),
        maxStorageBuffersPerShaderStage: Math.min(adapter.limits.maxStorageBuffersPerShaderStage, MAX_SLOTS),
      },
    });
  const told = WANTED.filter(has), untold = provider === "deno" ? UNTOLD.filter((f) => !has(f)) : [];
  // A refusal leaves the adapter as it is; if something else is wrong, the second request says so.
  const gpu = await begin(() =>
    untold.length === 0 ? request(told) : request([...told, ...untold]).catch(() => request(told))
  );
  const { limits } = gpu, f16 = gpu.features.has("shader-f16"), slow = isSoftware(adapter.info);
  const matrix = provider === "dawn" && hasMatrix(adapter);
  const subgroups = gpu.features.has("subgroups" as GPUFeatureName);
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  const processors = slow ? navigator.hardwareConcurrency : PROCESSORS;
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
      gpu: {
        provider,
        subgroups,
        matrix,
        halfProducts: halfProducts && matrix,
        processors,
        // Deno polls the device and sleeps for 10 ms between two looks.
        readBackMs: provider === "deno" ? 11 : 1,
        note,
      },
    },
    limits: {
      f16,
      maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
      maxInvocations: Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX),
      busyWorkgroups: processors,
      checked: provider === "deno",
      matrix: halfProducts && matrix ? matrixTiles : null,
      // Software drivers gain nothing by them and take seconds to compile them.
      subgroup: subgroups && !slow && subgroupMinSize > 0 && subgroupMinSize === subgroupMaxSize
        ? { size: subgroupMinSize, directives: provider === "dawn" ? DAWN_SUBGROUP.directives : [] }
        : null,
    },
  };
}

/** `NVIDIA H200 (vendor 4318)`: the words of the description and the device; vendors and devices may be PCI numbers. */
function nameOf({ vendor, architecture, description, device }: GPUAdapterInfo): string {
  const isWord = (text: string): boolean => /[a-z]/i.test(text) && !/^0x/.test(text);
  const [name = "unnamed adapter", ...rest] = [device, description].filter((t) => t && isWord(t));
  const more = [...rest, architecture, vendor && `vendor ${vendor}`].filter(Boolean).join(", ");
  return more ? `${name} (${more})` : name;
}
