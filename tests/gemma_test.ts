/** Configurations of Gemma 2 and of Gemma 3's text models; their numbers are in models_test.ts. @module */
import { assertEquals, assertThrows } from "@std/assert";
import { tableShapes, tablesOf, weightShapes } from "../train/decoder.ts";
import { CheckpointError } from "../train/errors.ts";
import { type GemmaConfig, parseGemmaConfig } from "../train/gemma_config.ts";
import { parseConfig } from "../train/model_config.ts";

const parse = (json: Record<string, unknown>): GemmaConfig => parseGemmaConfig(json, "m/config.json");

Deno.test("Gemma 2: absent fields are Hugging Face's, every second layer has a window", () => {
  const config = parse({ model_type: "gemma2", num_hidden_layers: 4 });
  assertEquals(config.windows, [4096, null, 4096, null]);
  assertEquals([config.queryScale, config.scoreCap, config.logitCap, config.headDim], [1 / 16, 50, 30, 256]);
  assertEquals([config.tiedEmbeddings, config.vocabSize, config.ropeTheta], [true, 256000, 10000]);
  const plain = parse({
    model_type: "gemma2",
    attn_logit_softcapping: null,
    final_logit_softcapping: null,
    sliding_window: null,
  });
  assertEquals([plain.scoreCap, plain.logitCap, plain.windows], [undefined, undefined, undefined]);
});

Deno.test("Gemma 3: older and newer files say the same of positions and windows", () => {
  const sizes = { model_type: "gemma3_text", num_hidden_layers: 7, sliding_window: 512 };
  const older = parse({
    ...sizes,
    sliding_window_pattern: 3,
    rope_theta: 2e6,
    rope_local_base_freq: 5e3,
    rope_scaling: { rope_type: "linear", factor: 8 },
  });
  const newer = parse({
    ...sizes,
    layer_types: Array.from(
      { length: 7 },
      (_, i) => (i + 1) % 3 === 0 ? "full_attention" : "sliding_attention",
    ),
    rope_parameters: {
      full_attention: { rope_type: "linear", factor: 8, rope_theta: 2e6 },
      sliding_attention: { rope_type: "default", rope_theta: 5e3 },
    },
  });
  assertEquals(older, newer);
  assertEquals(older.windows, [512, 512, null, 512, 512, null, 512]);
  assertEquals([older.ropeTheta, older.localTheta, older.ropeScaling], [2e6, 5e3, {
    kind: "linear",
    factor: 8,
  }]);
  const least = parse({ model_type: "gemma3_text" });
  assertEquals([least.ropeTheta, least.localTheta, least.logitCap, least.headNorms], [
    1e6,
    1e4,
    undefined,
    true,
  ]);
  assertEquals(least.windows!.map((w, i) => w === null ? i : -1).filter((i) => i >= 0), [5, 11, 17, 23]);
});

Deno.test("Gemma 3: tables of both speeds are what is said of them, norms have their weights", () => {
  const config = parse({ model_type: "gemma3_text", head_dim: 8, num_hidden_layers: 2, hidden_size: 6 });
  const tables = tablesOf(config, 5);
  assertEquals([...tables].map(([name, t]) => [name, t.aval]), [...tableShapes(config, 5)]);
  assertEquals([...tables.keys()], ["rotary.cos", "rotary.sin", "rotary.local.cos", "rotary.local.sin"]);
  const at = (name: string, i: number) => tables.get(name)!.data[4 * 8 + i]!;
  assertEquals(at("rotary.cos", 1), Math.fround(Math.cos(4 * 1e6 ** (-1 / 4))));
  assertEquals(at("rotary.local.sin", 1), Math.fround(Math.sin(4 * 1e4 ** (-1 / 4))));
  const shapes = weightShapes(config), layer = [...shapes.keys()].filter((n) => n.includes(".1."));
  assertEquals(layer.filter((n) => n.endsWith("norm.weight")).map((n) => n.split(".")[3]).sort(), [
    "input_layernorm",
    "post_attention_layernorm",
    "post_feedforward_layernorm",
    "pre_feedforward_layernorm",
    "self_attn",
    "self_attn",
  ]);
});

const REFUSED: readonly (readonly [string, Record<string, unknown>, string])[] = [
  ["gemma2", { hidden_activation: "silu" }, 'hidden_activation is "silu"'],
  ["gemma2", { attention_bias: true }, "attention_bias is true"],
  ["gemma2", { num_key_value_heads: 3 }, "num_key_value_heads is 3; expected a divisor of 8"],
  ["gemma2", { head_dim: 7 }, "head_dim is 7"],
  ["gemma2", { final_logit_softcapping: -1 }, "final_logit_softcapping is -1"],
  ["gemma2", { architectures: ["Gemma3ForCausalLM"] }, "Gyre trains Gemma2ForCausalLM"],
  ["gemma2", { layer_types: ["full_attention"] }, "expected 26 entries"],
  ["gemma3_text", { attn_logit_softcapping: 50 }, "attn_logit_softcapping is 50"],
  ["gemma3_text", { use_bidirectional_attention: true }, "use_bidirectional_attention is true"],
  ["gemma3_text", { rope_scaling: { rope_type: "yarn", factor: 4 } }, "rope_scaling is"],
  [
    "gemma3_text",
    { rope_parameters: { sliding_attention: { rope_type: "linear", factor: 2 } } },
    "are not scaled",
  ],
  ["gemma3", {}, 'expected one of "llama"'],
  ["gemma", {}, 'expected one of "llama"'],
];
for (const [type, change, says] of REFUSED) {
  Deno.test(`Gemma: ${type} with ${JSON.stringify(change)} is refused`, () => {
    assertThrows(() => parseConfig({ model_type: type, ...change }, "m/config.json"), CheckpointError, says);
  });
}
