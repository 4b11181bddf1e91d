/**
 * Losses of mixed precision beside those of f32: `deno task bench:precision --model DIR --data FILE --method hybrid` trains
 * twice from the same seed and prints the largest relative gap as a JSON line, the curves on the standard error. Takes the
 * flags of `train.ts`; with --shape instead, random weights of a real shape learn one batch of random tokens. @module
 */
import * as Effect from "effect/Effect";
import { parseArgs } from "@std/cli/parse-args";
import { openGpu, type Provider } from "../core/gpu/mod.ts";
import {
  describeDevice,
  fineTune,
  type MethodName,
  METHODS,
  parseOptions,
  readMetrics,
  runProgram,
  showTable,
  standardError,
  UserError,
} from "../train/mod.ts";
import { openStep, takeStep } from "./gpu_step.ts";
import { SHAPES } from "./shapes.ts";

const HELP = `deno task bench:precision [flags of train.ts]; --steps is 50 by default
or, for random weights that learn one batch of random tokens:
  --shape NAME       ${Object.keys(SHAPES).join(", ")}
  --method NAME      ${METHODS.join(", ")} (hybrid)
  --batch N          rows (4)
  --seq N            tokens of a row (512)
  --steps N          optimiser steps (50)
  --lr X             learning rate, of orthogonal parameters half of it (1e-4)
  --provider NAME    auto, deno or dawn (auto)
  --software         accept a driver that computes on the processor: to try the program`;

/** Largest gap that counts as the same training, as a share of the loss in f32. */
const SAME = 0.01;

type DType = "f32" | "f16";

/** Losses of a training in one precision. */
interface Curve {
  readonly losses: readonly number[];
  /** What computed it. */
  readonly device: string;
}

const root = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");

/** Train as `train.ts` does. Throws UserError. */
async function trained(flags: readonly string[], dtype: DType, dir: string): Promise<Curve> {
  const own = ["--steps", "50", "--eval", "none", "--save-every", "0"];
  const out = `${dir}/${dtype}`;
  const options = parseOptions([...own, ...flags, "--dtype", dtype, "--out", out], { root, now: new Date() });
  const say = (line: string): void => standardError.write(`${dtype}: ${line}\n`);
  const result = await Effect.runPromise(Effect.match(fineTune(options, { say, stopped: () => false }), {
    onFailure: (error) => error,
    onSuccess: (value) => value,
  }));
  if (result instanceof UserError) throw result;
  return { losses: readMetrics(out, result.steps).losses, device: result.adapter_name };
}

/** Teach random weights one batch. Throws UserError. */
async function learned(flags: readonly string[], dtype: DType): Promise<Curve> {
  const args = parseArgs([...flags], {
    string: ["shape", "method", "batch", "seq", "steps", "lr", "provider"],
    boolean: ["software"],
    unknown: (arg) => {
      throw new UserError(`There is no flag ${arg}: see --help.`);
    },
  });
  const number = (flag: "batch" | "seq" | "steps" | "lr", absent: number): number => {
    const value = args[flag] === undefined ? absent : Number(args[flag]);
    if (value > 0 && (flag === "lr" || Number.isSafeInteger(value))) return value;
    throw new UserError(
      `--${flag} is "${args[flag]}": give a ${flag === "lr" ? "" : "whole "}number above 0.`,
    );
  };
  const oneOf = <T extends string>(text: string, choices: readonly T[], flag: string): T => {
    const found = choices.find((c) => c === text);
    if (found === undefined) throw new UserError(`--${flag} is "${text}": give ${choices.join(", ")}.`);
    return found;
  };
  const of = {
    shape: oneOf(args.shape ?? "", Object.keys(SHAPES), "shape"),
    method: oneOf<MethodName>(args.method ?? "hybrid", METHODS, "method"),
    ...{ dtype, batch: number("batch", 4), seq: number("seq", 512) },
  };
  const provider: "auto" | Provider = oneOf(args.provider ?? "auto", ["auto", "deno", "dawn"], "provider");
  const gpu = await openGpu({ software: args.software === true, provider, halfProducts: dtype === "f16" });
  if (!gpu) throw new UserError("There is no hardware GPU here; --software accepts a driver without one.");
  const session = await openStep(gpu, of);
  const lr = number("lr", 1e-4), losses: number[] = [];
  for (let i = number("steps", 50); i > 0; i--) {
    losses.push((await takeStep(session, of, { plain: lr, orthogonal: lr / 2 })).loss);
  }
  const device = describeDevice(gpu.capabilities);
  await gpu.close();
  return { losses, device };
}

/** Both curves and how far they lie apart, as shares of the loss in f32. */
function compare(f32: Curve, f16: Curve) {
  const gaps = f32.losses.map((loss, i) => Math.abs(f16.losses[i]! - loss) / Math.abs(loss));
  const largest = Math.max(...gaps);
  return {
    bench: "precision",
    steps: gaps.length,
    largest_gap: largest,
    at_step: gaps.indexOf(largest) + 1,
    mean_gap: gaps.reduce((a, b) => a + b, 0) / gaps.length,
    same: gaps.length === f16.losses.length && largest <= SAME,
    devices: { f32: f32.device, f16: f16.device },
    f32: f32.losses,
    f16: f16.losses,
  };
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(HELP);
    return 0;
  }
  const dir = await Deno.makeTempDir();
  try {
    const isShape = args.some((arg) => /^--shape(=|$)/.test(arg));
    const curve = (dtype: DType): Promise<Curve> =>
      isShape ? learned(args, dtype) : trained(args, dtype, dir);
    const result = compare(await curve("f32"), await curve("f16"));
    console.log(JSON.stringify({ args, ...result }));
    const every = Math.max(1, Math.ceil(result.steps / 10));
    const rows = result.f32.flatMap((loss, i) => {
      if (i % every !== 0 && i + 1 !== result.steps) return [];
      const other = result.f16[i]!;
      return [
        [i + 1, loss.toFixed(5), other.toFixed(5), ((other - loss) / loss).toExponential(1)].map(String),
      ];
    });
    standardError.write(`${showTable([["step", "f32", "f16", "gap"], ...rows])}\n`);
    standardError.write(
      `largest gap ${(100 * result.largest_gap).toFixed(3)} % at step ${result.at_step}, mean ${
        (100 * result.mean_gap).toFixed(3)
      } %: ${result.same ? "within" : "NOT within"} ${100 * SAME} %\n`,
    );
    return result.same ? 0 : 1;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

if (import.meta.main) await runProgram(main);
