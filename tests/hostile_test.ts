/**
 * Directories that were damaged by chance or on purpose are refused in one line or read, whatever is in them. The few of
 * the usual run become many with `GYRE_HOSTILE=20000`; `GYRE_HOSTILE_SEED` chooses others. @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import * as fc from "fast-check";
import { gzipSync } from "node:zlib";
import { sizeOf } from "../core/mod.ts";
import { loadAdapter, saveAdapter } from "../train/adapter_directory.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { loadCheckpoint, loadConfig } from "../train/checkpoint.ts";
import { loadDataset, openDataset } from "../train/data.ts";
import { firstExamples } from "../train/data/examples.ts";
import { openRows } from "../train/data/open_rows.ts";
import { createCache, openCache } from "../train/data/token_cache.ts";
import { modulesOf, weightShapes } from "../train/decoder.ts";
import { combineJson } from "../train/peft/combine.ts";
import { loadPeft } from "../train/peft/load.ts";
import { decoderLayout, methodClasses, type MethodName, METHODS } from "../train/methods.ts";
import { readCheckpoint, saveCheckpoint } from "../train/run_checkpoint.ts";
import { openSafetensors, writeSafetensors } from "../train/safetensors.ts";
import { wildness } from "../train/tame_expression.ts";
import { loadTokenizer } from "../train/tokenizer.ts";
import { type Files, hostileFiles, triesOf, underWatch, writeHostile } from "./hostile.ts";

const here = (path: string): string => decodeURIComponent(new URL(path, import.meta.url).pathname);
const BASE = here("../examples/base"), FIXTURES = here("fixtures");

/** A kind of directory and what reads it. */
interface Kind {
  readonly name: string;
  readonly files: Files;
  readonly read: (dir: string) => unknown;
}

function filesOf(dir: string, names: readonly string[]): Files {
  return new Map(names.map((name) => [name, Deno.readFileSync(`${dir}/${name}`)]));
}

/** Bytes that a writer of files leaves. */
function written(write: (dir: string) => void): Files {
  const dir = Deno.makeTempDirSync();
  try {
    write(dir);
    return filesOf(dir, [...Deno.readDirSync(dir)].map((e) => e.name));
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

function readAll(path: string): void {
  using file = openSafetensors(path);
  for (const name of file.header.tensors.keys()) {
    file.bytes(name);
    file.read(name);
    file.readF32(name);
  }
}

const tensors = written((dir) =>
  writeSafetensors(
    `${dir}/x.safetensors`,
    new Map([
      ["a", { aval: { shape: [4, 3], dtype: "f32" }, data: new Float32Array(12).fill(1.5) }],
      ["b.weight", { aval: { shape: [5], dtype: "f16" }, data: new Uint16Array(5) }],
      ["c", { aval: { shape: [2, 2], dtype: "bf16" }, data: new Uint16Array(4) }],
      ["d", { aval: { shape: [], dtype: "f32" }, data: new Float32Array(1) }],
    ]),
    { format: "pt" },
  )
);

/** A model of two shards and their index. */
const sharded = written((dir) => {
  const from = `${FIXTURES}/models/qwen2_window`;
  Deno.copyFileSync(`${from}/config.json`, `${dir}/config.json`);
  using file = openSafetensors(`${from}/model.safetensors`);
  const names = [...file.header.tensors.keys()], half = names.length >> 1;
  const parts = [names.slice(0, half), names.slice(half)];
  parts.forEach((part, i) =>
    writeSafetensors(`${dir}/model-${i + 1}.safetensors`, new Map(part.map((n) => [n, file.read(n)])))
  );
  const map = parts.flatMap((part, i) => part.map((n) => [n, `model-${i + 1}.safetensors`]));
  Deno.writeTextFileSync(
    `${dir}/model.safetensors.index.json`,
    JSON.stringify({ metadata: { total_size: 1 }, weight_map: Object.fromEntries(map) }),
  );
});

const tokenizer = loadTokenizer(BASE);
const untied = loadConfig(`${FIXTURES}/peft/untied`);

const TEXTS: readonly (readonly [name: string, text: string])[] = [
  [
    "rows.jsonl",
    ['{"question": "1+1?", "answer": "2\\n#### 2"}', '{"question": "Who?", "answer": "Tom"}', ""].join("\n"),
  ],
  [
    "chats.jsonl",
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n',
  ],
  ["rows.json", '[{"prompt": "a", "completion": "b"},\n {"prompt": "c", "completion": "d"}]'],
  ["share.json", '[{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]'],
  ["rows.csv", 'sentence,label\n"a, ""b""",1\nc,0\n'],
  ["rows.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta b\tc\t1\n1\td\te f\t0\n"],
];

const dataKinds = TEXTS.flatMap(([name, text]): Kind[] => {
  const bytes = new TextEncoder().encode(text);
  const kind = (file: string, content: Uint8Array): Kind => ({
    name: file,
    files: new Map([[file, content]]),
    read: (dir) => loadDataset(`${dir}/${file}`, tokenizer, 32),
  });
  return [kind(name, bytes), kind(`${name}.gz`, gzipSync(bytes))];
});

const peftKinds = ["lora", "lora_patterns", "boft_m2", "oft", "hra", "dora"].map((name): Kind => {
  const from = `${FIXTURES}/peft/${name}`;
  const { base } = JSON.parse(Deno.readTextFileSync(`${from}/reference.json`));
  const modules = modulesOf(loadConfig(`${FIXTURES}/peft/${base}`));
  return {
    name: `PEFT's ${name}`,
    files: filesOf(from, ["adapter_config.json", "adapter_model.safetensors"]),
    read: (dir) => loadPeft(dir, modules, { training: true }),
  };
});

/** Two directories of PEFT that a file combines. */
function combinedKind(): Kind {
  const from = `${FIXTURES}/peft/lora`, names = ["adapter_config.json", "adapter_model.safetensors"];
  const { base } = JSON.parse(Deno.readTextFileSync(`${from}/reference.json`));
  const modules = modulesOf(loadConfig(`${FIXTURES}/peft/${base}`));
  const combine = {
    kind: "mix",
    options: { space: "update", scope: "module", outermost: "first", ema: 0.9, clamp: [0.05, 0.95] },
  } as const;
  const weights = new Map(modules.map((m) => [m.path, [0.25, 0.75]]));
  const json = combineJson(combine, new Map([["a", ["a"]], ["b", ["b"]]]), weights);
  return {
    name: "PEFT's directories with gyre.json",
    files: new Map([
      ["gyre.json", new TextEncoder().encode(JSON.stringify(json))],
      ...["a", "b"].flatMap((dir) => [...filesOf(from, names)].map(([n, b]) => [`${dir}/${n}`, b] as const)),
    ]),
    read: (dir) => loadPeft(dir, modules, { training: true }),
  };
}

/** An adapter as Gyre writes it, of zeros. */
function adapterKind(method: MethodName): Kind {
  const options = { ...DEFAULT_SETTINGS, method, compose: null, saveModules: null, target: "q_proj,up_proj" };
  const classes = methodClasses(options, untied);
  const zeros = classes.flatMap((c) =>
    c.members.map((member) => {
      const leaves = c.leaves.map(({ path, aval }) =>
        [path, { aval, data: new Float32Array(sizeOf(aval.shape)) }] as const
      );
      return [member, new Map(leaves)] as const;
    })
  );
  return {
    name: `Gyre's ${method}`,
    files: written((dir) =>
      saveAdapter(dir, options, {
        model: "base",
        layout: decoderLayout(untied),
        classes,
        trained: new Map(zeros),
      })
    ),
    read: (dir) => loadAdapter(dir, decoderLayout(untied), new Map(), { training: true }),
  };
}

/** A token cache, and what reads all of it. */
function cacheKind(): Kind {
  const facts = { key: "k", vocabSize: tokenizer.vocabSize };
  const { examples } = loadDataset(here("../examples/data/eval.jsonl"), tokenizer, 64);
  const files = written((dir) => {
    using writer = createCache(dir, ["d.jsonl"], facts);
    for (const example of examples.slice(0, 20)) writer.add({ ...example, where: "d.jsonl:1" });
    writer.finish({ truncated: 0, dropped: 0 });
  });
  return {
    name: "a token cache",
    files,
    read: (dir) => {
      using cache = openCache(dir, ["d.jsonl"], facts);
      const ids = firstExamples(cache.examples, Infinity).map((e) => e.ids);
      assertEquals(ids, examples.slice(0, 20).map((e) => e.ids));
    },
  };
}

/** Rows that a run of a large file would read. */
const streamedKinds = dataKinds.filter(({ name }) => /^rows\.(jsonl|json\.gz|csv)$/.test(name)).map((
  { name, files },
): Kind => ({
  name: `${name} by way of a token cache`,
  files,
  read: async (dir) => {
    using rows = await openRows(`${dir}/${name}`, tokenizer, {
      ...{ seq: 32, format: "auto", stream: "always", tokenCache: `${dir}/cache`, dryRun: false },
    }, { say: () => {} });
    firstExamples(rows.examples, Infinity);
  },
}));

/** The checkpoint of a run. */
async function checkpointKind(): Promise<Kind> {
  const dir = Deno.makeTempDirSync();
  try {
    const state = { step: 3, skipped: 0, device: "cpu", rows: "", before: null, options: { steps: 4 } };
    const arena = { aval: { shape: [2, 64], dtype: "f32" as const }, data: new Float32Array(128) };
    await saveCheckpoint(dir, state, new Map([["params.a", arena]]), 1);
    const at = "checkpoints/step-3/";
    const names = ["state.json", "tensors.safetensors"].map((name) => at + name);
    return { name: "a checkpoint", files: filesOf(dir, names), read: readCheckpoint };
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

const KINDS: readonly Kind[] = [
  { name: "safetensors", files: tensors, read: (dir) => readAll(`${dir}/x.safetensors`) },
  ...["llama3", "mistral", "qwen3_biased", "gpt2", "gemma2"].map((name): Kind => ({
    name: `a model of ${name}`,
    files: filesOf(`${FIXTURES}/models/${name}`, ["config.json", "model.safetensors"]),
    read: (dir) => loadCheckpoint(dir, { dtype: "f16", shapes: weightShapes }),
  })),
  {
    name: "a sharded model",
    files: sharded,
    read: (dir) => loadCheckpoint(dir, { dtype: "f32", shapes: weightShapes }),
  },
  {
    name: "a tokenizer",
    files: filesOf(BASE, ["tokenizer.json", "tokenizer_config.json"]),
    read: (dir) => {
      const { encode, decode, renderChat, encodeChat } = loadTokenizer(dir);
      const ids = encode("Tom has 38 balls.\nFinn – 19 \u{1F600}  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!");
      decode(ids);
      decode(ids, { special: true });
      encodeChat(renderChat([{ role: "user", content: "a" }, { role: "assistant", content: "b" }], true));
    },
  },
  ...dataKinds,
  ...streamedKinds,
  cacheKind(),
  ...["none", "snappy", "gzip", "zstd", "chat"].map((name): Kind => ({
    name: `parquet: ${name}`,
    files: filesOf(`${FIXTURES}/parquet`, [`${name}.parquet`]),
    read: (dir) => openDataset(`${dir}/${name}.parquet`, tokenizer, 32),
  })),
  ...peftKinds,
  combinedKind(),
  ...METHODS.map(adapterKind),
  await checkpointKind(),
];

for (const kind of KINDS) {
  Deno.test(`hostile files: ${kind.name}`, async () => {
    const dir = Deno.makeTempDirSync({ prefix: "hostile-" });
    let refused = 0, taken = 0;
    try {
      writeHostile(dir, { files: kind.files, strays: new Map() });
      await kind.read(dir);
      await fc.assert(
        fc.asyncProperty(hostileFiles(kind.files), async (hostile) => {
          writeHostile(dir, hostile);
          const bytes = [...hostile.files.values()].reduce((n, b) => n + b.length, 0);
          const refusal = await underWatch(dir, bytes, () => kind.read(dir));
          if (refusal) refused++;
          else taken++;
        }),
        {
          numRuns: triesOf(KINDS.length),
          seed: Number(Deno.env.get("GYRE_HOSTILE_SEED") ?? 20261),
          endOnFailure: Deno.env.has("GYRE_HOSTILE"),
        },
      );
    } finally {
      Deno.removeSync(dir, { recursive: true });
    }
    // Otherwise the changes change nothing, or leave nothing to read; among few, all may be refused.
    assert(refused > 0 && (taken > 0 || refused < 100), `${refused} were refused and ${taken} taken`);
  });
}

/** What reading a directory with these files is refused with. */
async function refusal(files: Files, read: (dir: string) => unknown): Promise<string> {
  const dir = Deno.makeTempDirSync();
  try {
    writeHostile(dir, { files, strays: new Map() });
    const bytes = [...files.values()].reduce((n, b) => n + b.length, 0);
    const error = await underWatch(dir, bytes, () => read(dir));
    assert(error !== null, "it was read");
    return error.message;
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

Deno.test("hostile files: a header that claims 10 GB takes no memory for them", async () => {
  const claim = new Uint8Array(64);
  new DataView(claim.buffer).setBigUint64(0, 10_000_000_000n, true);
  const files = new Map([["x.safetensors", claim]]);
  assertStringIncludes(
    await refusal(files, (dir) => readAll(`${dir}/x.safetensors`)),
    "the header should take 10000000000 bytes and the file has 64",
  );
});

Deno.test("hostile files: a bomb of gzip is refused by its size, and a text that packs well is read", async () => {
  const load = (dir: string): unknown => loadDataset(`${dir}/x.jsonl.gz`, tokenizer, 32);
  const bomb = gzipSync(new Uint8Array(2 ** 25).fill(0x20));
  const message = await refusal(new Map([["x.jsonl.gz", bomb]]), load);
  assertStringIncludes(message, `unpacks to more than 256 times its ${bomb.length} bytes`);
  const dir = Deno.makeTempDirSync();
  try {
    Deno.writeFileSync(`${dir}/x.jsonl.gz`, gzipSync('{"prompt": "a", "completion": "b"}\n'.repeat(5000)));
    assertEquals(loadDataset(`${dir}/x.jsonl.gz`, tokenizer, 32).examples.length, 5000);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

Deno.test("hostile files: pickles are refused by name, with what to do instead", async () => {
  const pickle = Uint8Array.of(0x80, 2, 0x2e),
    config = Deno.readFileSync(`${FIXTURES}/models/llama3/config.json`);
  const options = { dtype: "f32", shapes: weightShapes } as const;
  for (const ending of ["bin", "pt", "pth", "ckpt", "pkl"]) {
    const name = `pytorch_model.${ending}`;
    const advice = `${name}: is a pickle, which can run any code when it is read`;
    const model = await refusal(
      new Map([["config.json", config], [name, pickle]]),
      (dir) => loadCheckpoint(dir, options),
    );
    assertStringIncludes(model, advice);
    assertStringIncludes(model, "save_pretrained writes model.safetensors");
    const files = new Map([[name, pickle]]);
    assertStringIncludes(await refusal(files, (dir) => loadCheckpoint(`${dir}/${name}`, options)), advice);
    const data = await refusal(files, (dir) => loadDataset(`${dir}/${name}`, tokenizer, 32));
    assertStringIncludes(data, advice);
    assertStringIncludes(data, "save it as JSON lines");
    const adapter = filesOf(`${FIXTURES}/peft/lora`, ["adapter_config.json"]);
    assertStringIncludes(
      await refusal(
        new Map([...adapter, [name, pickle]]),
        (dir) => loadAdapter(dir, decoderLayout(untied), new Map(), { training: true }),
      ),
      advice,
    );
    assertStringIncludes(
      await refusal(
        files,
        (dir) => loadAdapter(`${dir}/${name}`, decoderLayout(untied), new Map(), { training: true }),
      ),
      advice,
    );
  }
});

Deno.test("hostile files: expressions that could run without end are known by their form", () => {
  for (const wild of ["(a+)+$", "(a|a)*b", "(?:x*)*y", "((a)|b)+", "(a+){2,}", "(a*){30}", "a{1000000}"]) {
    assert(wildness(wild) !== null, `${wild} was taken`);
  }
  const tame = [
    // The tokenizers of GPT-2 and Llama 3, and what PEFT's users write for modules.
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+",
    "(?:\\r?\\n)+",
    ".*\\.(q_proj|v_proj)$",
    "model\\.layers\\.\\d+\\.(?:self_attn|mlp)\\.(?:(?:q|k|v|o)_proj)",
    "[(*+)+]+",
    "\\(a+\\)+",
  ];
  for (const source of tame) assertEquals(wildness(source), null, source);
});
