/** Dawn as the provider of WebGPU: without a GPU its null backend computes nothing and still checks every kernel. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { openGpu } from "../core/gpu/mod.ts";
import { Pipelines } from "../core/gpu/pipelines.ts";
import { openAdapter } from "../core/gpu/adapter.ts";
import { paced } from "../core/gpu/pace.ts";
import { aval } from "../core/ir/aval.ts";
import { matrixTiles, wgsl } from "../core/kernel/wgsl.ts";
import { wgslTogether } from "../core/kernel/wgsl_together.ts";
import { samples } from "./kernel_samples.ts";

const options = { sanitizeResources: false, sanitizeOps: false };
const nothing = {
  software: true,
  provider: "dawn",
  dawnFlags: ["backend=null"],
  halfProducts: true,
} as const;

Deno.test({
  name: "dawn: its capabilities are read, and it allocates",
  ...options,
  fn: async () => {
    const gpu = (await openGpu(nothing))!;
    const { kind, f16, gpu: more } = gpu.capabilities;
    assertEquals([kind, f16, more?.provider, more?.subgroups, more?.note], ["gpu", true, "dawn", true, null]);
    const x = gpu.upload(new Float32Array(8), aval([8]));
    assertEquals((await gpu.download(x)).length, 8);
    gpu.free(x);
    assertEquals(gpu.memory().bytes, 0);
    await gpu.close();
  },
});

Deno.test({
  name: "dawn: its compiler accepts the kernels of all samples",
  ...options,
  fn: async () => {
    const { gpu, limits } = (await openAdapter(nothing))!;
    const pipelines = new Pipelines(gpu, limits);
    for (const { kernel } of samples) assert((await pipelines.ready([kernel])).pipeline);
    gpu.destroy();
  },
});

Deno.test({
  name: "dawn: its compiler accepts products on matrix units",
  ...options,
  fn: async () => {
    const { gpu, limits } = (await openAdapter(nothing))!;
    let found = 0;
    for (const tile of matrixTiles) {
      for (const { kernel } of samples) {
        const { code } = wgsl(kernel, {
          ...limits,
          maxWorkgroupBytes: 49152,
          maxInvocations: 1024,
          matrix: [tile],
        });
        if (!code.includes("subgroupMatrixMultiplyAccumulate")) continue;
        found++;
        gpu.pushErrorScope("validation");
        // The null backend has too little workgroup memory for some pipelines, which the text alone does not need.
        gpu.createShaderModule({ code });
        const error = await gpu.popErrorScope();
        assertEquals(error?.message, undefined, code);
      }
    }
    assert(found >= 4 * 15, `${found} kernels`);
    gpu.destroy();
  },
});

Deno.test({
  name: "dawn: its compiler accepts products on matrix units that are launched together",
  ...options,
  fn: async () => {
    const { gpu, limits } = (await openAdapter(nothing))!;
    for (const tile of matrixTiles) {
      const given = { ...limits, maxWorkgroupBytes: 49152, maxInvocations: 1024, matrix: [tile] };
      const all = samples.map((s) => s.kernel)
        .filter((k) => wgsl(k, given).code.includes("subgroupMatrixMultiplyAccumulate"));
      for (let i = 0; i + 3 <= all.length; i += 3) {
        const { code, slots } = wgslTogether(all.slice(i, i + 3), given);
        assertEquals(slots.length, all.slice(i, i + 3).reduce((n, k) => n + k.slots.length, 0));
        gpu.pushErrorScope("validation");
        gpu.createShaderModule({ code });
        const error = await gpu.popErrorScope();
        assertEquals(error?.message, undefined, code);
      }
    }
    gpu.destroy();
  },
});

Deno.test({
  name: "dawn: it looks after its promises by a timer, and the global stays as it was",
  ...options,
  fn: async () => {
    const { gpu } = (await openAdapter(nothing))!;
    // The timer of the device's opening has run out by then.
    await new Promise((done) => setTimeout(done, 20));
    const own = globalThis.setImmediate;
    let turns = 0;
    const counting = (...args: Parameters<typeof own>): ReturnType<typeof own> => {
      turns++;
      return own(...args);
    };
    Object.assign(globalThis, { setImmediate: counting });
    try {
      const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
      const map = (): Promise<undefined> =>
        gpu.createBuffer({ size: 4, usage }).mapAsync(GPUMapMode.READ) as Promise<undefined>;
      await map();
      assert(turns > 0, "Dawn does not use setImmediate any more: core/gpu/pace.ts has nothing to do");
      turns = 0;
      for (let i = 0; i < 5; i++) {
        await Promise.all([
          paced(map),
          paced(() => gpu.queue.onSubmittedWorkDone()),
        ]);
      }
      assertEquals(turns, 0);
      assert(globalThis.setImmediate as unknown === counting, "the global was not put back");
      assertThrows(
        () =>
          paced(() => {
            throw new Error("thrown through");
          }),
        Error,
        "thrown through",
      );
      assert(globalThis.setImmediate as unknown === counting, "the global was not put back after an error");
    } finally {
      Object.assign(globalThis, { setImmediate: own });
    }
    gpu.destroy();
  },
});

Deno.test("dawn: without the permission to load a library it says what to do", async () => {
  const module = new URL("../core/gpu/mod.ts", import.meta.url).href;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-check", "--allow-read", "--allow-env", "-"],
    cwd: new URL("..", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(
    `import { openGpu } from "${module}";
    await openGpu({ provider: "dawn" }).catch((error) => console.log(error.message));`,
  ));
  await writer.close();
  const said = new TextDecoder().decode((await child.output()).stdout);
  assert(said.startsWith("Dawn cannot be loaded: allow it with --allow-ffi"), said);
});
