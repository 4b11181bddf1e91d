/** Models in the Hugging Face layout: what is read, and what is refused with which words. @module */
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { aval, sizeOf } from "../core/mod.ts";
import { type Checkpoint, loadCheckpoint, loadConfig, type LoadOptions } from "../train/checkpoint.ts";
import { CheckpointError, SafetensorsError, UserError } from "../train/errors.ts";
import { sayLost } from "../train/f16_range.ts";
import { f16ToF32, f32ToBf16, f32ToF16 } from "../train/floats.ts";
import { weightShapes } from "../train/decoder.ts";
import { type StoredTensor, writeSafetensors } from "../train/safetensors.ts";
import { CONFIG, parse } from "./tiny_llama.ts";

type Tensors = Map<string, StoredTensor>;

/** Weights of the tiny model: element i of every tensor is (i mod 17) / 8 − 1, exact in all formats. */
function weights(config = parse({})): Tensors {
  const value = (i: number): number => (i % 17) / 8 - 1;
  return new Map([...weightShapes(config)].map(([name, { shape }]) => [
    name,
    { aval: aval(shape), data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => value(i)) },
  ]));
}

function inModelDir(
  files: Readonly<Record<string, Tensors | string>>,
  body: (dir: string) => void,
  config: unknown = CONFIG,
): void {
  const dir = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(`${dir}/config.json`, JSON.stringify(config));
    for (const [name, content] of Object.entries(files)) {
      if (typeof content === "string") Deno.writeTextFileSync(`${dir}/${name}`, content);
      else writeSafetensors(`${dir}/${name}`, content);
    }
    body(dir);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

function load(
  dir: string,
  dtype: "f32" | "f16" = "f32",
  lost?: LoadOptions["lost"],
): Checkpoint {
  return loadCheckpoint(dir, { dtype, shapes: weightShapes, ...(lost ? { lost } : {}) });
}

/** Weights with their numbers, as they are at this moment in the files. */
function plain(weights: Checkpoint["weights"]): [string, StoredTensor][] {
  return [...weights].map(([name, { aval, data }]) => [name, { aval, data }]);
}

Deno.test("checkpoint: all weights under their names, from f32, f16 and bf16", () => {
  const expected = weights();
  const stored = (dtype: "f16" | "bf16", convert: (x: Float32Array) => Uint16Array): Tensors =>
    new Map(
      [...expected].map((
        [n, t],
      ) => [n, { aval: aval(t.aval.shape, dtype), data: convert(t.data as Float32Array) }]),
    );
  for (const source of [expected, stored("f16", f32ToF16), stored("bf16", f32ToBf16)]) {
    inModelDir({ "model.safetensors": source }, (dir) => {
      const lost: string[] = [];
      const { config, weights: read, unused } = load(dir, "f32", (name) => lost.push(name));
      assertEquals(config, loadConfig(dir));
      assertEquals(plain(read), [...expected]);
      assertEquals([lost, unused], [[], []]);
    });
  }
});

Deno.test("checkpoint: with f16 matrices are halved, vectors stay f32, lost values are counted", () => {
  const source = weights(), embedding = source.get("model.embed_tokens.weight")!.data as Float32Array;
  // Infinity was there before; 2⁻²⁵ is half-way to f16's least number, and even is 0.
  embedding.set([70000, -1e6, Infinity, 0.1, 2 ** -25, -1e-30, 2 ** -24, 0]);
  inModelDir({ "model.safetensors": source }, (dir) => {
    const told = new Map<string, unknown>();
    const checkpoint = load(dir, "f16", (name, lost, of) => told.set(name, [lost, of]));
    const read = checkpoint.weights;
    const { aval: at, data } = read.get("model.embed_tokens.weight")!;
    assertEquals([at.dtype, at.shape, data instanceof Uint16Array], ["f16", [10, 8], true]);
    assertAlmostEquals(f16ToF32(data as Uint16Array)[3]!, 0.1, 1e-4);
    const lost = { infinite: 2, vanished: 2 };
    assertEquals([...told], [["model.embed_tokens.weight", [lost, 80]]]);
    assertEquals([...checkpoint.lost], [["model.embed_tokens.weight", lost]]);
    const said: string[] = [];
    sayLost(checkpoint, (line) => said.push(line));
    const all = [...read.values()].reduce(
      (n, { aval: { dtype, shape } }) => n + (dtype === "f16" ? sizeOf(shape) : 0),
      0,
    );
    assertEquals(said, [
      `weights in f16: 2 became infinite (65520 and more), 2 became 0 (3e-8 and less), of ${
        all.toLocaleString("en")
      }`,
    ]);
    assertEquals(read.get("model.norm.weight")!.data, source.get("model.norm.weight")!.data);
  });
});

Deno.test("checkpoint: shards are found through their index", () => {
  const all = weights(), entries = [...all];
  const parts = {
    "a-1.safetensors": new Map(entries.slice(0, 7)),
    "a-2.safetensors": new Map(entries.slice(7)),
  };
  const weight_map = Object.fromEntries(
    Object.entries(parts).flatMap(([f, t]) => [...t.keys()].map((n) => [n, f])),
  );
  const index = JSON.stringify({ metadata: {}, weight_map });
  inModelDir({ ...parts, "model.safetensors.index.json": index }, (dir) => {
    assertEquals(plain(load(dir).weights), entries);
    Deno.removeSync(`${dir}/a-2.safetensors`);
    const { message } = assertThrows(
      () => load(dir),
      CheckpointError,
      "a shard named in model.safetensors.index.json is missing",
    );
    assertStringIncludes(message, "a-2.safetensors");
  });
  inModelDir({
    ...parts,
    "model.safetensors.index.json": JSON.stringify({ weight_map: { x: "../x.safetensors" } }),
  }, (dir) => {
    assertThrows(() => load(dir), CheckpointError, `expected {"weight_map"`);
  });
  const doubled = {
    "a-1.safetensors": all,
    "a-2.safetensors": new Map(entries.slice(7)),
    "model.safetensors.index.json": index,
  };
  inModelDir(doubled, (dir) => {
    assertThrows(() => load(dir), CheckpointError, `tensor "${entries[7]![0]}" is in`);
  });
});

Deno.test("checkpoint: a tensor that is missing, of another shape, or unknown is named with what was expected", () => {
  const at = "model.layers.1.mlp.up_proj.weight";
  const missing = weights();
  missing.delete(at);
  inModelDir({ "model.safetensors": missing }, (dir) => {
    const error = assertThrows(() => load(dir), CheckpointError, `has no tensor "${at}", expected f32[12,8]`);
    assertEquals(error.data["tensor"], at);
  });
  const turned = weights().set(at, { aval: aval([8, 12]), data: new Float32Array(96) });
  inModelDir({ "model.safetensors": turned }, (dir) => {
    assertThrows(
      () => load(dir),
      CheckpointError,
      `tensor "${at}" has shape [8,12]; config.json asks for [12,8]`,
    );
  });
  const biased = weights().set("model.layers.0.self_attn.q_proj.bias", {
    aval: aval([8]),
    data: new Float32Array(8),
  });
  inModelDir({ "model.safetensors": biased }, (dir) => {
    assertThrows(
      () => load(dir),
      CheckpointError,
      `tensor "model.layers.0.self_attn.q_proj.bias" is no part of a model`,
    );
  });
  const integers = weights().set(at, { aval: aval([12, 8], "i32"), data: new Int32Array(96) });
  inModelDir({ "model.safetensors": integers }, (dir) => {
    assertThrows(
      () => load(dir),
      SafetensorsError,
      `tensor "${at}" is I32; expected one of F32, F16, BF16, F64`,
    );
  });
});

Deno.test("checkpoint: tied models need no head and leave a stored one unused; untied ones need it", () => {
  const head = { aval: aval([10, 8]), data: new Float32Array(80).fill(0.5) };
  inModelDir({ "model.safetensors": weights().set("lm_head.weight", head) }, (dir) => {
    const { weights: read, unused } = load(dir);
    assertEquals([read.has("lm_head.weight"), unused], [false, ["lm_head.weight"]]);
  });
  const untied = { ...CONFIG, tie_word_embeddings: false };
  inModelDir({ "model.safetensors": weights() }, (dir) => {
    assertThrows(() => load(dir), CheckpointError, "set tie_word_embeddings to true");
  }, untied);
  inModelDir({ "model.safetensors": weights().set("lm_head.weight", head) }, (dir) => {
    assertEquals(load(dir).weights.get("lm_head.weight")!.data, head.data);
  }, untied);
});

Deno.test("checkpoint: a directory without a model, or with a broken file, says which file", () => {
  assertThrows(() => load("/nowhere"), CheckpointError, "/nowhere/config.json: not found");
  inModelDir({}, (dir) => {
    assertThrows(
      () => load(dir),
      CheckpointError,
      `model.safetensors.index.json: not found; ${dir} has no model.safetensors either`,
    );
  });
  inModelDir({ "model.safetensors": "hello", "config.json": "{" }, (dir) => {
    assertThrows(() => load(dir), CheckpointError, `${dir}/config.json: not JSON`);
  });
  inModelDir({ "model.safetensors": "hello" }, (dir) => {
    const error = assertThrows(() => load(dir), SafetensorsError, "model.safetensors: 5 bytes are too few");
    assert(error instanceof UserError);
  });
});
