/** The whole training step of the bundled model, beside jax-js, and of every method beside LoRA. @module */
import { openCpu } from "../core/cpu/mod.ts";
import { showBytes } from "../core/mod.ts";
import { type HostBatch, METHODS, showTable } from "../train/mod.ts";
import { JAX_JS, jaxStep } from "./jax_step.ts";
import {
  bundledModel,
  median,
  openTrainer,
  optionsFor,
  packedBatches,
  RATES,
  sessionFor,
  type Steps,
  takeTurns,
  type Trainer,
} from "./training.ts";

/** Rows and positions of a measured batch. */
const ROWS = 16, LENGTH = 128;
/** Measured steps of each trainer. */
const ROUNDS = 11;
/** Largest difference of two libraries' losses at one step. */
const SAME_LOSS = 1e-3;

/** Writes one measurement. */
export type Record = (measurement: Readonly<{ [key: string]: unknown }>) => void;

const HEAD = ["", "threads", "ms/step", "best", "tokens/s", "start s", "compile s", "peak", "trainable"];

function numbersOf({ trainer, times, firstMs }: Steps) {
  const msPerStep = median(times), cost = trainer.cost();
  return {
    name: trainer.name,
    threads: trainer.threads,
    rows: ROWS,
    length: LENGTH,
    msPerStep,
    bestMs: Math.min(...times),
    tokensPerSecond: ROWS * LENGTH / msPerStep * 1000,
    startSeconds: cost?.startSeconds ?? null,
    // Where it is not known: what the first step took longer.
    compileSeconds: cost?.compileSeconds ?? (firstMs - msPerStep) / 1000,
    peakBytes: cost?.peakBytes ?? null,
    trainable: cost?.trainable ?? null,
  };
}

function cells(n: ReturnType<typeof numbersOf>): string[] {
  return [
    n.name,
    String(n.threads),
    n.msPerStep.toFixed(1),
    n.bestMs.toFixed(1),
    n.tokensPerSecond.toFixed(0),
    n.startSeconds === null ? "" : n.startSeconds.toFixed(2),
    n.compileSeconds.toFixed(2),
    n.peakBytes === null ? "" : showBytes(n.peakBytes),
    n.trainable === null ? "" : String(n.trainable),
  ];
}

/** LoRA, the hybrid and full training on all threads and on one, and LoRA in jax-js, which must compute the same losses. */
export async function benchStep(record: Record): Promise<void> {
  const cores = navigator.hardwareConcurrency, subject = bundledModel();
  const batches = packedBatches(4, ROWS, LENGTH);
  const trainers: Trainer[] = [];
  for (const threads of new Set([cores, 1])) {
    for (const method of ["lora", "hybrid", "full"]) {
      trainers.push(await openTrainer(subject, method, threads, batches));
    }
  }
  trainers.push(await openJax(batches));
  const all = await takeTurns(trainers, batches, ROUNDS);
  const ours = all[0]!.losses, theirs = all.at(-1)!.losses;
  const lossGap = Math.max(...ours.map((loss, i) => Math.abs(loss - theirs[i]!)));
  if (!(lossGap <= SAME_LOSS)) {
    throw new Error(`LoRA has losses ${ours} in Gyre and ${theirs} in jax-js: not the same step.`);
  }
  const table = [HEAD];
  for (const entry of all) {
    const numbers = numbersOf(entry);
    record({ bench: "training step", ...numbers });
    table.push(cells(numbers));
  }
  for (const trainer of trainers) await trainer.close();
  console.error(`\ntraining step, bundled model, ${ROWS} rows of ${LENGTH} tokens\n${showTable(table)}`);
  console.error(`largest difference of LoRA's losses in Gyre and jax-js: ${lossGap.toExponential(1)}`);
  record({ bench: "training step, losses", lossGap, steps: ours.length });
}

/** The LoRA step in jax-js from Gyre's initial parameters. */
async function openJax(batches: readonly HostBatch[]): Promise<Trainer> {
  const subject = bundledModel(), options = optionsFor("lora");
  const device = await openCpu();
  const { session } = await sessionFor(device, subject, options, batches);
  const start = await session.trained();
  await device.close();
  const step = await jaxStep(subject.config, subject.weights, start, { rows: ROWS, length: LENGTH }, {
    scale: options.alpha / options.rank,
    rate: RATES.plain,
    clip: options.clip,
  });
  return {
    name: `lora in ${JAX_JS}`,
    threads: navigator.hardwareConcurrency,
    step,
    cost: () => null,
    close: () => Promise.resolve(),
  };
}

/** Every method on all threads, beside LoRA: the ratio of times is the median over the rounds. */
export async function benchMethods(record: Record): Promise<void> {
  const threads = navigator.hardwareConcurrency, subject = bundledModel();
  const batches = packedBatches(4, ROWS, LENGTH);
  const trainers: Trainer[] = [];
  for (const method of METHODS) {
    trainers.push(await openTrainer(subject, method, threads, batches));
  }
  const all = await takeTurns(trainers, batches, ROUNDS);
  const lora = all[METHODS.indexOf("lora")]!;
  const table = [[...HEAD, "time/LoRA", "peak/LoRA"]];
  for (const entry of all) {
    const numbers = numbersOf(entry);
    const timeToLora = median(entry.times.map((t, i) => t / lora.times[i]!));
    const peakToLora = numbers.peakBytes! / lora.trainer.cost()!.peakBytes;
    record({ bench: "methods", ...numbers, timeToLora, peakToLora });
    table.push([...cells(numbers), timeToLora.toFixed(2), peakToLora.toFixed(2)]);
  }
  for (const trainer of trainers) await trainer.close();
  console.error(`\nmethods, bundled model, ${ROWS} rows of ${LENGTH} tokens\n${showTable(table)}`);
}
