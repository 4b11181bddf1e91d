/**
 * The GPU target: `deno task bench:gpu --gemm --kernels --shape 1B`. JSON lines on the standard output, a table on the standard error.
 * Refuses adapters that compute on the processor. @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { type Gpu, openGpu, type Provider } from "../core/gpu/mod.ts";
import { type MethodName, METHODS } from "../train/methods.ts";
import { attentionCases, measureAttention } from "./gpu_attention.ts";
import { gemmCases, measureGemm, productName } from "./gpu_gemm.ts";
import { measureKernels } from "./gpu_kernels.ts";
import { measureStep, type StepCase } from "./gpu_step.ts";
import { writeTextAtomically } from "../train/atomic_file.ts";
import { openPlanStore } from "../train/plan_store.ts";
import { SHAPES } from "./shapes.ts";
import { traceFile } from "./trace.ts";

const HELP = `deno task bench:gpu [flags]
  --provider NAME    auto, deno or dawn (auto)
  --gemm             matrix products: squares, and those of the 1B shape with 4 × 512 tokens
  --kernels          kernels that memory bounds, beside a copy
  --only TEXT        of kernels and products those with this in their names, as "butterfly" or "f16·f16"
  --attention        attention and its derivative on matrix units, beside products and a softmax
  --shape NAMES      training steps of these shapes: ${Object.keys(SHAPES).join(", ")}
  --method NAMES     ${METHODS.join(", ")} (lora)
  --dtype NAMES      storage of frozen weights: f32, f16 (f32)
  --batch N          rows (4)
  --seq N            tokens of a row (512)
  --profile          time of each kernel of a step as well
  --trace FILE       with one step: its kernels as a trace file for Perfetto or chrome://tracing
  --compile-threads N  threads that compile a step's shaders first; 0: none (those that openGpu takes)
  --tune-kernels     measure the tiles of a step's products before; kept in the cache
  --cache            keep plans between runs, as train.ts does
  --software         accept a driver that computes on the processor: to try the program, not to measure`;

const list = (text: string | undefined, absent: string): string[] =>
  (text ?? absent).split(",").filter(Boolean);

function oneOf<T extends string>(text: string, choices: readonly T[], flag: string): T {
  const found = choices.find((c) => c === text);
  if (found === undefined) throw new Error(`--${flag} is "${text}": give ${choices.join(", ")}.`);
  return found;
}

function whole(text: string | undefined, absent: number, flag: string, least = 1): number {
  const n = text === undefined ? absent : Number(text);
  if (!Number.isSafeInteger(n) || n < least) {
    throw new Error(`--${flag} is "${text}": give a whole number from ${least} on.`);
  }
  return n;
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["provider", "shape", "method", "dtype", "batch", "seq", "trace", "compile-threads", "only"],
    boolean: ["gemm", "kernels", "attention", "profile", "cache", "tune-kernels", "software", "help"],
    unknown: (arg) => {
      throw new Error(`There is no flag ${arg}.\n${HELP}`);
    },
  });
  if (args.help) return console.log(HELP);
  const provider: "auto" | Provider = oneOf(args.provider ?? "auto", ["auto", "deno", "dawn"], "provider");
  const cases: StepCase[] = list(args.shape, "").flatMap((shape) =>
    list(args.method, "lora").flatMap((method) =>
      list(args.dtype, "f32").map((dtype) => ({
        shape,
        method: oneOf<MethodName>(method, METHODS, "method"),
        dtype: oneOf(dtype, ["f32", "f16"], "dtype"),
        batch: whole(args.batch, 4, "batch"),
        seq: whole(args.seq, 512, "seq"),
      }))
    )
  );
  if (args.trace !== undefined && cases.length !== 1) {
    throw new Error(`--trace takes one step, and ${cases.length} are asked for.`);
  }
  const open = async (halfProducts: boolean): Promise<Gpu> => {
    const threads = args["compile-threads"];
    const gpu = await openGpu({
      ...{ software: args.software === true, provider, halfProducts },
      ...(threads === undefined ? {} : { compileThreads: whole(threads, 0, "compile-threads", 0) }),
    });
    if (gpu) {
      if (gpu.capabilities.gpu?.note) console.error(gpu.capabilities.gpu.note);
      return gpu;
    }
    throw new Error("There is no hardware GPU here: a driver that computes on the processor is no measure.");
  };
  if (args.gemm) {
    const full = await open(false), half = await open(true);
    const named = gemmCases().map((of) => [productName(of), of] as const);
    const chosen = named.filter(([name]) => name.includes(args.only ?? ""));
    if (chosen.length === 0) {
      throw new Error(
        `--only is "${args.only}": products are called ${named.map(([name]) => name).join("; ")}.`,
      );
    }
    for (const [name, of] of chosen) {
      const result = await measureGemm(of.right === "f16" ? half : full, of);
      console.log(JSON.stringify({ bench: "gemm", ...result }));
      console.error(
        [
          name.padEnd(28),
          `${result.ms} ms`.padStart(11),
          `${result.tflops} TFLOP/s`.padStart(16),
          `error ${result.error}`,
        ].join("  "),
      );
    }
    await full.close();
    await half.close();
  }
  if (args.kernels) {
    const gpu = await open(false);
    for await (const result of measureKernels(gpu, args.only)) {
      console.log(JSON.stringify({ bench: "kernel", ...result }));
      console.error(
        [
          result.kernel.padEnd(34),
          `${result.ms} ms`.padStart(11),
          `${result.gb_s} GB/s`.padStart(12),
          `${result.of_copy} of a copy`,
        ].join("  "),
      );
    }
    await gpu.close();
  }
  if (args.attention) {
    const gpu = await open(true);
    if (gpu.capabilities.gpu?.halfProducts !== true) {
      throw new Error("Attention is measured on matrix units.");
    }
    for (const of of attentionCases) {
      for (const result of await measureAttention(gpu, of)) {
        console.log(
          JSON.stringify({ bench: "attention", adapter_name: gpu.capabilities.adapterName, ...result }),
        );
        const { way, kernel, ms, tflops, gb_s, error } = result;
        console.error(
          [
            `${of.name} ${way}`.padEnd(18),
            `${ms} ms`.padStart(11),
            `${tflops} TFLOP/s`.padStart(16),
            `${gb_s} GB/s`.padStart(12),
            kernel + (error ? `, differs by ${error.join(" ")}` : ""),
          ].join("  "),
        );
      }
    }
    await gpu.close();
  }
  for (const of of cases) {
    // A device of its own, so that its peak is this case's.
    const gpu = await open(of.dtype === "f16");
    const { kernels, ...result } = await measureStep(gpu, of, {
      profiled: args.profile === true || args.trace !== undefined,
      tuned: args["tune-kernels"] === true,
      ...(args.cache === true ? { cache: openPlanStore((line) => console.error(line)) } : {}),
      ...(args.trace === undefined ? {} : {
        trace: (plan, times) => {
          const title = `${of.shape} ${of.method} ${of.dtype}, ${gpu.capabilities.adapterName}`;
          writeTextAtomically(args.trace!, traceFile(plan, times, title));
        },
      }),
    });
    console.log(JSON.stringify({ bench: "step", ...result, ...(kernels ? { kernels } : {}) }));
    console.error(
      `${of.shape} ${of.method} ${of.dtype} ${of.batch}×${of.seq}  ${result.ms} ms (host ${result.host_ms})  ${result.tok_s} tok/s  ` +
        `${result.peak_gib} GiB  first step after ${result.first.total_s} s  ${result.tflops} TFLOP/s  ` +
        `(${result.adapter_name}, ${result.provider})`,
    );
    for (const { kernel, count, ms, tflops, gb_s } of kernels?.slice(0, 40) ?? []) {
      console.error(
        `  ${String(ms).padStart(8)} ms  ${String(count).padStart(4)}×  ${
          String(tflops).padStart(7)
        } TFLOP/s  ${String(gb_s).padStart(6)} GB/s  ${kernel}`,
      );
    }
    await gpu.close();
  }
}

if (import.meta.main) {
  await main().then(() => Deno.exit(0), (error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    Deno.exit(2);
  });
}
