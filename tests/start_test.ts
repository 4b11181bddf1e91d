/** Starts from gradients and weights: the gradients, their factors, and that the loss at the start is the base's. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { aval, type Device, sizeOf } from "../core/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { batches } from "../train/batches.ts";
import { openCounting } from "../train/counting_device.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { loadDataset } from "../train/data.ts";
import { UserError } from "../train/errors.ts";
import { Factoriser } from "../train/factorise.ts";
import { fullGradients } from "../train/full_gradients.ts";
import { modulesOf, tablesOf, weightShapes } from "../train/decoder.ts";
import { methodClasses, type MethodName } from "../train/methods.ts";
import { adamW, clipByGlobalNorm } from "../train/optimiser.ts";
import { type HostBatch, openSession, type Session } from "../train/session.ts";
import type { HostTensor } from "../train/training.ts";
import { loadTokenizer } from "../train/tokenizer.ts";
import { difference, numbersOf, singularValues, timesTransposed } from "./matrix.ts";

const device = await openCpu({ threads: 1 });
const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
const base = `${root}examples/base`;
const { examples } = loadDataset(`${root}examples/data/train.jsonl`, loadTokenizer(base), 64);
const few: HostBatch[] = [...batches(examples, { batch: 4, seq: 64, seed: 0, epochs: 1 })].slice(0, 2);

function checkpoint(dtype: "f32" | "f16") {
  return loadCheckpoint(base, { dtype, shapes: weightShapes });
}

async function session(
  method: MethodName,
  { dtype = "f32", weights = checkpoint(dtype).weights, ...settings }: {
    dtype?: "f32" | "f16";
    weights?: ReadonlyMap<string, HostTensor>;
    variant?: "paper" | "peft";
  } = {},
): Promise<Session> {
  const { config } = checkpoint(dtype);
  const classes = methodClasses({ ...DEFAULT_SETTINGS, ...settings, method, target: "all-linear" }, config);
  return await openSession({
    device,
    subject: { config, classes },
    weights,
    optimiser: adamW({ clip: 0 }),
    accumulate: 1,
    seed: 3,
    maxLength: 64,
    startBatches: few,
  });
}

/** The bundled model on the device, with rotary tables of `length` positions. */
function uploaded(length: number) {
  const { config, weights } = checkpoint("f32");
  const host = new Map<string, HostTensor>([...weights, ...tablesOf(config, length)]);
  return {
    config,
    frozen: Object.fromEntries([...host].map(([name, t]) => [name, t.aval])),
    arrays: new Map(
      [...host].map(([name, t]) => [`weights.${name}`, device.upload(t.data, t.aval)] as const),
    ),
  };
}

Deno.test("full gradients: layer by layer they are those of the whole model", async () => {
  const { config, frozen, arrays } = uploaded(64);
  const layers = [0, config.layers - 1];
  const paths = layers.flatMap((i) =>
    ["self_attn.k_proj", "mlp.down_proj"].map((name) => `model.layers.${i}.${name}`)
  );
  const found = new Map<string, Float64Array>();
  for await (
    const { gradients } of fullGradients({ device, config, frozen, arrays, batches: few }, new Set(paths))
  ) {
    for (const [path, array] of gradients) {
      found.set(path, Float64Array.from(await device.download(array)));
    }
  }
  assertEquals([...found.keys()].sort(), [...paths].sort());
  for (const path of paths) {
    const expected = new Float64Array(found.get(path)!.length);
    for (const batch of few) {
      const g = await wholeGradient(device, path, batch);
      g.forEach((v, i) => expected[i]! += v / few.length);
    }
    const size = Math.hypot(...expected);
    assert(size > 1e-4, `the gradient of ${path} is ${size}`);
    const off = Math.hypot(...found.get(path)!.map((v, i) => v - expected[i]!)) / size;
    assert(off < 1e-4, `${path} is off by ${off}, relative.`);
  }
});

/** Gradient of one batch's loss for a weight, by a training step of full fine-tuning. */
async function wholeGradient(on: Device, path: string, batch: HostBatch): Promise<Float64Array> {
  const { config, weights } = checkpoint("f32");
  const classes = methodClasses({ ...DEFAULT_SETTINGS, method: "full", target: "all-linear" }, config);
  const trained = await openSession({
    device: on,
    subject: { config, classes },
    weights,
    // Without a limit the update is the gradient itself.
    optimiser: clipByGlobalNorm(0),
    accumulate: 1,
    seed: 0,
    maxLength: 64,
  });
  const read = async (): Promise<Float64Array> =>
    Float64Array.from((await trained.trained()).get(`${path}.weight`)!.get("weight")!.data);
  const before = await read();
  await trained.step(batch, { plain: 1, orthogonal: 1 });
  return (await read()).map((v, i) => v - before[i]!);
}

for (const dtype of ["f32", "f16"] as const) {
  Deno.test(`starts: the loss at step 0 is the base's, ${dtype}`, async () => {
    const plain = (await (await session("lora", { dtype })).evaluate(few)).loss;
    const methods = [["lora-ga", "paper"], ["lora-ga", "peft"], ["pissa"], ["olora"], ["dora"], [
      "hybrid",
    ]] as const;
    for (const [method, variant] of methods) {
      const at = await session(method, variant ? { dtype, variant } : { dtype });
      const { loss } = await at.evaluate(few);
      assert(Math.abs(loss / plain - 1) <= 1e-5, `${method}: the loss is ${loss}, the base's ${plain}.`);
    }
  });
}

Deno.test("lora-ga: A and B are singular vectors of the gradient, scaled by out^¼/√γ", async () => {
  const started = await (await session("lora-ga")).trained();
  for (const leaves of [...started.values()].slice(0, 8)) {
    const a = leaves.get("a")!, b = leaves.get("b")!;
    const [rank, inDim] = a.aval.shape as [number, number], outDim = b.aval.shape[0]!;
    const c = outDim ** 0.25 / Math.sqrt(DEFAULT_SETTINGS.gamma);
    const rows = Float64Array.from(a.data, (v) => v / c);
    const columns = transposed(Float64Array.from(b.data, (v) => v / c), outDim);
    const unit = Float64Array.from({ length: rank * rank }, (_, i) => i % (rank + 1) === 0 ? 1 : 0);
    for (const [basis, length] of [[rows, inDim], [columns, outDim]] as const) {
      const off = difference(timesTransposed(basis, basis, length), unit);
      assert(off < 1e-4, `singular vectors are off by ${off} from orthonormal.`);
    }
  }
});

function transposed(x: Float64Array, rows: number): Float64Array {
  const columns = x.length / rows;
  return Float64Array.from(x, (_, i) => x[(i % rows) * columns + Math.floor(i / rows)]!);
}

Deno.test("factoriser: singular triples of tall, wide, small and singular matrices; Q and R", async () => {
  const [factoriser, another] = [1, 2].map((seed) => new Factoriser(device, seed)) as [
    Factoriser,
    Factoriser,
  ];
  for (
    const [out, inDim, rank, k] of [[90, 150, 90, 8], [200, 70, 70, 6], [12, 9, 9, 9], [
      80,
      100,
      5,
      4,
    ]] as const
  ) {
    // A product of thin matrices with falling weights: its singular values fall too.
    const left = numbersOf(out * rank, 3),
      right = numbersOf(inDim * rank, 4).map((v, i) => v * 0.8 ** (i % rank));
    const m = timesTransposed(left, right, rank);
    const array = device.upload(Float32Array.from(m), aval([out, inDim]));
    const { u, s, v } = await factoriser.factors(array, { by: "svd", columns: k });
    const expected = out <= inDim ? singularValues(m, inDim) : singularValues(transposed(m, out), out);
    expected.sort((a, b) => b - a);
    for (let j = 0; j < k; j++) {
      assert(
        Math.abs(s[j]! / expected[j]! - 1) < 1e-3,
        `${out}×${inDim}: σ${j} is ${s[j]}, not ${expected[j]}.`,
      );
    }
    // M·v = u·σ.
    const mv = timesTransposed(m, transposed(Float64Array.from(v), inDim), inDim);
    const us = Float64Array.from(u, (value, i) => value * s[i % k]!);
    assert(difference(mv, us) < 2e-3, `${out}×${inDim}: M·v and u·σ differ by ${difference(mv, us)}.`);
    // Other random directions give the same vectors, signs included.
    const again = await another.factors(array, { by: "svd", columns: k });
    for (const [one, other] of [[u, again.u], [v, again.v]] as const) {
      const gap = difference(Float64Array.from(one), Float64Array.from(other));
      assert(gap < 1e-2, `${out}×${inDim}: singular vectors of two seeds differ by ${gap}.`);
    }
    const qr = await factoriser.factors(array, { by: "qr", columns: k });
    const lead = m.filter((_, i) => i % inDim < k);
    const back = timesTransposed(
      Float64Array.from(qr.u),
      Float64Array.from(qr.v.subarray(0, k * k)),
      k,
    );
    assert(difference(back, lead) < 1e-4, `${out}×${inDim}: Q·R is off by ${difference(back, lead)}.`);
    device.free(array);
  }
  const { bytes } = device.memory();
  await Promise.all([factoriser, another].map((f) => f.dispose()));
  assert(device.memory().bytes < bytes);
});

Deno.test("factoriser: all plans of a factorisation are begun before it", async () => {
  const counting = openCounting(device.capabilities);
  let compiled = 0;
  const counted: Device = {
    ...counting,
    compile: (plan) => {
      compiled++;
      return counting.compile(plan);
    },
  };
  const factoriser = new Factoriser(counted, 1),
    type = aval([90, 150]),
    ask = { by: "svd", columns: 8 } as const;
  factoriser.prepare(type, ask);
  const begun = compiled;
  assert(begun > 0);
  await factoriser.factors(counted.upload(new Float32Array(90 * 150), type), ask);
  assertEquals(compiled, begun);
  await factoriser.dispose();
});

Deno.test("lora-ga: gradients that are not finite are an error that names the map", async () => {
  const { weights } = checkpoint("f32");
  const name = "model.layers.1.mlp.up_proj.weight";
  const { aval: at } = weights.get(name)!;
  const broken = new Map(weights).set(name, {
    aval: at,
    data: new Float32Array(sizeOf(at.shape)).fill(Number.NaN),
  });
  const error = await assertRejects(() => session("lora-ga", { weights: broken }), UserError);
  assert(error.message.includes("gradient of model.layers"), error.message);
});

Deno.test("full gradients: besides the model they need one layer's gradients, not all layers'", async () => {
  const { config, frozen, arrays } = uploaded(16);
  const modules = modulesOf(config);
  const batch: HostBatch = {
    ids: Int32Array.from({ length: 16 }, (_, i) => i),
    labels: new Int32Array(16).fill(3),
    rows: 1,
    length: 16,
  };
  const before = device.memory();
  let peak = 0, told = 0;
  const pass = { device, config, frozen, arrays, batches: [batch] };
  for await (const { bytes } of fullGradients(pass, new Set(modules.map((m) => m.path)))) {
    told = Math.max(told, bytes);
    peak = Math.max(peak, device.memory().bytes - before.bytes);
  }
  const all = modules.reduce((n, m) => n + 4 * m.inDim * m.outDim, 0);
  // One layer's gradients, and what the pass itself needs.
  assert(peak < 0.6 * all, `${peak} bytes are allocated, all gradients are ${all}.`);
  assert(Math.abs(told / peak - 1) < 0.05, `${told} bytes are told and ${peak} allocated.`);
  assertEquals(device.memory().bytes, before.bytes);
});
