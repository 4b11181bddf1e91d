/** Directories of PEFT: read whole, written back byte for byte, and refused where something is wrong. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { StoredTensor } from "../train/safetensors.ts";
import { openSafetensors, writeSafetensors } from "../train/safetensors.ts";
import { PeftError } from "../train/errors.ts";
import { loadConfig } from "../train/checkpoint.ts";
import { modulesOf } from "../train/decoder.ts";
import { loadPeft } from "../train/peft/load.ts";
import { CONFIG_FILE, readPeft, TENSOR_FILE, writePeft } from "../train/peft/files.ts";

const root = decodeURIComponent(new URL("fixtures/peft", import.meta.url).pathname);
const recorded = [...Deno.readDirSync(root)].map((e) => e.name).filter((name) =>
  !["tied", "untied", "gpt2"].includes(name)
);

function inTempDir(body: (dir: string) => void): void {
  const dir = Deno.makeTempDirSync();
  try {
    body(dir);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

/** Bytes of each tensor of a file by name. */
function bytesOf(path: string): Map<string, Uint8Array> {
  using file = openSafetensors(path);
  return new Map([...file.header.tensors.keys()].sort().map((name) => [name, file.bytes(name)]));
}

function roundTrip(from: string): void {
  inTempDir((dir) => {
    const read = readPeft(from);
    writePeft(`${dir}/again`, read);
    assertEquals(bytesOf(`${dir}/again/${TENSOR_FILE}`), bytesOf(`${from}/${TENSOR_FILE}`));
    const json = (at: string): unknown => JSON.parse(Deno.readTextFileSync(`${at}/${CONFIG_FILE}`));
    assertEquals(json(`${dir}/again`), json(from));
    assertEquals([...Deno.readDirSync(dir)].map((e) => e.name), ["again"], "temporary files are left");
  });
}

for (const name of recorded) {
  Deno.test(`PEFT files: ${name} is read whole and written back with equal bytes`, () =>
    roundTrip(`${root}/${name}`));
}

const real = decodeURIComponent(
  new URL("../../shared/data/adapters/gpt2-tigrinya-lora", import.meta.url).pathname,
);
const there = await Deno.stat(real).then(() => true, () => false);
if (!there) console.log("skipped: the adapter gpt2-tigrinya-lora, since ../shared/data/adapters is not here");
Deno.test({
  name: "PEFT files: a real adapter on GPT-2 is read whole and written back with equal bytes",
  ignore: !there,
}, () => {
  const { config, modules, saved } = readPeft(real);
  assertEquals([config.method.kind, config.fanInFanOut, config.base], ["LORA", true, "gpt2"]);
  assertEquals(modules.size, 36);
  assertEquals(saved.size, 0);
  const fused = modules.get("transformer.h.11.attn.c_attn")!;
  assertEquals([...fused].map(([leaf, t]) => `${leaf} ${t.aval.shape.join()}`), [
    "lora_A.weight 8,768",
    "lora_B.weight 2304,8",
  ]);
  roundTrip(real);
});

Deno.test("PEFT files: modules saved whole and 16-bit tensors keep their bytes", () => {
  inTempDir((dir) => {
    const { json, modules } = readPeft(`${root}/lora_tied`);
    const half = (t: StoredTensor): StoredTensor => ({
      aval: { shape: t.aval.shape, dtype: "bf16" },
      data: Uint16Array.from(t.data, (_, i) => i),
    });
    writePeft(`${dir}/a`, {
      json: { ...json as object, modules_to_save: ["lm_head"] },
      modules: new Map(
        [...modules].map(([m, leaves]) => [m, new Map([...leaves].map(([l, t]) => [l, half(t)]))]),
      ),
      saved: new Map([["lm_head.weight", {
        aval: { shape: [2, 2], dtype: "f16" },
        data: Uint16Array.of(1, 2, 3, 4),
      }]]),
    });
    assert(bytesOf(`${dir}/a/${TENSOR_FILE}`).has("base_model.model.lm_head.weight"));
    assertEquals(readPeft(`${dir}/a`).saved.get("lm_head.weight")!.data, Uint16Array.of(1, 2, 3, 4));
    roundTrip(`${dir}/a`);
  });
});

/** A map of the recorded directories, as in the file. */
const AT = "base_model.model.model.layers.0.self_attn.q_proj";
const one: StoredTensor = { aval: { shape: [1, 1], dtype: "f32" }, data: Float32Array.of(1) };
const wide: StoredTensor = { aval: { shape: [4, 1], dtype: "f32" }, data: new Float32Array(4) };
const tall: StoredTensor = { aval: { shape: [1, 4], dtype: "f32" }, data: new Float32Array(4) };

/** What is done to a copy of a recorded directory, and what is said of it. */
const DAMAGE: readonly (readonly [string, string, (dir: string) => void, string])[] = [
  ["no settings", "lora", (d) => Deno.removeSync(`${d}/${CONFIG_FILE}`), "adapter_config.json: not found"],
  ["no tensors", "lora", (d) => Deno.removeSync(`${d}/${TENSOR_FILE}`), "has no adapter_model.safetensors"],
  [
    "a pickle",
    "lora",
    (d) => Deno.renameSync(`${d}/${TENSOR_FILE}`, `${d}/adapter_model.bin`),
    "adapter_model.bin: is a pickle",
  ],
  [
    "a leaf of another method",
    "lora",
    (d) => edit(d, (t) => t.set(`${AT}.hra_u`, one)),
    `${AT}.hra_u" is no part of an adapter of type LORA`,
  ],
  [
    "no prefix",
    "lora",
    (d) => edit(d, (t) => t.set("q_proj.lora_A.weight", one)),
    'does not begin with "base_model.model."',
  ],
  [
    "half a map",
    "lora",
    (d) => edit(d, (t) => t.delete(`${AT}.lora_B.weight`)),
    'self_attn.q_proj" has no lora_B.weight',
  ],
  [
    "a wrong rank",
    "lora",
    (d) => edit(d, (t) => t.set(`${AT}.lora_A.weight`, one)),
    "has shape [1,1]; expected [4, in]",
  ],
  [
    "no magnitude",
    "dora",
    (d) => edit(d, (t) => t.delete(`${AT}.lora_magnitude_vector`)),
    "has no lora_magnitude_vector",
  ],
  [
    "magnitude without DoRA",
    "lora",
    (d) => edit(d, (t) => t.set(`${AT}.lora_magnitude_vector`, one)),
    "is no part of an adapter",
  ],
  [
    "other factors",
    "boft_m2",
    (d) => settings(d, { boft_n_butterfly_factor: 3 }),
    "PEFT trains 1 factor where its CUDA extension is missing",
  ],
  [
    "a map too few",
    "lora",
    (d) => edit(d, (t) => [...t.keys()].filter((k) => k.startsWith(`${AT}.`)).forEach((k) => t.delete(k))),
    "target_modules chooses model.layers.0.self_attn.q_proj, which has no tensors",
  ],
  [
    "a map too many",
    "lora",
    (d) => settings(d, { exclude_modules: ["q_proj"] }),
    "does not choose model.layers.0.self_attn.q_proj",
  ],
  [
    "a map of another model",
    "lora",
    (d) =>
      edit(
        d,
        (t) =>
          ["A", "B"].forEach((x) => t.set(`base_model.model.h.0.lora_${x}.weight`, x === "A" ? wide : tall)),
      ),
    "the adapter is on h.0, which is no linear map",
  ],
  ["weights [in, out]", "lora", (d) => settings(d, { fan_in_fan_out: true }), "fan_in_fan_out is true"],
  ["dropout of DoRA", "dora", (d) => settings(d, { lora_dropout: 0.1 }), "lora_dropout is 0.1"],
];

function edit(dir: string, change: (tensors: Map<string, StoredTensor>) => void): void {
  const path = `${dir}/${TENSOR_FILE}`;
  const tensors = new Map<string, StoredTensor>();
  {
    using file = openSafetensors(path);
    for (const name of file.header.tensors.keys()) tensors.set(name, file.read(name));
  }
  change(tensors);
  writeSafetensors(path, tensors);
}

function settings(dir: string, change: Record<string, unknown>): void {
  const path = `${dir}/${CONFIG_FILE}`;
  Deno.writeTextFileSync(path, JSON.stringify({ ...JSON.parse(Deno.readTextFileSync(path)), ...change }));
}

for (const [what, name, damage, says] of DAMAGE) {
  Deno.test(`PEFT files: ${what} is refused, and said`, () => {
    inTempDir((dir) => {
      for (const file of [CONFIG_FILE, TENSOR_FILE]) {
        Deno.copyFileSync(`${root}/${name}/${file}`, `${dir}/${file}`);
      }
      const modules = modulesOf(loadConfig(`${root}/untied`));
      loadPeft(dir, modules, { training: true });
      damage(dir);
      const error = assertThrows(() => loadPeft(dir, modules, { training: true }), PeftError, says);
      assert(!error.message.includes("\n"), error.message);
    });
  });
}

Deno.test("PEFT files: trained biases are read and written, and refused by a model without", () => {
  inTempDir((dir) => {
    const { json, modules } = readPeft(`${root}/lora`);
    const bias: StoredTensor = { aval: { shape: [2], dtype: "f32" }, data: Float32Array.of(1, 2) };
    const name = "model.layers.0.self_attn.q_proj.base_layer.bias";
    const saved = new Map([[name, bias]]);
    writePeft(`${dir}/with`, { json: { ...json as object, bias: "lora_only" }, modules, saved });
    roundTrip(`${dir}/with`);
    const untied = modulesOf(loadConfig(`${root}/untied`));
    assertThrows(
      () => loadPeft(`${dir}/with`, untied, { training: false }),
      PeftError,
      `bias is "only" and ${name} was trained`,
    );
    writePeft(`${dir}/none`, { json, modules, saved });
    assertThrows(() => readPeft(`${dir}/none`), PeftError, "is no part of an adapter");
    // Where the model has no biases, the setting asks for nothing.
    writePeft(`${dir}/empty`, { json: { ...json as object, bias: "all" }, modules, saved: new Map() });
    assertEquals(loadPeft(`${dir}/empty`, untied, { training: true }).values.size, 14);
  });
});

Deno.test("PEFT files: dropout does not matter where nothing is trained", () => {
  inTempDir((dir) => {
    for (const file of [CONFIG_FILE, TENSOR_FILE]) {
      Deno.copyFileSync(`${root}/dora/${file}`, `${dir}/${file}`);
    }
    settings(dir, { lora_dropout: 0.1 });
    const { values } = loadPeft(dir, modulesOf(loadConfig(`${root}/untied`)), { training: false });
    assertEquals(values.size, 14);
  });
});

Deno.test("PEFT files: a directory that is there is not overwritten, and a failed write leaves nothing", () => {
  inTempDir((dir) => {
    const read = readPeft(`${root}/lora`);
    Deno.mkdirSync(`${dir}/empty`);
    writePeft(`${dir}/empty`, read);
    assertThrows(() => writePeft(`${dir}/empty`, read), PeftError, "is there already");
    const broken = new Map([["m", new Map([["lora_A.weight", { ...one, data: new Float32Array(2) }]])]]);
    assertThrows(() => writePeft(`${dir}/broken`, { ...read, modules: broken }));
    assertEquals([...Deno.readDirSync(dir)].map((e) => e.name), ["empty"]);
  });
});
