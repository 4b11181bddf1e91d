/**
 * Whether compiling on several threads with a device each fills the driver's cache faster than one device does:
 * `deno run -A bench/compile_threads.ts --workers 4`. Takes the kernels of a real step, each with a number in its text
 * that no run had before, so that no cache knows them. A JSON line: seconds until all threads are done, their devices'
 * opening included, then those of a fresh device here for the same texts. @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { openAdapter } from "../core/gpu/adapter.ts";
import { CompileTeam } from "../core/gpu/compile_team.ts";
import { launchesOf, type Provider } from "../core/gpu/mod.ts";
import { paced, plainly } from "../core/gpu/pace.ts";
import { launchShader, shaderKey } from "../core/gpu/pipelines.ts";
import { type Shader, ShaderCompiler } from "../core/gpu/shader.ts";
import { type MethodName, METHODS } from "../train/methods.ts";
import { dawnLike, stepPlan } from "./step_plan.ts";

const HELP = `deno run -A bench/compile_threads.ts [flags]
  --workers N        devices that compile at once before the one here; 0: none, the ordinary start (4)
  --shape NAME       sizes of the model (1B)
  --method NAME      ${METHODS.join(", ")} (hybrid)
  --dtype NAME       f32 or f16 (f16)
  --provider NAME    deno or dawn (dawn)
  --dawn-flags LIST  further settings of Dawn
  --longest N        as well: seconds that the device here takes for each of the N longest texts alone (0)`;

/** The distinct shaders of a step's launches, longest first, with a number in each that makes it new to every cache. */
function shadersOf(shape: string, method: MethodName, dtype: "f32" | "f16", salt: number): Shader[] {
  const { capabilities, limits } = dawnLike(dtype);
  const { plan } = stepPlan({ shape, method, dtype, batch: 4, seq: 512 }, capabilities);
  const { maxSlots } = capabilities;
  const all = launchesOf(plan, { wgsl: limits, maxSlots }).map((l) => launchShader(l.parts));
  const distinct = [...new Map(all.map((shader) => [shaderKey(shader), shader])).values()];
  return distinct.map(({ name, code, writes }) => {
    // The third number of a workgroup is always 0, which compilers cannot know.
    const salted = code.replace("= group.x", `= group.z * ${salt}u + group.x`);
    if (salted === code) throw new Error(`A launch has no place for a number:\n${code}`);
    return { name, code: salted, writes };
  }).sort((a, b) => b.code.length - a.code.length);
}

const secondsSince = (start: number): number => (performance.now() - start) / 1000;

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["workers", "shape", "method", "dtype", "provider", "dawn-flags", "longest"],
    boolean: ["help"],
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
  const salt = Date.now() % 2 ** 30, all = shadersOf(shape, method, dtype, salt);
  const dawnFlags = args["dawn-flags"]?.split(",") ?? [];
  const options = { software: true, provider, halfProducts: dtype === "f16", dawnFlags };
  const start = performance.now(), team = new CompileTeam(options, workers);
  const threads = workers > 0 ? await Promise.all(team.compile(all)) : [];
  const workers_s = secondsSince(start);
  await team.close();
  const opening = performance.now(), opened = await openAdapter(options);
  if (!opened) throw new Error(`There is no WebGPU adapter for ${provider}.`);
  const own_open_s = secondsSince(opening), compiling = performance.now();
  const compiler = new ShaderCompiler(opened.gpu, provider === "dawn" ? paced : plainly);
  await Promise.all(all.map((shader) => compiler.compile(compiler.read(shader))));
  const own_compile_s = secondsSince(compiling), total_s = secondsSince(start);
  // Texts that are new again, one after the other.
  const longest = [];
  for (const shader of shadersOf(shape, method, dtype, salt + 1).slice(0, Number(args.longest ?? 0))) {
    const own = performance.now();
    await compiler.compile(compiler.read(shader));
    longest.push({ name: shader.name, characters: shader.code.length, seconds: secondsSince(own) });
  }
  console.log(JSON.stringify({
    bench: "compile threads",
    ...{ shape, method, dtype, provider, workers },
    adapter_name: opened.capabilities.adapterName,
    pipelines: all.length,
    characters: all.reduce((n, s) => n + s.code.length, 0),
    compiled: Array.from({ length: workers }, (_, i) => threads.filter((t) => t === i).length),
    ...{ workers_s, own_open_s, own_compile_s, total_s },
    ...(longest.length > 0 ? { longest } : {}),
  }));
}

if (import.meta.main) {
  await main().then(() => Deno.exit(0), (error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    Deno.exit(2);
  });
}
