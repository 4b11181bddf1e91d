/** Families of decoders against what transformers computed (tests/fixtures/make_models.py), in f32. @module */
import { assert, assertEquals } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import type { DeviceArray } from "../core/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { fullGradients } from "../train/full_gradients.ts";
import { type DecoderConfig, modulesOf, tablesOf, weightShapes } from "../train/decoder.ts";
import { methodClasses, type MethodOptions } from "../train/methods.ts";
import { writeModel } from "../train/model_directory.ts";
import { loadPeft } from "../train/peft/load.ts";
import { savePeft } from "../train/peft/save.ts";
import { adamW, chain, clipByGlobalNorm, type Optimiser, scaleByRate } from "../train/optimiser.ts";
import { type HostBatch, openSession, type Session } from "../train/session.ts";
import type { HostTensor } from "../train/training.ts";

/** What transformers computed for a model. */
interface Expected {
  readonly rows: number;
  readonly length: number;
  readonly ids: readonly number[];
  readonly labels: readonly number[];
  readonly loss: number;
  /** Norm of the loss's gradient by weight. */
  readonly gradients: Readonly<Record<string, number>>;
  readonly prompt: readonly number[];
  readonly greedy: readonly number[];
  readonly logits: readonly number[];
}

const root = decodeURIComponent(new URL("fixtures/models", import.meta.url).pathname);
const device = await openCpu({ threads: 1 });

/** Each model, and its configuration without what makes its family another than plain Llama. */
const MODELS: Readonly<Record<string, ((config: DecoderConfig) => DecoderConfig) | null>> = {
  llama3: without("ropeScaling"),
  llama_biased: without("ropeScaling"),
  smollm2: null,
  mistral: without("windows"),
  qwen2: without("biases"),
  qwen2_window: without("windows"),
  qwen3: without("headNorms"),
  qwen3_biased: without("windows"),
  gpt2: (config) => ({ ...config, normEps: 0.5 }),
  gpt2_untied: null,
  gemma2: without("scoreCap"),
  gemma3: without("localTheta"),
};

function without(field: string): (config: DecoderConfig) => DecoderConfig {
  return (config) =>
    Object.fromEntries(Object.entries(config).filter(([name]) => name !== field)) as unknown as DecoderConfig;
}

function expectedOf(name: string): Expected {
  return JSON.parse(Deno.readTextFileSync(`${root}/${name}/expected.json`)) as Expected;
}

function batchOf({ ids, labels, rows, length }: Expected): HostBatch {
  return { ids: Int32Array.from(ids), labels: Int32Array.from(labels), rows, length };
}

async function open(
  dir: string,
  options: Partial<MethodOptions> | null,
  { optimiser = adamW({ clip: 0 }), change = (c: DecoderConfig) => c, on = device } = {},
): Promise<Session> {
  const { config, weights } = loadCheckpoint(dir, { dtype: "f32", shapes: weightShapes });
  const used = change(config);
  const classes = options
    ? methodClasses({ ...DEFAULT_SETTINGS, method: "lora", target: "all-linear", ...options }, used)
    : [];
  return await openSession({
    device: on,
    subject: { config: used, classes },
    weights,
    optimiser,
    accumulate: 1,
    seed: 5,
    maxLength: 32,
  });
}

async function logitsOf(session: Session, { ids, rows, length }: Expected): Promise<number[]> {
  const all: number[] = [];
  for (let i = 0; i < rows; i++) all.push(...await session.logits(ids.slice(i * length, (i + 1) * length)));
  return all;
}

function apart(ours: ArrayLike<number>, theirs: ArrayLike<number>): number {
  assertEquals(ours.length, theirs.length);
  let gap = 0;
  for (let i = 0; i < ours.length; i++) gap = Math.max(gap, Math.abs(ours[i]! - theirs[i]!));
  return gap;
}

function norm(data: ArrayLike<number>): number {
  return Math.sqrt(Array.from(data).reduce((total, v) => total + v * v, 0));
}

/** Multiplies gradients in the step that reads them, so that weights of any size do not round them away. */
const GRADIENT_RATE = 2 ** 14;

for (const [name, without] of Object.entries(MODELS)) {
  const dir = `${root}/${name}`;
  Deno.test(`${name}: logits, loss, gradients and greedy tokens are those of transformers`, async () => {
    const expected = expectedOf(name), batch = batchOf(expected);
    const sgd: Optimiser = chain(clipByGlobalNorm(0), scaleByRate());
    const session = await open(dir, { method: "full" }, { optimiser: sgd });
    const gap = apart(await logitsOf(session, expected), expected.logits);
    assert(gap <= 1e-4, `logits differ by ${gap}`);
    const greedy = await session.generate([expected.prompt], expected.greedy.length, -1);
    assertEquals(greedy, [[...expected.greedy]]);
    const before = await session.trained();
    const { loss, gradNorm } = await session.step(batch, {
      plain: GRADIENT_RATE,
      orthogonal: GRADIENT_RATE,
    });
    assert(Math.abs(loss / expected.loss - 1) <= 1e-4, `loss ${loss}, transformers ${expected.loss}`);
    const total = norm(Object.values(expected.gradients));
    assert(Math.abs(gradNorm / total - 1) <= 1e-4, `gradient norm ${gradNorm}, transformers ${total}`);
    const after = await session.trained();
    assertEquals([...before.keys()].sort(), Object.keys(expected.gradients).sort());
    for (const [weight, leaves] of before) {
      const old = leaves.get("weight")!.data, now = after.get(weight)!.get("weight")!.data;
      const ours = norm(Float64Array.from(old, (v, i) => (v - now[i]!) / GRADIENT_RATE));
      const theirs = expected.gradients[weight]!;
      assert(
        Math.abs(ours / theirs - 1) <= 1e-4,
        `gradient of ${weight}: ${ours}, transformers ${theirs}`,
      );
    }
  });

  if (without) {
    Deno.test(`${name}: without what is its family's own the logits are others`, async () => {
      const expected = expectedOf(name);
      const session = await open(dir, null, { change: without });
      const gap = apart(await logitsOf(session, expected), expected.logits);
      assert(gap > 1e-2, `logits differ by ${gap} alone`);
    });
  }
}

Deno.test("windows, biases and norms of heads on a GPU: logits, greedy tokens, loss and gradient norm", async () => {
  const gpu = await openGpu({ software: true });
  if (!gpu) {
    assert(Deno.env.get("GYRE_REQUIRE_GPU") !== "1", "GYRE_REQUIRE_GPU=1 and there is no WebGPU adapter");
    return console.log("skipped: there is no WebGPU adapter");
  }
  try {
    for (const name of ["mistral", "qwen3_biased", "gpt2", "gemma2"]) {
      const expected = expectedOf(name);
      const session = await open(`${root}/${name}`, { method: "full" }, { on: gpu });
      const gap = apart(await logitsOf(session, expected), expected.logits);
      assert(gap <= 1e-4, `${name}: logits differ by ${gap}`);
      const greedy = await session.generate([expected.prompt], expected.greedy.length, -1);
      assertEquals(greedy, [[...expected.greedy]], name);
      const { loss, gradNorm } = await session.step(batchOf(expected), { plain: 1e-3, orthogonal: 1e-3 });
      const total = norm(Object.values(expected.gradients));
      assert(Math.abs(loss / expected.loss - 1) <= 1e-4, `${name}: loss ${loss}`);
      assert(Math.abs(gradNorm / total - 1) <= 1e-4, `${name}: gradient norm ${gradNorm}, ${total} expected`);
    }
  } finally {
    await gpu.close();
  }
});

for (const name of ["mistral", "qwen2", "qwen3_biased", "gpt2", "gemma3"]) {
  for (const method of ["lora", "dora", "full"] as const) {
    Deno.test(`${name}: ${method} trains, and the merged directory is the adapted model`, async () => {
      const expected = expectedOf(name), batch = batchOf(expected);
      const session = await open(`${root}/${name}`, { method, rank: 3 });
      const first = (await session.evaluate([batch])).loss;
      for (let i = 0; i < 5; i++) await session.step(batch, { plain: 1e-2, orthogonal: 1e-2 });
      const last = (await session.evaluate([batch])).loss;
      assert(last < first - 0.1, `the loss was ${first} and is ${last}`);
      const adapted = await logitsOf(session, expected);
      const prompts = [[...expected.prompt], [...expected.prompt.slice(0, 2)]];
      const texts = await session.generate(prompts, 12, -1);
      const dir = Deno.makeTempDirSync();
      try {
        writeModel(dir, `${root}/${name}`, await session.merged());
        const merged = await open(dir, null);
        const gap = apart(await logitsOf(merged, expected), adapted);
        assert(gap <= 1e-4, `logits differ by ${gap}`);
        assertEquals(await merged.generate(prompts, 12, -1), texts);
      } finally {
        Deno.removeSync(dir, { recursive: true });
      }
    });
  }
}

for (const name of ["qwen2_window", "qwen3_biased", "gpt2", "gemma2", "gemma3"]) {
  Deno.test(`${name}: gradients layer by layer are those of transformers`, async () => {
    const expected = expectedOf(name);
    const { config, weights } = loadCheckpoint(`${root}/${name}`, { dtype: "f32", shapes: weightShapes });
    const all = new Map<string, HostTensor>([...weights, ...tablesOf(config, 32)]);
    const arrays = new Map<string, DeviceArray>(
      [...all].map(([n, t]) => [`weights.${n}`, device.upload(t.data, t.aval)]),
    );
    const paths = new Set(modulesOf(config).map((m) => m.path));
    const frozen = Object.fromEntries([...all].map(([n, t]) => [n, t.aval]));
    let seen = 0;
    for await (
      const { gradients } of fullGradients(
        { device, config, frozen, arrays, batches: [batchOf(expected)] },
        paths,
      )
    ) {
      for (const [path, array] of gradients) {
        const ours = norm(await device.download(array)), theirs = expected.gradients[`${path}.weight`]!;
        assert(Math.abs(ours / theirs - 1) <= 1e-4, `gradient of ${path}: ${ours}, transformers ${theirs}`);
        seen++;
      }
    }
    assertEquals(seen, paths.size);
    for (const array of arrays.values()) device.free(array);
  });
}

Deno.test("maps that are trained whole beside adapters take their biases with them, to PEFT and back", async () => {
  const { config } = loadCheckpoint(`${root}/qwen2`, { dtype: "f32", shapes: weightShapes });
  const expected = expectedOf("qwen2"), batch = batchOf(expected), at = "model.layers.0.self_attn.q_proj";
  const options = {
    method: "lora",
    target: "*.mlp.*",
    rank: 2,
    alpha: 4,
    saveModules: "0.self_attn.q_proj",
  } as const;
  const session = await open(`${root}/qwen2`, options);
  for (let i = 0; i < 3; i++) await session.step(batch, { plain: 1e-2, orthogonal: 1e-2 });
  const trained = await session.trained(), modules = modulesOf(config);
  const dir = `${Deno.makeTempDirSync()}/peft`;
  savePeft(dir, {
    modules,
    trained,
    branches: () => [{
      name: "lora",
      prefix: "",
      spec: { kind: "lowRank", alpha: 4, rankStabilised: false },
    }],
    combine: null,
    base: null,
  });
  const { saved } = loadPeft(dir, modules, { training: true });
  assertEquals([...saved.keys()].sort(), [`${at}.bias`, `${at}.weight`]);
  for (const [name, { data }] of saved) assertEquals(data, trained.get(name)!.get("weight")!.data, name);
});
