/** GPT-2: its configuration, its layouts in files, every method on it, adapters of PEFT on its fused maps. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { identity, on } from "../adapters/mod.ts";
import { openCpu } from "../core/cpu/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { peftForms } from "../train/adapter_directory.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { modulesOf, weightShapes } from "../train/decoder.ts";
import { CheckpointError, PeftError } from "../train/errors.ts";
import { f16ToF32 } from "../train/floats.ts";
import { parseGpt2Config } from "../train/gpt2_config.ts";
import { decoderLayout, methodClasses, METHODS } from "../train/methods.ts";
import { parseConfig } from "../train/model_config.ts";
import { writeModel } from "../train/model_directory.ts";
import { adamW } from "../train/optimiser.ts";
import { loadPeft } from "../train/peft/load.ts";
import { label } from "../train/plots/lambda.ts";
import { openSafetensors, type StoredTensor, writeSafetensors } from "../train/safetensors.ts";
import { openSession, type Session } from "../train/session.ts";

const models = decodeURIComponent(new URL("fixtures/models", import.meta.url).pathname);
const peft = decodeURIComponent(new URL("fixtures/peft", import.meta.url).pathname);
const dir = `${models}/gpt2`;
const json = JSON.parse(Deno.readTextFileSync(`${dir}/config.json`)) as Record<string, unknown>;
const expected = JSON.parse(Deno.readTextFileSync(`${dir}/expected.json`));
const device = await openCpu({ threads: 1 });
const ids: number[] = expected.ids.slice(0, expected.length);

async function open(from: string, method: typeof METHODS[number] | null): Promise<Session> {
  const { config, weights } = loadCheckpoint(from, { dtype: "f32", shapes: weightShapes });
  const settings = { ...DEFAULT_SETTINGS, rank: 2, block: 2, factors: 1 };
  return await openSession({
    device,
    subject: {
      config,
      classes: method ? methodClasses({ ...settings, method, target: "all-linear" }, config) : [],
    },
    weights,
    optimiser: adamW({ clip: 1 }),
    accumulate: 1,
    seed: 3,
    maxLength: 32,
    startBatches: [batch],
  });
}

const batch = {
  ids: Int32Array.from(expected.ids as number[]),
  labels: Int32Array.from(expected.labels as number[]),
  rows: expected.rows as number,
  length: expected.length as number,
};

function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assertEquals(a.length, b.length);
  return Array.from(a).reduce((gap, v, i) => Math.max(gap, Math.abs(v - b[i]!)), 0);
}

function inTempDir(body: (dir: string) => void | Promise<void>): void | Promise<void> {
  const temporary = Deno.makeTempDirSync();
  const clean = (): void => Deno.removeSync(temporary, { recursive: true });
  const done = body(temporary);
  return done instanceof Promise ? done.finally(clean) : clean();
}

for (const method of METHODS) {
  Deno.test(`GPT-2: ${method} trains, and the merged directory is the adapted model`, () =>
    inTempDir(async (temporary) => {
      const session = await open(dir, method);
      const first = (await session.evaluate([batch])).loss;
      for (let i = 0; i < 8; i++) await session.step(batch, { plain: 1e-2, orthogonal: 1e-2 });
      const last = (await session.evaluate([batch])).loss;
      assert(last < first - 0.05, `the loss was ${first} and is ${last}`);
      writeModel(temporary, dir, await session.merged());
      const merged = await open(temporary, null);
      const gap = apart(await merged.logits(ids), await session.logits(ids));
      assert(gap <= 1e-4, `logits differ by ${gap}`);
      // As in the base's file: maps stand there [in, out].
      using file = openSafetensors(`${temporary}/model.safetensors`);
      using base = openSafetensors(`${dir}/model.safetensors`);
      for (const [name, { shape }] of base.header.tensors) {
        assertEquals(file.header.tensors.get(name)?.shape, shape, name);
      }
    }));
}

Deno.test("GPT-2: names of the first checkpoints and their tables of masks are known", () =>
  inTempDir((temporary) => {
    using file = openSafetensors(`${dir}/model.safetensors`);
    const old = new Map<string, StoredTensor>();
    for (const name of file.header.tensors.keys()) old.set(name.replace("transformer.", ""), file.read(name));
    const mask = { aval: { shape: [1, 1, 2, 2], dtype: "f32" as const }, data: new Float32Array(4) };
    old.set("h.0.attn.bias", mask).set("h.2.attn.masked_bias", mask);
    writeSafetensors(`${temporary}/model.safetensors`, old);
    Deno.writeTextFileSync(`${temporary}/config.json`, JSON.stringify(json));
    const load = (from: string) => loadCheckpoint(from, { dtype: "f32", shapes: weightShapes });
    const { weights, unused } = load(temporary);
    const plain = (all: typeof weights) => [...all].map(([name, { aval, data }]) => [name, aval, data]);
    assertEquals(plain(weights), plain(load(dir).weights));
    assertEquals([...unused].sort(), ["h.0.attn.bias", "h.2.attn.masked_bias"]);
    old.set("h.0.attn.scale", mask);
    writeSafetensors(`${temporary}/model.safetensors`, old);
    assertThrows(() => load(temporary), CheckpointError, 'tensor "h.0.attn.scale" is no part');
  }));

Deno.test("GPT-2: maps are turned, also into f16, and nothing else is", () => {
  const full = loadCheckpoint(dir, { dtype: "f32", shapes: weightShapes }).weights;
  const half = loadCheckpoint(dir, { dtype: "f16", shapes: weightShapes }).weights;
  using file = openSafetensors(`${dir}/model.safetensors`);
  const at = "transformer.h.1.mlp.c_fc.weight", stored = file.readF32(at);
  const [inDim, outDim] = file.header.tensors.get(at)!.shape as [number, number];
  const turned = Float32Array.from(stored, (_, i) => stored[(i % inDim) * outDim + Math.floor(i / inDim)]!);
  assertEquals(full.get(at)!.data, turned);
  assertEquals(full.get(at)!.aval.shape, [outDim, inDim]);
  const halved = f16ToF32(half.get(at)!.data as Uint16Array);
  assert(apart(halved, turned) <= 2 ** -10, "f16 is another matrix");
  assertEquals(full.get("transformer.wpe.weight")!.data, file.readF32("transformer.wpe.weight"));
});

Deno.test("GPT-2: absent fields of the configuration are Hugging Face's", () => {
  const config = parseGpt2Config({ model_type: "gpt2" }, "m");
  const { hiddenSize, intermediateSize, layers, heads, headDim, vocabSize, maxPositions, normEps } = config;
  assertEquals([hiddenSize, intermediateSize, layers, heads, headDim], [768, 3072, 12, 12, 64]);
  assertEquals([vocabSize, maxPositions, normEps, config.tiedEmbeddings], [50257, 1024, 1e-5, true]);
  assertEquals(config.dropout, { attn_pdrop: 0.1, embd_pdrop: 0.1, resid_pdrop: 0.1 });
});

const REFUSED: readonly (readonly [Record<string, unknown>, string])[] = [
  [
    { activation_function: "relu" },
    'activation_function is "relu"; expected "gelu_new" or "gelu_pytorch_tanh"',
  ],
  [{ scale_attn_by_inverse_layer_idx: true }, "scale_attn_by_inverse_layer_idx is true"],
  [{ scale_attn_weights: false }, "scale_attn_weights is false"],
  [{ n_head: 7 }, "n_embd is 30; expected a multiple of n_head, 7"],
  [{ attn_pdrop: 1 }, "attn_pdrop is 1"],
  [{ n_layer: 0 }, "n_layer is 0; expected a whole number from 1 on"],
  [{ architectures: ["GPT2DoubleHeadsModel"] }, "Gyre trains GPT2LMHeadModel"],
  [{ model_type: "gpt_neo" }, '"qwen3", "gpt2", "gemma2", "gemma3_text"'],
];
for (const [change, says] of REFUSED) {
  Deno.test(`GPT-2: ${JSON.stringify(change)} is refused`, () => {
    assertThrows(() => parseConfig({ ...json, ...change }, "m/config.json"), CheckpointError, says);
  });
}

Deno.test("GPT-2: attn and mlp are its blocks, and a c_proj says whose it is", () => {
  const paths = modulesOf(parseGpt2Config(json, "m")).map((m) => m.path).slice(0, 4);
  const chosen = (pattern: string) => paths.filter(on(pattern, identity).matches).map(label);
  assertEquals(chosen("attn"), ["0.c_attn", "0.attn.c_proj"]);
  assertEquals(chosen("mlp"), ["0.c_fc", "0.mlp.c_proj"]);
});

Deno.test("GPT-2 and PEFT: only low-rank maps have a form, and other layers are refused", () =>
  inTempDir((temporary) => {
    const config = parseGpt2Config(json, "m"),
      modules = modulesOf(parseConfig(
        JSON.parse(Deno.readTextFileSync(`${peft}/gpt2/config.json`)),
        "m",
      ));
    const forms = (method: typeof METHODS[number]) =>
      peftForms({ ...DEFAULT_SETTINGS, method, target: "all-linear" }, decoderLayout(config));
    for (const method of METHODS) {
      const fits = ["lora", "rslora", "lora-ga", "dora", "pissa", "olora"].includes(method);
      assertEquals(forms(method) !== null, fits, method);
    }
    const copy = (change: Record<string, unknown>): void => {
      const settings = JSON.parse(Deno.readTextFileSync(`${peft}/gpt2_lora/adapter_config.json`));
      Deno.writeTextFileSync(`${temporary}/adapter_config.json`, JSON.stringify({ ...settings, ...change }));
      Deno.copyFileSync(
        `${peft}/gpt2_lora/adapter_model.safetensors`,
        `${temporary}/adapter_model.safetensors`,
      );
    };
    copy({});
    const { values } = loadPeft(temporary, modules, { training: true });
    // PEFT itself takes Conv1D layers for what they are.
    copy({ fan_in_fan_out: false });
    assertEquals([...loadPeft(temporary, modules, { training: true }).values], [...values]);
    const linear = modules.map(({ inputFirst: _, ...m }) => m);
    copy({});
    assertThrows(() => loadPeft(temporary, linear, { training: true }), PeftError, "fan_in_fan_out is true");
  }));

const real = decodeURIComponent(
  new URL("../../shared/data/adapters/gpt2-tigrinya-lora", import.meta.url).pathname,
);
const there = await Deno.stat(real).then(() => true, () => false);
if (!there) console.log("skipped: the adapter gpt2-tigrinya-lora, since ../shared/data/adapters is not here");
Deno.test({ name: "GPT-2 and PEFT: a real adapter fits a model of its shape", ignore: !there }, () => {
  const modules = modulesOf(parseGpt2Config({ model_type: "gpt2" }, "m"));
  const { placements, values } = loadPeft(real, modules, { training: false });
  const adapted = modules.filter((m) => placements.some((p) => p.matches(m.path)));
  assertEquals([adapted.length, values.size], [36, 36]);
  for (const { path, inDim, outDim } of adapted) {
    assertEquals(values.get(path)!.get("a")!.aval.shape, [8, inDim], path);
    assertEquals(values.get(path)!.get("b")!.aval.shape, [outDim, 8], path);
  }
  const { layout } = loadPeft(real, modules, { training: true });
  const spec = { kind: "lowRank" as const, alpha: 32, rankStabilised: false, dropout: 0.05 };
  assertEquals(layout.branches(adapted[0]!.path).map((b) => b.spec), [spec]);
});
