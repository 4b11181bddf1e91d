/** What encoders read beside weights: sentences as tokens, the names of their maps, configurations. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { loadEncoder } from "../train/encoder_checkpoint.ts";
import { parseEncoderConfig } from "../train/encoder_config.ts";
import { lengthsWithin, loadSentenceTokenizer } from "../train/encoder_tokenizer.ts";
import { CheckpointError } from "../train/errors.ts";
import { layoutClasses } from "../train/methods.ts";

const root = decodeURIComponent(new URL("fixtures/encoders", import.meta.url).pathname);

for (const family of ["bert", "roberta"] as const) {
  Deno.test(`${family}: sentences and pairs, cut too, are encoded as by transformers`, () => {
    const dir = `${root}/${family}_tokenizer`;
    const tokenizer = loadSentenceTokenizer(dir, { family });
    const rows = JSON.parse(Deno.readTextFileSync(`${dir}/expected.json`)) as {
      readonly texts: readonly string[];
      readonly most: number;
      readonly ids: readonly number[];
      readonly types: readonly number[];
    }[];
    for (const { texts, most, ids, types } of rows) {
      const found = tokenizer.encode(texts, most);
      assertEquals([found.ids, found.types], [ids, types], `${JSON.stringify(texts)} within ${most}`);
      assert(found.ids.length <= most);
    }
    assert(rows.some(({ texts, most }) => tokenizer.encode(texts, most).cut));
    assert(rows.some(({ texts, most }) => !tokenizer.encode(texts, most).cut));
  });
}

Deno.test("two sentences within some room: all of it is used, and neither is cut for the other's sake alone", () => {
  for (let first = 0; first < 9; first++) {
    for (let second = 0; second < 9; second++) {
      for (let room = 0; room < 12; room++) {
        const [a, b] = lengthsWithin(first, second, room);
        assertEquals(a + b, Math.min(room, first + second));
        assert(a <= first && b <= second);
        if (a < first && b < second) assert(Math.abs(a - b) <= 1);
      }
    }
  }
});

Deno.test("names of blocks choose an encoder's maps", () => {
  const { layout } = loadEncoder(`${root}/bert`, { dtype: "f32", outputs: 3, seed: 0 });
  const chosen = (target: string) =>
    layoutClasses({ ...DEFAULT_SETTINGS, method: "lora", target }, layout)
      .flatMap((c) => c.fitted ? c.members : []).map((path) => path.replace("bert.encoder.layer.", ""))
      .sort();
  const attention = [0, 1].flatMap((i) =>
    ["output.dense", "self.key", "self.query", "self.value"].map((name) => `${i}.attention.${name}`)
  );
  assertEquals(chosen("attn"), attention);
  assertEquals(chosen("mlp"), [0, 1].flatMap((i) => [`${i}.intermediate.dense`, `${i}.output.dense`]));
  assertEquals(chosen("all-linear"), [...chosen("attn"), ...chosen("mlp")].sort());
});

Deno.test("configurations that are no encoder of these families are refused with field and value", () => {
  const good = {
    model_type: "bert",
    vocab_size: 5,
    hidden_size: 6,
    num_attention_heads: 3,
    intermediate_size: 7,
    num_hidden_layers: 1,
  };
  assertEquals(parseEncoderConfig(good, "c").maxPositions, 512);
  assertEquals(parseEncoderConfig({ ...good, model_type: "roberta", max_position_embeddings: 514 }, "c"), {
    ...parseEncoderConfig(good, "c"),
    family: "roberta",
    positionRows: 514,
    firstPosition: 2,
  });
  const bad: readonly (readonly [object, string])[] = [
    [{ model_type: "llama" }, 'model_type is "llama"'],
    [{ position_embedding_type: "relative_key" }, "positions are learnt vectors"],
    [{ is_decoder: true }, "is_decoder is true"],
    [{ hidden_act: "relu" }, 'hidden_act is "relu"; expected one of gelu'],
    [{ hidden_size: 7 }, "expected a multiple of num_attention_heads, 3"],
    [{ type_vocab_size: 0 }, "type_vocab_size is 0"],
    [{ model_type: "roberta", pad_token_id: -1 }, "pad_token_id is -1"],
    [{ model_type: "roberta", max_position_embeddings: 2 }, "expected more than 2"],
  ];
  for (const [change, message] of bad) {
    assertThrows(() => parseEncoderConfig({ ...good, ...change }, "c"), CheckpointError, message);
  }
});
