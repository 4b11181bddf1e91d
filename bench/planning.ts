/**
 * What the compiler takes for a step of a real shape, without a GPU: `deno run -A bench/planning.ts --shape 1B,135M --method
 * lora,boft,hybrid`. A process for each, since a warm one is faster; a JSON line with seconds for the graph with its
 * derivatives, the plan, the texts of its launches and how long they are, and the plan where it is known from a file. @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { variantOf } from "../core/gpu/executable.ts";
import { launchesOf } from "../core/gpu/launches.ts";
import { launchShader, shaderKey } from "../core/gpu/pipelines.ts";
import { METHODS } from "../train/methods.ts";
import { compilerDigest, PlanStore } from "../train/plan_store.ts";
import { usePlans } from "../train/runner.ts";
import { dawnLike, stepPlan } from "./step_plan.ts";

const HELP = `deno run -A bench/planning.ts [flags]
  --shape NAMES   sizes of the model: tiny, 135M, 1B, 7B (1B)
  --method NAMES  ${METHODS.join(", ")} (lora,boft,hybrid)
  --dtype NAME    f32 or f16 (f16)
  --cache DIR     plans of earlier runs; one case in this process (a fresh one, and a process for each)`;

interface Case {
  readonly shape: string;
  readonly method: string;
  readonly dtype: "f32" | "f16";
}

/** Seconds of each part in this process; `cache`: where plans are kept. */
function measure({ shape, method, dtype }: Case, cache: string) {
  const { capabilities, limits } = dawnLike(dtype);
  const name = METHODS.find((m) => m === method);
  if (!name) throw new Error(`--method is "${method}": give ${METHODS.join(", ")}.`);
  const store = new PlanStore({ dir: cache, compiler: compilerDigest()!, say: console.error });
  let plan_s = 0;
  usePlans({
    plan: (request) => {
      const start = performance.now(), plan = store.plan(request);
      plan_s += (performance.now() - start) / 1000;
      return plan;
    },
  });
  const start = performance.now();
  const { plan } = stepPlan({ shape, method: name, dtype, batch: 4, seq: 512 }, capabilities);
  const planned = performance.now();
  const { maxSlots } = capabilities;
  const launches = launchesOf(plan, { wgsl: limits, maxSlots });
  const distinct = new Map(launches.map((launch) => [variantOf(plan, launch), launch.parts]));
  const texts = new Set(
    [...distinct.values()].map((parts) => shaderKey(launchShader(parts))),
  );
  const printed = performance.now();
  return {
    trace_s: (planned - start) / 1000 - plan_s,
    plan_s,
    print_s: (printed - planned) / 1000,
    steps: plan.steps.length,
    texts: texts.size,
    characters: [...texts].reduce((n, t) => n + t.length, 0),
    longest: Math.max(...[...texts].map((t) => t.length)),
  };
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["shape", "method", "dtype", "cache"],
    boolean: ["help"],
    unknown: (arg) => {
      throw new Error(`There is no flag ${arg}.\n${HELP}`);
    },
  });
  if (args.help) return console.log(HELP);
  const list = (text: string | undefined, absent: string) => (text ?? absent).split(",");
  const dtype = args.dtype === "f32" ? "f32" : "f16";
  if (args.cache !== undefined) {
    const of = { shape: args.shape ?? "1B", method: args.method ?? "lora", dtype } as const;
    return console.log(JSON.stringify(measure(of, args.cache)));
  }
  for (const shape of list(args.shape, "1B")) {
    for (const method of list(args.method, "lora,boft,hybrid")) {
      const cache = await Deno.makeTempDir();
      const run = async (): Promise<ReturnType<typeof measure>> => {
        const own = [`--shape=${shape}`, `--method=${method}`, `--dtype=${dtype}`, `--cache=${cache}`];
        const { success, stdout } = await new Deno.Command(Deno.execPath(), {
          args: ["run", "-A", "--no-check", import.meta.url, ...own],
          stderr: "inherit",
        }).output();
        if (!success) throw new Error(`${shape} ${method} has failed.`);
        return JSON.parse(new TextDecoder().decode(stdout));
      };
      const first = await run(), again = await run();
      await Deno.remove(cache, { recursive: true });
      console.log(
        JSON.stringify({ bench: "planning", shape, method, dtype, ...first, known_s: again.plan_s }),
      );
    }
  }
}

if (import.meta.main) {
  await main().then(() => Deno.exit(0), (error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    Deno.exit(2);
  });
}
