/**
 * What bounds products on matrix units: `deno run -A bench/products.ts --size 4096` times kernels with parts left out, or
 * made in another way, and prints a JSON line for each. Needs Dawn on hardware. @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { openAdapter } from "../core/gpu/adapter.ts";
import { paced } from "../core/gpu/pace.ts";
import { type Compiled, ShaderCompiler } from "../core/gpu/shader.ts";
import { PRODUCT, type ProductKernel, productText } from "./product_kernel.ts";

const HELP = `deno run -A bench/products.ts [flags]
  --size N           rows and columns of the squares, a multiple of 256 (4096)
  --dawn-flags LIST  further settings of Dawn: backend=null checks the kernels without a GPU`;

const KERNELS: readonly (readonly [name: string, differs: Partial<ProductKernel>])[] = [
  ["all", {}],
  ["without moves", { without: "moves" }],
  ["without products", { without: "products" }],
  ["without barriers", { without: "barriers" }],
  ["from the nearest cache", { near: true }],
  ["rows in the same banks", { apart: false }],
  ["vectors of 16 bytes", { vector: 8 }],
  ["two pieces ahead", { ahead: 2 }],
  ["64 deep", { depth: 64 }],
  ["128 × 256 by 8 subgroups", { cols: 256 }],
  ["256 × 128 by 8 subgroups", { rows: 256 }],
  ["24 KiB of workgroup memory", { room: 24576 }],
  ["31 KiB of workgroup memory", { room: 31744 }],
];

/** Milliseconds until the clock has gone up, and of a measurement. */
const WARM_MS = 250, MEASURED_MS = 60;

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["size", "dawn-flags"],
    boolean: ["help"],
    unknown: (arg) => {
      throw new Error(`There is no flag ${arg}.\n${HELP}`);
    },
  });
  if (args.help) return console.log(HELP);
  const n = Number(args.size ?? 4096);
  if (!(n > 0) || n % 256 !== 0) throw new Error(`--size is "${args.size}": give a multiple of 256.`);
  const dawnFlags = args["dawn-flags"]?.split(",") ?? [], isNull = dawnFlags.includes("backend=null");
  const opened = await openAdapter({ software: isNull, provider: "dawn", halfProducts: true, dawnFlags });
  if (!opened) throw new Error("There is no hardware GPU that Dawn reaches.");
  const { gpu, capabilities: { adapterName } } = opened, compiler = new ShaderCompiler(gpu, paced);
  for (const [name, differs] of KERNELS) {
    const { code, workgroups, bytes } = productText({ ...PRODUCT, ...differs }, n);
    const read = compiler.read({ name, code, writes: [false, false, true] });
    // What computes nothing allows less workgroup memory, so that it checks the text alone.
    const wrong = isNull ? await read.invalid : null;
    if (wrong) throw new Error(`${name}: ${wrong.message}\n${code}`);
    const ms = isNull ? null : await measure(gpu, await compiler.compile(read), workgroups, n);
    const tflops = ms === null ? null : Number((2 * n ** 3 / ms / 1e9).toPrecision(4));
    console.log(
      JSON.stringify({ bench: "products", adapter_name: adapterName, size: n, name, bytes, tflops }),
    );
  }
}

/** Milliseconds of one run. */
async function measure(
  gpu: GPUDevice,
  { pipeline, layout }: Compiled,
  workgroups: number,
  n: number,
): Promise<number> {
  const buffers = [2, 2, 4].map((bytes) =>
    gpu.createBuffer({ size: bytes * n * n, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST })
  );
  const some = Float16Array.from({ length: n * n }, (_, i) => (i * 7919 % 2048) / 1024 - 1);
  for (const buffer of buffers.slice(0, 2)) gpu.queue.writeBuffer(buffer, 0, some);
  const bound = gpu.createBindGroup({
    layout,
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const run = async (times: number): Promise<number> => {
    const start = performance.now(), encoder = gpu.createCommandEncoder(), pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bound);
    for (let i = 0; i < times; i++) pass.dispatchWorkgroups(workgroups);
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    await paced(() => gpu.queue.onSubmittedWorkDone());
    return (performance.now() - start) / times;
  };
  await run(1);
  const about = await run(2), times = (ms: number): number => Math.max(1, Math.ceil(ms / about));
  await run(times(WARM_MS));
  const found: number[] = [];
  for (let i = 0; i < 3; i++) found.push(await run(times(MEASURED_MS)));
  buffers.forEach((buffer) => buffer.destroy());
  return found.sort((x, y) => x - y)[1]!;
}

if (import.meta.main) {
  await main().then(() => Deno.exit(0), (error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    Deno.exit(2);
  });
}
