/** The flags of `plan.ts`: its own, and those of `train.ts`. @module */
import { above0, oneOf } from "../readers.ts";
import {
  flagName,
  helpOf,
  optional,
  parseFlags,
  type PlainFlag,
  type TableOf,
  toggle,
} from "../parse_flags.ts";
import { readFlagsFile } from "../config_file.ts";
import { standingFor } from "../resume_options.ts";
import { parseOptions, readOptions, type Site, type TrainOptions } from "../options.ts";
import type { Speed } from "./measure.ts";
import { MODEL_SHAPES } from "./shapes.ts";

/** Flags of `plan.ts` alone. */
interface OwnFlags {
  readonly shape: string | null;
  readonly memory: number | null;
  readonly buffer: number | null;
  readonly tflops: number | null;
  readonly bandwidth: number | null;
  readonly exact: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

/** What is planned, on what. */
export interface PlanOptions {
  readonly train: TrainOptions;
  /** Name of a model in {@linkcode MODEL_SHAPES}; null: `train.model`. */
  readonly shape: string | null;
  /** Bytes of the device, and of one buffer at the most. */
  readonly memory: number;
  readonly buffer: number;
  readonly speed: Speed;
  /** Plan every layer. */
  readonly exact: boolean;
  readonly json: boolean;
}

/** An H200 as measured through Dawn, and a processor of two cores. */
const DEVICES = {
  gpu: { memory: 139, buffer: 2, tflops: 250, bandwidth: 3950, launch: 4.5e-6 },
  cpu: { memory: 4, buffer: 4, tflops: 0.07, bandwidth: 10, launch: 5e-6 },
} as const;

const GIB = 2 ** 30;

function measured(value: string, field: keyof typeof DEVICES.gpu, help: string): PlainFlag<number | null> {
  return optional(value, above0, `${DEVICES.gpu[field]}, of --device cpu ${DEVICES.cpu[field]}`, help);
}

const OWN_FLAGS: TableOf<OwnFlags, { readonly root: string }> = {
  shape: {
    ...optional(
      "NAME",
      oneOf(...Object.keys(MODEL_SHAPES)),
      "none",
      `in place of --model: ${Object.keys(MODEL_SHAPES).join(", ")}`,
    ),
    section: "What is planned (--model DIR needs config.json alone)",
  },
  memory: { ...measured("GIB", "memory", "memory of the device, in GiB"), section: "On what" },
  buffer: measured("GIB", "buffer", "largest buffer that a kernel can bind, in GiB"),
  tflops: measured("X", "tflops", "products, in 10¹² operations a second as they can be reached"),
  bandwidth: measured("X", "bandwidth", "memory, in 10⁹ bytes a second as they can be reached"),
  exact: toggle("plan every layer also where there are more than 32: slower, needs memory here"),
  json: toggle("print all of it as JSON on standard output"),
  help: toggle("show this text"),
};

/** Flags of `plan.ts` alone, and those of `train.ts`. */
function apart(
  argv: readonly string[],
): { readonly own: readonly string[]; readonly others: readonly string[] } {
  const own: string[] = [], others: string[] = [];
  const names = Object.entries(OWN_FLAGS).map(([key, f]) => ({
    name: `--${flagName(key)}`,
    valued: f.value !== null,
  }));
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i]!;
    const found = arg === "-h"
      ? { valued: false }
      : names.find(({ name }) => arg === name || arg.startsWith(`${name}=`));
    (found ? own : others).push(arg);
    const next = argv[i + 1];
    if (found?.valued && !arg.includes("=") && next !== undefined && !next.startsWith("--")) {
      own.push(next);
      i++;
    }
  }
  return { own, others };
}

/** {@linkcode parsePlanFlags}, with the flags of the file of `--config` where none is given. */
export async function parsePlanCommandLine(argv: readonly string[], site: Site): Promise<PlanOptions | null> {
  const { own, others } = apart(argv), { config } = readOptions(others, site);
  if (config === null || own.includes("--help") || own.includes("-h")) return parsePlanFlags(argv, site);
  return parsePlanFlags([...standingFor(others, await readFlagsFile(config)), ...argv], site);
}

/** Understand the command line of `plan.ts`; null: help is wanted. Throws OptionError. */
export function parsePlanFlags(argv: readonly string[], site: Site): PlanOptions | null {
  const { own, others } = apart(argv);
  const { help, shape, exact, json, ...device } = parseFlags<OwnFlags, { readonly root: string }>(
    OWN_FLAGS,
    own,
    site,
  );
  if (help) return null;
  const train = parseOptions(others, site);
  const usual = train.device === "cpu" ? DEVICES.cpu : DEVICES.gpu;
  return {
    ...{ train, shape, exact, json },
    memory: (device.memory ?? usual.memory) * GIB,
    // WebGPU counts sizes of bindings in whole numbers below the limit.
    buffer: Math.ceil((device.buffer ?? usual.buffer) * GIB) - 1,
    speed: {
      operations: (device.tflops ?? usual.tflops) * 1e12,
      bytes: (device.bandwidth ?? usual.bandwidth) * 1e9,
      launch: usual.launch,
    },
  };
}

/** The text of `--help`. */
export function planHelp(): string {
  return helpOf(
    "Memory and time of a run before it is started: deno run -A plan.ts [flags] [flags of train.ts]\n" +
      "All flags of train.ts stand, as --method, --compose, --rank, --batch, --accumulate, --seq, --dtype, --device.",
    OWN_FLAGS,
    [
      "deno run -A plan.ts --shape Llama-3.1-8B --method hybrid --batch 4 --seq 512 --dtype f16",
      "deno run -A plan.ts --model DIR --method full --batch 16 --memory 24 --tflops 80 --bandwidth 900",
      "deno run -A plan.ts --shape Llama-3.1-405B --method lora --rank 16 --dtype f16 --json",
    ],
  );
}
