/**
 * CPU and GPU on a real checkpoint and real rows: `deno run -A bench/devices.ts [rows] [steps] [method ...]`. Trains every
 * method (or those named) on both and compares the losses step by step; ends with code 1 where one differs by more than
 * 1e-3. Takes any WebGPU adapter, a software driver included. A line of JSON a method, then a table. @module
 */
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import type { Device } from "../core/mod.ts";
import {
  batches,
  type HostBatch,
  loadCheckpoint,
  loadDataset,
  loadTokenizer,
  METHODS,
  showTable,
  weightShapes,
} from "../train/mod.ts";
import { optionsFor, sessionFor } from "./training.ts";

/** Largest difference of the two losses at one step. */
const SAME_LOSS = 1e-3;
const SEQ = 256;

const data = decodeURIComponent(new URL("../../shared/data/", import.meta.url).pathname);
const model = `${data}models/stories260K`;

/** Losses of the first steps at constant rates, and seconds. */
async function train(
  device: Device,
  method: string,
  { rows, steps }: { readonly rows: number; readonly steps: number },
): Promise<{ readonly losses: readonly number[]; readonly seconds: number }> {
  const begin = performance.now();
  const options = optionsFor(method, ["--model", model]);
  const subject = { name: "stories260K", ...loadCheckpoint(model, { dtype: "f32", shapes: weightShapes }) };
  const { examples } = loadDataset(`${data}gsm8k/train.jsonl`, loadTokenizer(model), SEQ);
  const rates = { plain: options.lr, orthogonal: options.orthogonalLr };
  const chosen: HostBatch[] = [];
  for (const batch of batches(examples, { batch: rows, seq: SEQ, seed: options.seed, epochs: Infinity })) {
    if (chosen.length === steps) break;
    chosen.push(batch);
  }
  const { session } = await sessionFor(device, subject, options, chosen);
  const losses: number[] = [];
  for (const batch of chosen) {
    losses.push((await session.step(batch, rates)).loss);
  }
  return { losses, seconds: (performance.now() - begin) / 1000 };
}

async function main([rows = "2", steps = "20", ...methods]: readonly string[]): Promise<number> {
  const size = { rows: Number(rows), steps: Number(steps) };
  const table = [["method", "first loss", "last loss", "largest gap", "CPU s", "GPU s"]];
  let gpuName = "", worst = 0;
  for (const method of methods.length > 0 ? methods : METHODS) {
    const gpu = await openGpu({ software: true }), cpu = await openCpu();
    if (!gpu) {
      console.error("There is no WebGPU adapter here; on Debian without a GPU install mesa-vulkan-drivers.");
      return 2;
    }
    gpuName = gpu.capabilities.adapterName;
    const ours = await train(cpu, method, size), others = await train(gpu, method, size);
    await Promise.all([cpu.close(), gpu.close()]);
    const gap = Math.max(...ours.losses.map((loss, i) => Math.abs(loss - others.losses[i]!)));
    worst = Number.isNaN(gap) ? Infinity : Math.max(worst, gap);
    console.log(
      JSON.stringify({ bench: "CPU and GPU", method, ...size, gpu: gpuName, gap, cpu: ours, gpuRun: others }),
    );
    const ends = [ours.losses[0]!, ours.losses.at(-1)!].map((loss) => loss.toFixed(4));
    table.push([method, ...ends, gap.toExponential(1), ours.seconds.toFixed(1), others.seconds.toFixed(1)]);
  }
  console.error(
    `stories260K on gsm8k, ${size.steps} steps of ${size.rows} rows, GPU ${gpuName}\n${showTable(table)}`,
  );
  return worst <= SAME_LOSS ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
