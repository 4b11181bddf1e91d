/**
 * Pretrain a base from nothing on generated text. The bundled one: `deno run -A examples/pretrain.ts --out examples/base`.
 * Reads `config.json` and the tokenizer in `--out`, writes `model.safetensors` (f16) and `pretrain.jsonl` (a line each
 * ten steps) there. The same seed and device give the same file.
 *
 * Another size, in another directory, with the bundled tokenizer (14 million parameters, at most 200 s of training):
 * ```sh
 * deno run -A examples/pretrain.ts --out runs/base14m --layers 8 --hidden 384 --heads 6 --batch 64 --lr 1e-3 --seconds 200
 * ```
 * With `--seconds` the learning rate falls with the clock, and the same seed no longer gives the same file; with `--steps`
 * as well, whichever ends first. `--help` lists the flags. Exit codes: 0 done, 2 something given to it is wrong.
 * @module
 */
import * as Effect from "effect/Effect";
import { aval, type Device, evaluate, sizeOf } from "../core/mod.ts";
import { foldIn, key, mul, normal } from "../ops/mod.ts";
import { weightClasses } from "../train/arena.ts";
import { writeTextAtomically } from "../train/atomic_file.ts";
import { attempt } from "../train/attempt.ts";
import { loadConfig } from "../train/checkpoint.ts";
import { describeDevice, openDevice } from "../train/devices.ts";
import { f32ToF16 } from "../train/floats.ts";
import { type DecoderConfig, weightShapes } from "../train/decoder.ts";
import { requirePositions } from "../train/load_model.ts";
import { tryWriting } from "../train/output_directory.ts";
import { runProgram } from "../train/program.ts";
import { adamW } from "../train/optimiser.ts";
import { openProgress, standardError } from "../train/report.ts";
import { runnerOf } from "../train/runner.ts";
import { writeSafetensors } from "../train/safetensors.ts";
import { schedule } from "../train/schedule.ts";
import { type HostBatch, openSession } from "../train/session.ts";
import type { HostTensor } from "../train/training.ts";
import { loadTokenizer, type Tokenizer } from "../train/tokenizer.ts";
import { pretrainDocuments } from "./corpus.ts";
import { writeModelDirectory } from "./pretrain/config.ts";
import { parsePretrainFlags, pretrainHelp, type PretrainOptions } from "./pretrain/options.ts";

/** Standard deviation of the initial matrices. */
const SPREAD = 0.02;

/** Random matrices, ones for the scales of norms; drawn on the device, since there may be millions. */
async function initialWeights(
  device: Device,
  config: DecoderConfig,
  seed: number,
): Promise<Map<string, HostTensor>> {
  const root = key(seed), weights = new Map<string, HostTensor>();
  const drawers = new Map<string, ReturnType<typeof runnerOf>>();
  const bits = device.upload(new Uint32Array(2), aval([2], "u32"));
  for (const [i, [name, { shape }]] of [...weightShapes(config)].entries()) {
    let data = new Float32Array(sizeOf(shape)).fill(1);
    if (shape.length > 1) {
      const draw = drawers.get(shape.join()) ??
        runnerOf(device, ({ bits }) => ({ matrix: mul(normal({ bits }, shape), SPREAD) }), {
          bits: aval([2], "u32"),
        });
      drawers.set(shape.join(), draw);
      device.write(bits, Uint32Array.from(evaluate([foldIn(root, i).bits])[0]!));
      const drawn = (await draw).run(new Map([["bits", bits]])).get("matrix")!;
      data = Float32Array.from(await device.download(drawn));
    }
    weights.set(name, { aval: aval(shape), data });
  }
  for (const draw of drawers.values()) (await draw).executable.dispose();
  device.free(bits);
  return weights;
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

async function pretrain(
  device: Device,
  { out, steps, seconds, batch: rows, seq: length, seed, lr: peak }: PretrainOptions,
): Promise<void> {
  const config = loadConfig(out), tokenizer = loadTokenizer(out);
  const classes = weightClasses([...weightShapes(config)].map(([name, aval]) => ({ name, aval })));
  const session = await openSession({
    device,
    subject: { config, classes },
    weights: await initialWeights(device, config, seed),
    optimiser: adamW({ clip: 1, beta2: 0.95, decay: 0.1 }),
    accumulate: 1,
    seed,
    maxLength: length,
    betas: [0.9, 0.95],
  });
  const rate = schedule("cosine", { warmup: Math.round(steps / 20), total: steps });
  const progress = openProgress(steps);
  const log: string[] = [
    JSON.stringify({
      device: device.capabilities.adapterName,
      ...{ steps, ...(seconds === null ? {} : { seconds }), rows, length, seed, lr: peak },
      parameters: [...weightShapes(config).values()].reduce((n, { shape }) => n + sizeOf(shape), 0),
    }),
  ];
  let start = performance.now();
  const queue: { step: number; lr: number; metrics: ReturnType<typeof session.step> }[] = [];
  const settle = async (): Promise<void> => {
    const { step, lr, metrics } = queue.shift()!;
    const { loss, gradNorm } = await metrics;
    // The first step compiles.
    if (step === 1) start = performance.now();
    const tokensPerSecond = step === 1 ? 0 : ((step - 1) * rows * length) / elapsed();
    progress.step({ step, loss, lr, gradNorm, tokensPerSecond });
    if (step % 10 === 0 || step === 1) log.push(JSON.stringify({ step, loss, lr, grad_norm: gradNorm }));
  };
  const elapsed = (): number => (performance.now() - start) / 1000;
  /** Steps by the clock: how far the schedule is, counted as if the limit in seconds were `steps`. */
  const place = (): number =>
    seconds === null || step === 0 ? step : Math.max(step, steps * elapsed() / seconds);
  let step = 0;
  for (const batch of rowsOf(tokenizer, seed, rows, length)) {
    const at = place();
    if (at >= steps) break;
    const lr = peak * rate(at);
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
  log.push(JSON.stringify({ steps: step, seconds: elapsed() }));
  writeTextAtomically(`${out}/pretrain.jsonl`, `${log.join("\n")}\n`);
  standardError.write(
    `${out}/model.safetensors written after ${step} steps in ${elapsed().toFixed(0)} s\n`,
  );
}

async function main(args: readonly string[]): Promise<number> {
  const root = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");
  const options = parsePretrainFlags(args, { root });
  if (options === null) {
    console.log(pretrainHelp());
    return 0;
  }
  const { out, sizes, tokenizer, seq } = options;
  requirePositions(seq, sizes ? { maxPositions: sizes.positions } : loadConfig(out));
  tryWriting(out);
  if (sizes) writeModelDirectory(out, tokenizer, sizes);
  const failed = await Effect.runPromise(Effect.match(
    Effect.scoped(Effect.gen(function* () {
      const device = yield* openDevice(options.device);
      standardError.write(`device: ${describeDevice(device.capabilities)}\n`);
      yield* attempt(() => pretrain(device, options));
    })),
    { onFailure: (error) => error, onSuccess: () => null },
  ));
  if (failed) throw failed;
  return 0;
}

if (import.meta.main) await runProgram(main);
