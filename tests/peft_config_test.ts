/** `adapter_config.json` of PEFT: every field understood or refused by name, targets as PEFT chooses them, and writing. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { PeftError } from "../train/errors.ts";
import { parsePeftConfig, type PeftConfig, type PeftMethod } from "../train/peft/config.ts";
import { peftConfigJson } from "../train/peft/json.ts";
import { patternValue, targetTest } from "../train/peft/targets.ts";

const root = decodeURIComponent(new URL("fixtures/peft", import.meta.url).pathname);

/** Settings that PEFT wrote. */
function recorded(name: string): Record<string, unknown> {
  return JSON.parse(Deno.readTextFileSync(`${root}/${name}/adapter_config.json`));
}

Deno.test("PEFT settings: what PEFT wrote is understood", () => {
  const method = (name: string): PeftMethod => parsePeftConfig(recorded(name), name).method;
  const plain = { rankPattern: [], alphaPattern: [], dropout: 0 };
  assertEquals(method("lora"), {
    kind: "LORA",
    rank: 4,
    alpha: 10,
    rankStabilised: false,
    dora: false,
    ...plain,
  });
  assertEquals(method("dora_tied"), {
    kind: "LORA",
    rank: 2,
    alpha: 3,
    rankStabilised: true,
    dora: true,
    ...plain,
  });
  assertEquals(method("oft"), { kind: "OFT", blocks: { size: 8 }, neumannTerms: null, dropout: 0 });
  assertEquals(method("oft_odd"), { kind: "OFT", blocks: { count: 16 }, neumannTerms: null, dropout: 0 });
  assertEquals(method("oft_neumann7"), { kind: "OFT", blocks: { size: 8 }, neumannTerms: 7, dropout: 0 });
  assertEquals(method("boft_m3"), { kind: "BOFT", blocks: { count: 8 }, factors: 3, dropout: 0 });
  assertEquals(method("hra"), { kind: "HRA", rank: 4, gramSchmidt: false });
  const { targets, method: patterns } = parsePeftConfig(recorded("lora_patterns"), "f");
  assertEquals(targets, {
    modules: ["o_proj", "q_proj", "up_proj"],
    exclude: ["layers.2.mlp.up_proj"],
    layers: [0, 2],
    layersPattern: ["layers"],
    saved: [],
  });
  assert(patterns.kind === "LORA");
  assertEquals(patterns.rankPattern, [["layers.0.mlp.up_proj", 3], ["o_proj", 5]]);
});

/** A change to settings that PEFT wrote, and what is said of it. */
const REFUSED: readonly (readonly [name: string, change: Record<string, unknown>, says: string])[] = [
  ["lora", { peft_type: "LOHA" }, 'peft_type is "LOHA"; Gyre knows LORA, OFT, BOFT, HRA'],
  ["lora", { r: 0 }, "r is 0; expected a whole number from 1"],
  ["lora", { r: "8" }, 'r is "8"'],
  ["lora", { lora_alpha: "x" }, 'lora_alpha is "x"; expected a number'],
  ["lora", { use_rslora: 1 }, "use_rslora is 1; expected true or false"],
  ["lora", { lora_dropout: 1 }, "lora_dropout is 1"],
  ["lora", { rank_pattern: { q_proj: 2.5 } }, 'rank_pattern is {"q_proj":2.5}'],
  ["lora", { alpha_pattern: [] }, "alpha_pattern is []"],
  ["lora", { target_modules: null }, "target_modules is null"],
  ["lora", { target_modules: [1] }, "target_modules is [1]"],
  ["lora", { layers_pattern: "h" }, 'layers_pattern is "h"; it needs layers_to_transform'],
  ["lora_tied", { layers_to_transform: [1] }, "layers_to_transform is [1]"],
  ["lora", { layers_to_transform: [-1] }, "layers_to_transform is [-1]"],
  ["lora", { bias: "boft_only" }, 'bias is "boft_only"; Gyre knows none, all, lora_only'],
  ["lora", { init_lora_weights: "pissa" }, 'init_lora_weights is "pissa"; expected true or false'],
  ["lora", { init_lora_weights: "loftq" }, "path_initial_model_for_weight_conversion"],
  ["lora", { layer_replication: [[0, 4]] }, "layer_replication is [[0,4]]"],
  ["lora", { trainable_token_indices: [3] }, "trainable_token_indices is [3]"],
  ["lora", { use_qalora: true }, "use_qalora is true"],
  ["lora", { lora_bias: true }, "lora_bias is true"],
  ["lora", { target_parameters: ["w"] }, 'target_parameters is ["w"]'],
  ["lora", { alora_invocation_tokens: [1] }, "alora_invocation_tokens is [1]"],
  ["lora", { megatron_config: {} }, "megatron_config is {}"],
  ["lora", { use_bdlora: { nblocks: 2 } }, "use_bdlora is"],
  ["lora", { kasa_config: { beta: 1 } }, "kasa_config is"],
  ["lora", { ensure_weight_tying: true }, "ensure_weight_tying is true"],
  [
    "lora",
    { flux_capacitor: 1 },
    "flux_capacitor is 1; Gyre does not know this field for an adapter of type LORA",
  ],
  ["oft", { boft_dropout: 0 }, "boft_dropout is 0; Gyre does not know"],
  ["oft", { coft: true }, "coft is true"],
  ["oft", { block_share: true }, "block_share is true"],
  ["oft", { r: 2 }, "r is 2; expected one of oft_block_size (8) and r to be 0 and one not"],
  ["oft", { oft_block_size: null }, "oft_block_size is null; the old format"],
  [
    "oft_neumann",
    { peft_version: "0.17.1" },
    "use_cayley_neumann is true; the series was another one before PEFT 0.18",
  ],
  ["oft_neumann", { peft_version: null }, "peft_version is null"],
  ["oft_neumann", { num_cayley_neumann_terms: 0 }, "num_cayley_neumann_terms is 0"],
  ["boft", { boft_block_num: 4 }, "boft_block_num is 4"],
  ["boft", { boft_n_butterfly_factor: 0 }, "boft_n_butterfly_factor is 0"],
  ["hra", { fan_in_fan_out: true }, "fan_in_fan_out is true; Gyre does not know"],
];

for (const [name, change, says] of REFUSED) {
  Deno.test(`PEFT settings: ${name} with ${JSON.stringify(change)} is refused by name`, () => {
    const error = assertThrows(
      () => parsePeftConfig({ ...recorded(name), ...change }, "a/c.json"),
      PeftError,
      says,
    );
    assert(error.message.startsWith("a/c.json: ") && !error.message.includes("\n"), error.message);
  });
}

Deno.test("PEFT settings: what is no object is refused", () => {
  for (const json of [null, [], 3, "x"]) {
    assertThrows(() => parsePeftConfig(json, "c.json"), PeftError, "expected a JSON object");
  }
});

const pattern = fc.array(fc.tuple(fc.stringMatching(/^[a-z_]{1,8}$/), fc.integer({ min: 1, max: 64 })), {
  maxLength: 3,
})
  .map((entries) => Object.entries(Object.fromEntries(entries)));
const dropout = fc.constantFrom(0, 0.05, 0.5);
const size = fc.integer({ min: 1, max: 64 });
const blocks = fc.oneof(size.map((size) => ({ size })), size.map((count) => ({ count })));
const method: fc.Arbitrary<PeftMethod> = fc.oneof(
  fc.record({
    kind: fc.constant("LORA" as const),
    rank: size,
    alpha: fc.double({ min: 0.1, max: 100, noNaN: true }),
    rankStabilised: fc.boolean(),
    dora: fc.boolean(),
    dropout,
    rankPattern: pattern,
    alphaPattern: pattern,
  }),
  fc.record({
    kind: fc.constant("OFT" as const),
    blocks,
    neumannTerms: fc.option(fc.integer({ min: 1, max: 9 })),
    dropout,
  }),
  fc.record({ kind: fc.constant("BOFT" as const), blocks, factors: size, dropout }),
  fc.record({ kind: fc.constant("HRA" as const), rank: size, gramSchmidt: fc.boolean() }),
);
const names = fc.array(fc.stringMatching(/^[a-z_]{1,8}$/), { minLength: 1, maxLength: 4 });
const config: fc.Arbitrary<PeftConfig> = fc.record({
  method,
  targets: fc.record({
    modules: names,
    exclude: fc.oneof(names, fc.constant([])),
    layers: fc.constantFrom(null, [0, 3]),
    layersPattern: fc.constant([]),
    saved: fc.oneof(names, fc.constant([])),
  }),
  bias: fc.constantFrom("none" as const, "all" as const, "only" as const),
  fanInFanOut: fc.boolean(),
  base: fc.option(fc.string()),
  taskType: fc.constantFrom(null, "CAUSAL_LM"),
});

Deno.test("PEFT settings: what is written is read", () => {
  fc.assert(fc.property(config, (given) => {
    const own = structuredClone(given.method.kind === "HRA" ? { ...given, fanInFanOut: false } : given);
    assertEquals(parsePeftConfig(JSON.parse(JSON.stringify(peftConfigJson(own))), "c.json"), own);
  }));
});

Deno.test("PEFT settings: fields of PEFT's own file that are missing in ours, or only ours, are none that matter", () => {
  // Same fields as PEFT writes, but for those that have one harmless value.
  const json = peftConfigJson(parsePeftConfig(recorded("oft_neumann"), "f"));
  const theirs = Object.keys(recorded("oft_neumann")), ours = Object.keys(json);
  assertEquals(ours.filter((key) => !theirs.includes(key)), []);
  assertEquals(theirs.filter((key) => !ours.includes(key)), ["eps"]);
});

const PATHS = [0, 1, 12].flatMap((i) =>
  ["self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"].map((name) => `model.layers.${i}.${name}`)
);

/** Settings of targets, and which of PATHS they choose. */
const TARGETS: readonly (readonly [Record<string, unknown>, (path: string) => boolean])[] = [
  [{ target_modules: ["q_proj"] }, (p) => p.endsWith(".q_proj")],
  [{ target_modules: ["proj"] }, () => false],
  [{ target_modules: ["1.mlp.up_proj"] }, (p) => p === "model.layers.1.mlp.up_proj"],
  [{ target_modules: "all-linear" }, () => true],
  [{ target_modules: "ALL-Linear" }, () => true],
  [{ target_modules: ".*\\.(?P<n>\\d)\\.self_attn\\..*" }, (p) => /\.[01]\.self_attn/.test(p)],
  [{ target_modules: "q_proj" }, () => false],
  [{ target_modules: "model|layers" }, () => false],
  [
    { target_modules: ["q_proj", "up_proj"], exclude_modules: ["1.mlp.up_proj"] },
    (p) => /q_proj|up_proj/.test(p) && p !== "model.layers.1.mlp.up_proj",
  ],
  [{ target_modules: "all-linear", exclude_modules: ".*mlp.*" }, (p) => !p.includes("mlp")],
  [{ target_modules: ["q_proj"], layers_to_transform: 1 }, (p) => p === "model.layers.1.self_attn.q_proj"],
  [
    { target_modules: ["q_proj"], layers_to_transform: [0, 12], layers_pattern: ["blocks", "layers"] },
    (p) => p.endsWith("q_proj") && !p.includes(".1."),
  ],
  [{ target_modules: ["q_proj"], layers_to_transform: [0], layers_pattern: "blocks" }, () => false],
  [{ target_modules: ["q_proj", "up_proj"], modules_to_save: ["mlp"] }, (p) => p.endsWith("q_proj")],
  // A module that is named whole is taken whatever its layer.
  [
    { target_modules: ["model.layers.0.self_attn.q_proj", "up_proj"], layers_to_transform: [1] },
    (p) => p === "model.layers.0.self_attn.q_proj" || p === "model.layers.1.mlp.up_proj",
  ],
];

for (const [fields, expected] of TARGETS) {
  Deno.test(`PEFT targets: ${JSON.stringify(fields)}`, () => {
    const { targets } = parsePeftConfig({ peft_type: "LORA", ...fields }, "c.json");
    const test = targetTest(targets, "c.json");
    assertEquals(PATHS.filter(test), PATHS.filter(expected));
  });
}

Deno.test("PEFT targets: an expression that JavaScript reads otherwise, or not at all, is refused by name", () => {
  for (const target_modules of ["(", "\\Aq", "(?i)q"]) {
    const { targets } = parsePeftConfig({ peft_type: "LORA", target_modules }, "c.json");
    assertThrows(() => targetTest(targets, "c.json"), PeftError, "c.json: target_modules: ");
  }
});

Deno.test("PEFT patterns: the first expression that matches the end of a path decides", () => {
  const of = (pattern: readonly (readonly [string, number])[], path: string): number =>
    patternValue(pattern, path, 8, "rank_pattern", "c.json");
  const path = "model.layers.0.self_attn.q_proj";
  assertEquals(of([["q_proj", 2], ["self_attn.q_proj", 3]], path), 2);
  assertEquals(of([["k_proj", 2], ["self_attn.(k|q)_proj", 3]], path), 3);
  assertEquals(of([["^model.layers.0.self_attn.q_proj", 4]], path), 4);
  assertEquals(of([["proj", 2], ["layers", 3]], path), 8);
  assertEquals(of([["1.self_attn.q_proj|q_proj", 5]], path), 5);
});
