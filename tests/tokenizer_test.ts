/** The tokenizer: ids of independent references, and errors of broken files. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { TokenizerError } from "../train/errors.ts";
import { loadTokenizer, PLAIN_TEMPLATE, tokenizerOf } from "../train/tokenizer.ts";

const BASE = new URL("../examples/base", import.meta.url).pathname;
const MODELS = new URL("../../shared/data/models", import.meta.url).pathname;

function json(path: string): unknown {
  return JSON.parse(Deno.readTextFileSync(path));
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

interface Reference {
  readonly cases: readonly {
    readonly prompt: string;
    readonly input_ids: number[];
    readonly greedy_new_ids: number[];
    readonly text: string;
  }[];
}

const there = exists(MODELS);
if (!there) {
  console.error(
    "tokenizer_test: no ../shared/data/models beside the repository, ids of reference models are not compared",
  );
}

Deno.test({
  name: "tokenizer: ids and texts of the reference models",
  ignore: !there,
  fn: () => {
    let compared = 0;
    for (const { name } of Deno.readDirSync(MODELS)) {
      const tokenizer = loadTokenizer(`${MODELS}/${name}`);
      for (
        const { prompt, input_ids, greedy_new_ids, text }
          of (json(`${MODELS}/${name}/reference.json`) as Reference).cases
      ) {
        assertEquals(tokenizer.encode(prompt), input_ids, `${name}: ${prompt}`);
        assertEquals(tokenizer.decode([...input_ids, ...greedy_new_ids]), text);
        compared++;
      }
    }
    assert(compared >= 5, `only ${compared} prompts`);
  },
});

Deno.test("tokenizer: the bundled model's brings every text back", () => {
  const { encode, decode, bosId, eosId, vocabSize } = loadTokenizer(BASE);
  assertEquals([bosId, eosId, vocabSize], [1, 2, 512]);
  assertEquals(encode("a")[0], bosId);
  assertEquals(encode("a", { special: false }), encode("a").slice(1));
  assertEquals(decode([]), "");
  const printable = fc.string({ unit: "grapheme" }).filter((s) => !/<(s|\/s|unk|pad)>/.test(s));
  fc.assert(fc.property(printable, (text) => {
    const ids = encode(text);
    assertEquals(decode(ids), text);
    assert(ids.every((id) => id >= 0 && id < vocabSize));
  }));
});

Deno.test("tokenizer: the plain form of a chat", () => {
  const { renderChat, encodeChat, bosId } = loadTokenizer(BASE);
  const chat = [{ role: "user", content: "hi" }, { role: "assistant", content: "ho" }];
  assertEquals(renderChat(chat), "user: hi\nassistant: ho</s>");
  assertEquals(renderChat(chat.slice(0, 1), true), "user: hi\nassistant:");
  assertEquals(encodeChat(renderChat(chat))[0], bosId);
});

const tokenizer = json(`${BASE}/tokenizer.json`),
  config = json(`${BASE}/tokenizer_config.json`) as Record<string, unknown>;

Deno.test("tokenizer: special tokens as objects, templates in a list, a template in a file of its own", () => {
  const listed = tokenizerOf({
    tokenizer,
    config: {
      ...config,
      eos_token: { content: "</s>" },
      chat_template: [{ name: "tools", template: "no" }, { name: "default", template: "{{ eos_token }}!" }],
    },
  }, "m");
  assertEquals([listed.eosId, listed.renderChat([])], [2, "</s>!"]);
  const own = tokenizerOf({ tokenizer, config: { ...config, chat_template: "a" }, template: "b" }, "m");
  assertEquals(own.renderChat([]), "b");
  const plain = tokenizerOf({ tokenizer, config, template: PLAIN_TEMPLATE }, "m");
  const chat = [{ role: "user", content: "hi" }];
  assertEquals(plain.renderChat(chat), loadTokenizer(BASE).renderChat(chat));
});

const BROKEN: readonly (readonly [what: string, files: Parameters<typeof tokenizerOf>[0], says: string])[] = [
  ["no end token", { tokenizer, config: { ...config, eos_token: null } }, "names no eos_token"],
  [
    "an unknown end token",
    { tokenizer, config: { ...config, eos_token: "<end>" } },
    `eos_token is "<end>", which is no token`,
  ],
  ["an empty tokenizer.json", { tokenizer: {}, config }, `tokenizer.json must hold a "model"`],
  [
    "an unknown kind of model",
    { tokenizer: { ...tokenizer as object, model: { type: "Oracle" } }, config },
    "cannot be used",
  ],
  [
    "a broken template",
    { tokenizer, config: { ...config, chat_template: "{% for %}" } },
    "the chat template cannot be read",
  ],
];

for (const [what, files, says] of BROKEN) {
  Deno.test(`tokenizer: ${what} is refused`, () => {
    const { message } = assertThrows(() => tokenizerOf(files, "models/m"), TokenizerError);
    assertStringIncludes(message, says);
    assert(message.startsWith("models/m: ") && !message.includes("\n"), message);
  });
}

Deno.test("tokenizer: a missing file is named", () => {
  assertThrows(() => loadTokenizer("/nowhere"), TokenizerError, "/nowhere/tokenizer.json: not found");
});
