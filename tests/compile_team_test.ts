/** Threads that compile shaders first: who compiled what, that they end, and that all is the same without them. @module */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { AdapterOptions } from "../core/gpu/adapter.ts";
import { openAdapter } from "../core/gpu/adapter.ts";
import { CompileTeam } from "../core/gpu/compile_team.ts";
import { openGpu } from "../core/gpu/mod.ts";
import { launchShader, Pipelines } from "../core/gpu/pipelines.ts";
import { defaultLimits, printed } from "../core/kernel/wgsl.ts";
import type { HostArray, Plan } from "../core/plan/mod.ts";
import { samples } from "./kernel_samples.ts";

/** Dawn without a GPU: it reads and checks all texts. */
const nothing: AdapterOptions = {
  ...{ software: true, provider: "dawn", halfProducts: false },
  dawnFlags: ["backend=null"],
};
const absent: AdapterOptions = { ...nothing, dawnFlags: ["backend=metal"] };
/** What Dawn itself keeps open is not looked at. */
const dawn = { sanitizeResources: false, sanitizeOps: false };

/** Kernels with few bindings, which the null backend takes. */
const kernels = samples.map((s) => s.kernel).filter((k) => k.slots.length <= 8).slice(0, 24);
const shaders = kernels.map((k) => launchShader([printed(k, defaultLimits)]));

Deno.test("compile team: each shader is compiled by one of the threads, and they end with their devices", async () => {
  const team = new CompileTeam(nothing, 2, 50);
  team.start();
  const first = await Promise.all(team.compile(shaders));
  assert(first.every((thread) => thread === 0 || thread === 1), `${first}`);
  for (let waits = 0; team.size > 0; waits++) {
    assert(waits < 500, "the threads have not ended");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const again = await Promise.all(team.compile(shaders.slice(0, 3)));
  assert(again.every((thread) => thread !== null), `${again}`);
  await team.close();
  assertEquals(await Promise.all(team.compile(shaders.slice(0, 2))), [null, null]);
});

Deno.test("compile team: what is asked for last is compiled first", async () => {
  const team = new CompileTeam(nothing, 1);
  const early = team.compile([...shaders, ...shaders, ...shaders]);
  const late = team.compile(shaders.slice(0, 3));
  let isEarlyDone = false;
  const all = Promise.all(early).then(() => isEarlyDone = true);
  assertEquals(await Promise.all(late), [0, 0, 0]);
  assert(!isEarlyDone);
  await all;
  assertEquals(await Promise.all(early), early.map(() => 0));
  await team.close();
});

Deno.test("compile team: closed while its devices are opened, or while it compiles", async () => {
  const idle = new CompileTeam(nothing, 2);
  idle.start();
  await idle.close();
  const busy = new CompileTeam(nothing, 2), all = busy.compile([...shaders, ...shaders, ...shaders]);
  await all[0];
  await busy.close();
  // Whatever was not begun has no thread, and nobody waits for it.
  assertEquals((await Promise.all(all)).length, 3 * shaders.length);
});

Deno.test("compile team: threads without a device, and shaders that are not valid, are told as not compiled", async () => {
  const team = new CompileTeam(absent, 2);
  assertEquals(await Promise.all(team.compile(shaders)), shaders.map(() => null));
  await team.close();
  const other = new CompileTeam(nothing, 1);
  const broken = { ...shaders[0]!, code: `${shaders[0]!.code}\nnot WGSL` };
  assertEquals(await Promise.all(other.compile([broken])), [null]);
  await other.close();
});

Deno.test({
  name:
    "compile team: without its threads the device compiles alone, and says itself what is wrong with a shader",
  ...dawn,
  fn: async () => {
    const { gpu } = (await openAdapter(nothing))!;
    for (const [options, of] of [[absent, 0], [nothing, 2]] as const) {
      const team = new CompileTeam(options, 2),
        pipelines = new Pipelines(gpu, defaultLimits, undefined, team);
      const ready = await Promise.all(pipelines.readyAll(kernels.map((k) => [printed(k, defaultLimits)])));
      assert(ready.every((r) => r.pipeline));
      assert(new Set(ready.flatMap((r) => r.thread ?? [])).size <= of);
      assertEquals(ready.every((r) => r.thread === null), of === 0);
      const broken = kernels.map((k) => [printed({ ...k, name: `${k.name}\nnot WGSL` }, defaultLimits)]);
      for (const made of pipelines.readyAll(broken)) {
        await assertRejects(() => made, Error, "The GPU's driver does not accept kernel");
      }
      await team.close();
    }
    gpu.destroy();
  },
});

Deno.test({
  name: "compile team: texts that a later plan needs too do not wait for the earlier one",
  ...dawn,
  fn: async () => {
    const { gpu } = (await openAdapter(nothing))!;
    const team = new CompileTeam(nothing, 1), pipelines = new Pipelines(gpu, defaultLimits, undefined, team);
    const order: string[] = [];
    const readyAll = (name: string, some: typeof kernels): Promise<unknown> =>
      Promise.all(
        pipelines.readyAll(some.map((k) => [printed(k, defaultLimits)])).map((r) =>
          r.then(() => order.push(name))
        ),
      );
    // The shortest come last in the earlier one.
    const short = kernels.map((kernel, i) => ({ kernel, length: shaders[i]!.code.length }))
      .sort((a, b) => a.length - b.length).slice(0, 8).map((s) => s.kernel);
    await Promise.all([readyAll("early", kernels), readyAll("late", short)]);
    assert(order.lastIndexOf("late") < order.lastIndexOf("early") - 4, order.join());
    await team.close();
    gpu.destroy();
  },
});

Deno.test({
  name: "compile team: few texts open no threads, and where there are some the device and they share them",
  ...dawn,
  fn: async () => {
    const { gpu } = (await openAdapter(nothing))!;
    const team = new CompileTeam(nothing, 2), pipelines = new Pipelines(gpu, defaultLimits, undefined, team);
    const threadsOf = async (some: typeof kernels): Promise<(number | null)[]> => {
      const ready = await Promise.all(pipelines.readyAll(some.map((k) => [printed(k, defaultLimits)])));
      return ready.map((r) => r.thread);
    };
    assertEquals([await threadsOf(kernels.slice(0, 2)), team.size], [[null, null], 0]);
    team.start();
    const [first, second] = await Promise.all([
      threadsOf(kernels.slice(2, 5)),
      threadsOf(kernels.slice(5, 7)),
    ]);
    assertEquals(first.map((thread) => thread === null), [true, false, false]);
    assert(second.every((thread) => thread !== null), "the device has a text already");
    assertEquals(await threadsOf(kernels.slice(7, 8)), [null], "it is done with it");
    await team.close();
    gpu.destroy();
  },
});

/** A plan of kernels that have nothing to do with each other. */
function planOf(): { readonly plan: Plan; readonly values: readonly HostArray[] } {
  const chosen = samples.filter((s) => /^(row|contract)/.test(s.name)).filter(({ kernel }) =>
    kernel.slots.every((s) => s.dtype === "f32" && s.access !== "readwrite")
  ).slice(0, 36);
  const inputs: Plan["inputs"][number][] = [], outputs: Plan["outputs"][number][] = [];
  const buffers: Plan["buffers"][number][] = [], values: HostArray[] = [];
  const steps = chosen.map(({ kernel, sizes }, i) => ({
    kernel: i,
    slots: kernel.slots.map((slot, j) => {
      const n = sizes[j]!, isInput = slot.access === "read";
      const buffer = buffers.push({ bytes: 4 * n, role: isInput ? "input" : "output" }) - 1;
      const aval = { shape: [n], dtype: "f32" as const };
      if (isInput) {
        inputs.push({ aval, buffer });
        values.push(Float32Array.from({ length: n }, (_, k) => Math.sin(k + i + j)));
      } else outputs.push({ aval, place: { buffer, offset: 0 } });
      return { buffer, offset: 0 };
    }),
  }));
  return { plan: { inputs, outputs, buffers, kernels: chosen.map((s) => s.kernel), steps }, values };
}

Deno.test({
  name: "compile team: a plan gives the same numbers with and without, on any adapter",
  ...dawn,
  fn: async () => {
    const { plan, values } = planOf();
    const numbers: HostArray[][] = [];
    for (const compileThreads of [0, 2]) {
      const gpu = await openGpu({ software: true, provider: "deno", compileThreads });
      if (!gpu) return console.log("skipped: there is no GPU and no software driver here");
      const executable = await gpu.compile(plan);
      assertEquals(executable.compileThreads > 0, compileThreads > 0);
      assert(executable.compileThreads <= compileThreads);
      const inputs = values.map((v, i) => gpu.upload(v, plan.inputs[i]!.aval));
      numbers.push(await Promise.all(executable.run(inputs).map((y) => gpu.download(y))));
      await gpu.close();
    }
    assertEquals(numbers[1], numbers[0]);
  },
});

Deno.test("compile team: a program that leaves its device open ends by itself", async () => {
  const module = new URL("../core/gpu/mod.ts", import.meta.url).href;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "-"],
    cwd: new URL("..", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(
    `import { openGpu } from "${module}";
    const options = { software: true, provider: "dawn", dawnFlags: ["backend=null"], compileThreads: 2 };
    console.log((await openGpu(options)) !== null);`,
  ));
  await writer.close();
  const { code, stdout } = await child.output();
  assertEquals([code, new TextDecoder().decode(stdout).trim()], [0, "true"]);
});
