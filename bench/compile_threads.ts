/**
 * Whether compiling on several threads, or in several processes, with a device each fills the driver's cache on disk
 * faster than one device does: `deno run -A bench/compile_threads.ts --workers 4`. Takes the kernels of a real step,
 * each with a number in its text that no run had before, so that no cache knows them. A JSON line: seconds until all
 * workers are done, then those of a fresh device here for the same texts. @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { launchesOf } from "../core/gpu/launches.ts";
import { launchText } from "../core/gpu/pipelines.ts";
import type { Provider } from "../core/gpu/provider.ts";
import { type MethodName, METHODS } from "../train/methods.ts";
import { compileAll, type Compiled, type Shader, type Task } from "./compile_worker.ts";
import { dawnLike, stepPlan } from "./step_plan.ts";

const HELP = `deno run -A bench/compile_threads.ts [flags]
  --workers N        devices that compile at once before the one here; 0: none, the ordinary start (4)
  --processes        a process for each instead of a thread
  --shape NAME       sizes of the model (1B)
  --method NAME      ${METHODS.join(", ")} (hybrid)
  --dtype NAME       f32 or f16 (f16)
  --provider NAME    deno or dawn (dawn)
  --dawn-flags LIST  further settings of Dawn: backend=null tries the program without a GPU`;

/** The distinct texts of a step's kernels, longest first, with a number in each that makes it new to every cache. */
function shaders(shape: string, method: MethodName, dtype: "f32" | "f16", salt: number): Shader[] {
  const { capabilities, limits } = dawnLike(dtype);
  const { plan } = stepPlan({ shape, method, dtype, batch: 4, seq: 512 }, capabilities);
  const found = new Map<string, Shader>();
  const { maxSlots } = capabilities;
  for (const { kernels } of launchesOf(plan, { wgsl: limits, maxSlots })) {
    const { code } = launchText(kernels, limits), slots = kernels.flatMap((k) => k.slots);
    const text = code.slice(code.indexOf("\n")), written = slots.map((s) => s.access !== "read");
    // The third number of a workgroup is always 0, which compilers cannot know.
    const salted = text.replace("= group.x", `= group.z * ${salt}u + group.x`);
    if (salted === text) throw new Error(`A launch has no place for a number:\n${code}`);
    found.set(text, { code: salted, written });
  }
  return [...found.values()].sort((a, b) => b.code.length - a.code.length);
}

function inThread(task: Task): Promise<Compiled> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("compile_worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<Compiled>) => {
      resolve(data);
      worker.terminate();
    };
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(task);
  });
}

async function inProcess(task: Task): Promise<Compiled> {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, JSON.stringify(task));
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", new URL("compile_worker.ts", import.meta.url).href, path],
    stderr: "inherit",
  }).output();
  await Deno.remove(path);
  if (!success) throw new Error("A process that compiles has failed.");
  const result: Compiled = JSON.parse(new TextDecoder().decode(stdout));
  return result;
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["workers", "shape", "method", "dtype", "provider", "dawn-flags"],
    boolean: ["processes", "help"],
    unknown: (arg) => {
      throw new Error(`There is no flag ${arg}.\n${HELP}`);
    },
  });
  if (args.help) return console.log(HELP);
  const workers = Number(args.workers ?? 4);
  const shape = args.shape ?? "1B", dtype = args.dtype === "f32" ? "f32" : "f16";
  const method = METHODS.find((m) => m === (args.method ?? "hybrid"));
  if (!method) throw new Error(`--method is "${args.method}": give ${METHODS.join(", ")}.`);
  const provider: Provider = args.provider === "deno" ? "deno" : "dawn";
  const all = shaders(shape, method, dtype, Date.now() % 2 ** 31);
  const dawnFlags = args["dawn-flags"]?.split(",") ?? [];
  const task = (list: readonly Shader[]): Task => ({ shaders: list, provider, dtype, dawnFlags });
  const start = performance.now();
  const shares = Array.from({ length: workers }, (_, w) => task(all.filter((_, i) => i % workers === w)));
  const done = await Promise.all(shares.map(args.processes ? inProcess : inThread));
  const workers_s = (performance.now() - start) / 1000;
  const own = await compileAll(task(all));
  console.log(JSON.stringify({
    bench: "compile threads",
    ...{ shape, method, dtype, provider, workers, kind: args.processes ? "processes" : "threads" },
    adapter_name: own.adapterName,
    pipelines: all.length,
    workers_s,
    worker_open_s: done.map((d) => d.openSeconds),
    worker_compile_s: done.map((d) => d.compileSeconds),
    own_open_s: own.openSeconds,
    own_compile_s: own.compileSeconds,
    total_s: (performance.now() - start) / 1000,
  }));
}

if (import.meta.main) {
  await main().then(() => Deno.exit(0), (error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    Deno.exit(2);
  });
}
