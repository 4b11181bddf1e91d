/** Training: devices agree, seeds repeat, accumulation changes nothing, the program's errors and exit codes. @module */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import type { Device } from "../core/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { batches } from "../train/batches.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { loadDataset } from "../train/data.ts";
import { weightShapes } from "../train/decoder.ts";
import { methodClasses, type MethodName, METHODS } from "../train/methods.ts";
import { adamW } from "../train/optimiser.ts";
import { openSession } from "../train/session.ts";
import { loadTokenizer } from "../train/tokenizer.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
const base = `${root}examples/base`;

/** Losses of some steps of the bundled model on the bundled task. */
async function losses(
  device: Device,
  method: MethodName,
  { steps = 20, accumulate = 1, seed = 0, rows = 4, dtype = "f32" as "f32" | "f16" } = {},
): Promise<{ loss: number[]; lambda: number[] }> {
  const { config, weights } = loadCheckpoint(base, { dtype, shapes: weightShapes });
  const { examples } = loadDataset(`${root}examples/data/train.jsonl`, loadTokenizer(base), 64);
  const classes = methodClasses({
    ...DEFAULT_SETTINGS,
    method,
    rank: 4,
    alpha: 8,
    target: "all-linear",
  }, config);
  const session = await openSession({
    device,
    subject: { config, classes },
    weights,
    optimiser: adamW({ clip: 1 }),
    accumulate,
    seed,
    maxLength: 64,
    startBatches: [...batches(examples, { batch: rows, seq: 64, seed, epochs: 1 })].slice(0, 2),
  });
  const loss: number[] = [];
  for (const batch of batches(examples, { batch: rows, seq: 64, seed, epochs: 1 })) {
    if (loss.length === steps) break;
    loss.push((await session.step(batch, { plain: 1e-3, orthogonal: 5e-4 })).loss);
  }
  return { loss, lambda: Object.values(await session.lambdas()).flat() };
}

async function withCpu<T>(use: (device: Device) => Promise<T>, threads?: number): Promise<T> {
  const device = await openCpu(threads === undefined ? {} : { threads });
  try {
    return await use(device);
  } finally {
    await device.close();
  }
}

const needed = Deno.env.get("GYRE_REQUIRE_GPU") === "1";

for (const method of METHODS) {
  Deno.test(`${method}: the loss falls, and CPU and GPU agree to 1e-3 at each of 20 steps`, async () => {
    const cpu = await withCpu((device) => losses(device, method));
    const mean = (xs: number[]): number => xs.reduce((a, b) => a + b) / xs.length;
    assert(mean(cpu.loss.slice(-5)) < mean(cpu.loss.slice(0, 5)), `losses ${cpu.loss.join(" ")}`);
    const gpu = await openGpu({ software: true });
    if (!gpu) {
      assert(!needed, "GYRE_REQUIRE_GPU=1 and there is no WebGPU adapter");
      return console.log("skipped on the GPU: there is no WebGPU adapter");
    }
    try {
      const other = await losses(gpu, method);
      cpu.loss.forEach((loss, i) => {
        const gap = Math.abs(loss - other.loss[i]!);
        assert(gap <= 1e-3, `step ${i + 1}: CPU ${loss}, GPU ${other.loss[i]}`);
      });
    } finally {
      await gpu.close();
    }
  });
}

Deno.test("the same seed gives the same numbers, on one thread and on two; another seed gives others", async () => {
  const once = await withCpu((device) => losses(device, "hybrid", { steps: 5 }));
  assertEquals(await withCpu((device) => losses(device, "hybrid", { steps: 5 })), once);
  assertEquals(await withCpu((device) => losses(device, "hybrid", { steps: 5 }), 1), once);
  const other = await withCpu((device) => losses(device, "hybrid", { steps: 5, seed: 1 }));
  assert(other.loss.some((l, i) => l !== once.loss[i]));
});

Deno.test("accumulation in parts gives the numbers of the whole batch", async () => {
  const whole = await withCpu((device) => losses(device, "lora", { steps: 5, rows: 8 }));
  const parts = await withCpu((device) => losses(device, "lora", { steps: 5, rows: 8, accumulate: 4 }));
  whole.loss.forEach((l, i) =>
    assert(Math.abs(l - parts.loss[i]!) < 1e-4, `step ${i + 1}: ${l} and ${parts.loss[i]}`)
  );
});

Deno.test("f16 weights train like f32 ones", async () => {
  const exact = await withCpu((device) => losses(device, "lora", { steps: 5 }));
  const half = await withCpu((device) => losses(device, "lora", { steps: 5, dtype: "f16" }));
  // The bundled weights are f16 in the file: storing them so loses nothing.
  half.loss.forEach((l, i) => assert(Math.abs(l - exact.loss[i]!) < 1e-4));
});

Deno.test("λ of every layer stays within its bounds and sums to 1", async () => {
  const { lambda } = await withCpu((device) => losses(device, "hybrid", { steps: 5 }));
  assertEquals(lambda.length, 2 * 35);
  for (let i = 0; i < lambda.length; i += 2) {
    assert(lambda[i]! >= 0.05 - 1e-6 && lambda[i]! <= 0.95 + 1e-6);
    assert(Math.abs(lambda[i]! + lambda[i + 1]! - 1) < 1e-5);
  }
});

async function program(
  args: readonly string[],
  signalAfter = 0,
): Promise<{ code: number; out: string; err: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--allow-read", "--allow-write", "--allow-env", `${root}train.ts`, ...args],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  if (signalAfter > 0) setTimeout(() => child.kill("SIGINT"), signalAfter);
  const { code, stdout, stderr } = await child.output();
  const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code, out: decode(stdout), err: decode(stderr) };
}

Deno.test("the program: a short run writes its files and one JSON line", async () => {
  const out = await Deno.makeTempDir();
  const run = await program(["--steps", "3", "--eval", "none", "--device", "cpu", "--out", out, "--json"]);
  assertEquals(run.code, 0, run.err);
  const result = JSON.parse(run.out);
  assertEquals([result.method, result.device, result.steps, result.eval_before], ["hybrid", "cpu", 3, null]);
  assertEquals(Deno.readTextFileSync(`${out}/metrics.jsonl`).trim().split("\n").length, 3);
  assert(Deno.statSync(`${out}/adapter/adapter.safetensors`).size > 100_000);
  assertEquals(JSON.parse(Deno.readTextFileSync(`${out}/config.json`)).method, "hybrid");
});

Deno.test("the program: Ctrl-C saves the adapter and says so", async () => {
  const out = await Deno.makeTempDir();
  const run = await program(["--steps", "5000", "--eval", "none", "--device", "cpu", "--out", out], 6000);
  assertEquals(run.code, 130, run.err);
  assertStringIncludes(run.err, `the adapter is saved in ${out}/adapter`);
  assert(Deno.statSync(`${out}/adapter/adapter.safetensors`).size > 100_000);
});

Deno.test("the program: what is wrong is said in one line, with exit code 2, and nothing is written", async () => {
  const dir = await Deno.makeTempDir();
  Deno.writeTextFileSync(`${dir}/broken.jsonl`, '{"text":"a"}\n{"text":\n');
  const cases: readonly [readonly string[], string][] = [
    [["--stepz", "3"], "--steps"],
    [["--data", `${dir}/absent.jsonl`], "absent.jsonl"],
    [["--data", `${dir}/broken.jsonl`], "broken.jsonl:2"],
    [["--model", `${dir}/absent`], "config.json"],
    [["--block", "24"], "24"],
    [["--target", "nothing"], "nothing"],
  ];
  for (const [args, expected] of cases) {
    const run = await program([...args, "--device", "cpu", "--steps", "1", "--out", `${dir}/out`]);
    assertEquals(run.code, 2, `${args.join(" ")}: ${run.err}`);
    assertStringIncludes(run.err.trim().split("\n").at(-1)!, expected);
    assert(
      !(await Deno.stat(`${dir}/out`).then(() => true, () => false)),
      `${args.join(" ")} wrote something`,
    );
  }
});
