/** Weights go from their files to the device one after the other: what of them the host holds at a time. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { bytesOf, type Device, type HostArray, sizeOf } from "../core/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { weightShapes } from "../train/decoder.ts";
import { SafetensorsError } from "../train/errors.ts";
import { f32ToBf16 } from "../train/floats.ts";
import { methodClasses, type MethodName } from "../train/methods.ts";
import { writeModel } from "../train/model_directory.ts";
import { adamW } from "../train/optimiser.ts";
import { parseLlamaConfig } from "../train/llama_config.ts";
import {
  onDemand,
  openSafetensors,
  type SafetensorsFile,
  type StoredTensor,
  writeSafetensors,
} from "../train/safetensors.ts";
import { openSession } from "../train/session.ts";
import { readWeight } from "../train/weight_file.ts";

const CONFIG = {
  model_type: "llama",
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 300,
  tie_word_embeddings: true,
};
const LARGEST = 4 * 300 * 64;

function inTempDir(body: (dir: string) => void | Promise<void>): void | Promise<void> {
  const dir = Deno.makeTempDirSync();
  const clean = (): void => Deno.removeSync(dir, { recursive: true });
  const done = body(dir);
  return done instanceof Promise ? done.finally(clean) : clean();
}

/** A model of bf16 in one file, or in three with an index. */
function writeFiles(dir: string, sharded: boolean): void {
  Deno.writeTextFileSync(`${dir}/config.json`, JSON.stringify(CONFIG));
  const shapes = [...weightShapes(parseLlamaConfig(CONFIG, "m"))];
  const tensors = new Map(shapes.map(([name, { shape }], i): [string, StoredTensor] => {
    const data = f32ToBf16(Float32Array.from({ length: sizeOf(shape) }, (_, j) => Math.sin(i + j) / 9));
    return [name, { aval: { shape, dtype: "bf16" }, data }];
  }));
  if (!sharded) return writeSafetensors(`${dir}/model.safetensors`, tensors);
  const places: Record<string, string> = {};
  for (const part of [0, 1, 2]) {
    const own = [...tensors].filter((_, i) => i % 3 === part), file = `part-${part}.safetensors`;
    own.forEach(([name]) => places[name] = file);
    writeSafetensors(`${dir}/${file}`, new Map(own));
  }
  Deno.writeTextFileSync(`${dir}/model.safetensors.index.json`, JSON.stringify({ weight_map: places }));
}

/** Bytes that were read and are not on the device yet: now, and at the most. */
class Live {
  bytes = 0;
  most = 0;
  reads = 0;
  readonly buffers = new Set<ArrayBufferLike>();
  readonly #waiting = new Set<HostArray>();

  read(data: HostArray): HostArray {
    this.reads++;
    this.buffers.add(data.buffer);
    this.#waiting.add(data);
    this.bytes += data.byteLength;
    this.most = Math.max(this.most, this.bytes);
    return data;
  }

  uploaded(data: HostArray): void {
    if (this.#waiting.delete(data)) this.bytes -= data.byteLength;
  }

  weights(weights: ReadonlyMap<string, StoredTensor>): Map<string, StoredTensor> {
    return new Map(
      [...weights].map(([name, t]) => [
        name,
        onDemand(t.aval, (memory) => this.read(memory ? t.readInto!(memory) : t.data)),
      ]),
    );
  }

  device(device: Device): Device {
    return {
      ...device,
      capabilities: device.capabilities,
      compile: (plan) => device.compile(plan),
      upload: (data, at) => {
        const array = device.upload(data, at);
        this.uploaded(data);
        return array;
      },
      write: (array, data) => device.write(array, data),
      download: (array) => device.download(array),
      free: (array) => device.free(array),
      memory: () => device.memory(),
      close: () => device.close(),
    };
  }
}

for (const sharded of [false, true]) {
  for (const method of [null, "lora", "full", "pissa"] as (MethodName | null)[]) {
    const what = `${method ?? "no adapter"}, ${sharded ? "shards" : "one file"}`;
    Deno.test(`streaming: one weight at a time is on the host (${what})`, () =>
      inTempDir(async (dir) => {
        writeFiles(dir, sharded);
        const live = new Live(), cpu = await openCpu({ threads: 1 });
        try {
          const { config, weights } = loadCheckpoint(dir, { dtype: "f32", shapes: weightShapes });
          const options = { ...DEFAULT_SETTINGS, rank: 2, target: "all-linear" };
          await openSession({
            device: live.device(cpu),
            subject: { config, classes: method ? methodClasses({ ...options, method }, config) : [] },
            weights: live.weights(weights),
            optimiser: adamW({ clip: 1 }),
            accumulate: 1,
            seed: 1,
            maxLength: 16,
          });
          assertEquals([live.reads, live.bytes, live.most], [weights.size, 0, LARGEST]);
          // All frozen weights go through the same memory, and so do all that are trained.
          assertEquals(live.buffers.size, 1);
        } finally {
          await cpu.close();
        }
      }));
  }
}

Deno.test("streaming: conversions need the result and a part of bounded size", () =>
  inTempDir((dir) => {
    const path = `${dir}/x.safetensors`, shape = [1500, 1500], count = sizeOf(shape);
    const data = f32ToBf16(Float32Array.from({ length: count }, (_, i) => Math.fround(i % 977)));
    writeSafetensors(path, new Map([["x", { aval: { shape, dtype: "bf16" }, data }]]));
    using file = openSafetensors(path);
    const sizes: number[] = [];
    const counted: SafetensorsFile = {
      ...file,
      bytes: () => {
        throw new Error("The whole tensor was read at once.");
      },
      part: (name, from, to, memory) => {
        sizes.push(to - from);
        return file.part(name, from, to, memory);
      },
    };
    const plain = readWeight(counted, "x", "f32", false).data;
    assertEquals(plain, file.readF32("x"));
    assertEquals([Math.max(...sizes), sizes.reduce((a, b) => a + b)], [2 ** 21, 2 * count]);
    const turned = readWeight(counted, "x", "f32", true).data;
    for (const [row, column] of [[0, 0], [3, 1499], [700, 699], [1499, 1499]] as const) {
      assertEquals(turned[row * 1500 + column], plain[column * 1500 + row]);
    }
  }));

Deno.test("streaming: a model is written one weight at a time", () =>
  inTempDir((dir) => {
    Deno.mkdirSync(`${dir}/base`);
    writeFiles(`${dir}/base`, true);
    const { weights } = loadCheckpoint(`${dir}/base`, { dtype: "f32", shapes: weightShapes });
    let before = 0, reads = 0;
    const watched = new Map([...weights].map(([name, t]) => [
      name,
      onDemand(t.aval, () => {
        const [partial] = [...Deno.readDirSync(`${dir}/out`)].filter((e) => e.name.endsWith(".partial"));
        assert(Deno.statSync(`${dir}/out/${partial!.name}`).size >= before, "weights wait to be written");
        before += sizeOf(t.aval.shape) * bytesOf(t.aval.dtype);
        reads++;
        return t.data;
      }),
    ]));
    writeModel(`${dir}/out`, `${dir}/base`, watched);
    assertEquals(reads, weights.size);
    const again = loadCheckpoint(`${dir}/out`, { dtype: "f32", shapes: weightShapes }).weights;
    for (const [name, t] of weights) assertEquals(again.get(name)!.data, t.data, name);
  }));

Deno.test("streaming: files that change while a model is open are refused", () =>
  inTempDir((dir) => {
    writeFiles(dir, false);
    const { weights } = loadCheckpoint(dir, { dtype: "f32", shapes: weightShapes });
    const norm = { aval: { shape: [8], dtype: "f32" as const }, data: new Float32Array(8) };
    writeSafetensors(`${dir}/model.safetensors`, new Map([["model.norm.weight", norm]]));
    const says = "changed since the model was opened";
    assertThrows(() => weights.get("model.norm.weight")!.data, SafetensorsError, says);
    assertThrows(() => weights.get("model.embed_tokens.weight")!.data, SafetensorsError, says);
  }));
