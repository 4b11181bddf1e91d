/**
 * Pretrain the bundled base from nothing on generated text: `deno run -A examples/pretrain.ts --out examples/base`.
 * Reads `config.json` and the tokenizer in `--out`, writes `model.safetensors` (f16) and `pretrain.jsonl` (a line each
 * ten steps) there. The same seed and device give the same file. @module
 */
import { parseArgs } from "@std/cli/parse-args";
import * as Effect from "effect/Effect";
import { aval, type Device, evaluate, sizeOf } from "../core/mod.ts";
import { foldIn, key, mul, normal } from "../ops/mod.ts";
import { weightClasses } from "../train/arena.ts";
import { writeTextAtomically } from "../train/atomic_file.ts";
import { loadConfig } from "../train/checkpoint.ts";
import { type DeviceChoice, openDevice } from "../train/devices.ts";
import { f32ToF16 } from "../train/floats.ts";
import { weightShapes } from "../train/llama.ts";
import type { LlamaConfig } from "../train/llama_config.ts";
import { adamW } from "../train/optimiser.ts";
import { openProgress, standardError } from "../train/report.ts";
import { writeSafetensors } from "../train/safetensors.ts";
import { schedule } from "../train/schedule.ts";
import { type HostBatch, type HostTensor, openSession } from "../train/session.ts";
import { loadTokenizer, type Tokenizer } from "../train/tokenizer.ts";
import { pretrainDocuments } from "./corpus.ts";

/** Standard deviation of the initial matrices. */
const SPREAD = 0.02;

/** Random matrices, ones for the scales of norms. */
function initialWeights(config: LlamaConfig, seed: number): Map<string, HostTensor> {
  const root = key(seed);
  return new Map([...weightShapes(config)].map(([name, at], i) => {
    const data = at.shape.length === 1
      ? new Float32Array(sizeOf(at.shape)).fill(1)
      : Float32Array.from(evaluate([mul(normal(foldIn(root, i), at.shape), SPREAD)])[0]!);
    return [name, { aval: at, data }];
  }));
}

/** Documents end to end, cut into rows of `length` positions; every position is trained. */
function* rowsOf(tokenizer: Tokenizer, seed: number, rows: number, length: number): Generator<HostBatch> {
  const documents = pretrainDocuments(seed);
  let waiting: number[] = [];
  for (;;) {
    const size = rows * length;
    while (waiting.length < size + 1) {
      waiting.push(...tokenizer.encode(documents.next().value), tokenizer.eosId);
    }
    yield {
      ids: Int32Array.from(waiting.slice(0, size)),
      labels: Int32Array.from(waiting.slice(1, size + 1)),
      rows,
      length,
    };
    waiting = waiting.slice(size);
  }
}

interface PretrainOptions {
  readonly out: string;
  readonly steps: number;
  readonly rows: number;
  readonly length: number;
  readonly seed: number;
  /** Largest learning rate. */
  readonly peak: number;
}

async function pretrain(
  device: Device,
  { out, steps, rows, length, seed, peak }: PretrainOptions,
): Promise<void> {
  const config = loadConfig(out), tokenizer = loadTokenizer(out);
  const classes = weightClasses([...weightShapes(config)].map(([name, aval]) => ({ name, aval })));
  const session = await openSession({
    device,
    subject: { config, classes },
    weights: initialWeights(config, seed),
    optimiser: adamW({ clip: 1, beta2: 0.95, decay: 0.1 }),
    accumulate: 1,
    seed,
    maxLength: length,
    betas: [0.9, 0.95],
  });
  const rate = schedule("cosine", { warmup: Math.round(steps / 20), total: steps });
  const progress = openProgress(steps);
  const log: string[] = [
    JSON.stringify({ device: device.capabilities.adapterName, steps, rows, length, seed, lr: peak }),
  ];
  const start = performance.now();
  const queue: { step: number; lr: number; metrics: ReturnType<typeof session.step> }[] = [];
  const settle = async (): Promise<void> => {
    const { step, lr, metrics } = queue.shift()!;
    const { loss, gradNorm } = await metrics;
    progress.step({
      step,
      loss,
      lr,
      gradNorm,
      tokensPerSecond: (step * rows * length) / ((performance.now() - start) / 1000),
    });
    if (step % 10 === 0 || step === 1) log.push(JSON.stringify({ step, loss, lr, grad_norm: gradNorm }));
  };
  let step = 0;
  for (const batch of rowsOf(tokenizer, seed, rows, length)) {
    if (step === steps) break;
    const lr = peak * rate(step);
    queue.push({ step: ++step, lr, metrics: session.step(batch, { plain: lr, orthogonal: lr }) });
    if (step === 1 || queue.length >= 16) await settle();
  }
  while (queue.length > 0) await settle();
  progress.done();
  const weights = new Map([...await session.trained()].map(([name, leaves]) => {
    const { aval: { shape }, data } = leaves.get("weight")!;
    return [name, { aval: aval(shape, "f16"), data: f32ToF16(data as Float32Array) }];
  }));
  writeSafetensors(`${out}/model.safetensors`, weights, { format: "pt" });
  writeTextAtomically(`${out}/pretrain.jsonl`, `${log.join("\n")}\n`);
  standardError.write(
    `${out}/model.safetensors written after ${((performance.now() - start) / 1000).toFixed(0)} s\n`,
  );
}

if (import.meta.main) {
  const flags = parseArgs(Deno.args, {
    string: ["out", "steps", "batch", "seq", "seed", "lr", "device"],
    default: {
      out: "examples/base",
      steps: "3000",
      batch: "32",
      seq: "128",
      seed: "1",
      lr: "3e-3",
      device: "auto",
    },
  });
  await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
    const device = yield* openDevice(flags.device as DeviceChoice);
    standardError.write(`device: ${device.capabilities.adapterName}\n`);
    yield* Effect.promise(() =>
      pretrain(device, {
        out: flags.out,
        steps: Number(flags.steps),
        rows: Number(flags.batch),
        length: Number(flags.seq),
        seed: Number(flags.seed),
        peak: Number(flags.lr),
      })
    );
  })));
}
