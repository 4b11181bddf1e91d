/** Models by their ids, from a server on this machine that answers as the hub does. @module */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CheckpointError } from "../train/errors.ts";
import { isHubId, modelDirectory } from "../train/hub.ts";
import { hubCache } from "../train/hub_cache.ts";
import { loadModel } from "../train/load_model.ts";
import { HUB_MODEL, type HubServer, serveHub } from "./hub_server.ts";

const base = decodeURIComponent(new URL("../examples/base", import.meta.url).pathname);
const WANTED = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
const WEIGHTS = "model.safetensors";

/** The bundled model's files, and others that are of no use. */
function contents(): Map<string, Uint8Array<ArrayBuffer>> {
  const own = WANTED.map((name) => [name, Deno.readFileSync(`${base}/${name}`)] as const);
  return new Map([...own, ["README.md", new TextEncoder().encode("# A model")], [
    "onnx/model.onnx",
    new Uint8Array(9),
  ]]);
}

interface Case {
  readonly server: HubServer;
  readonly home: string;
  readonly said: string[];
  readonly get: (model?: string, more?: Readonly<Record<string, string>>) => Promise<string>;
}

async function withHub(body: (c: Case) => Promise<void>): Promise<void> {
  await using server = serveHub(contents());
  const home = Deno.makeTempDirSync(), said: string[] = [];
  const get: Case["get"] = (model = HUB_MODEL, more = {}) => {
    const values: Readonly<Record<string, string>> = { HF_ENDPOINT: server.endpoint, HF_HOME: home, ...more };
    return modelDirectory(model, { say: (line) => said.push(line), environment: (name) => values[name] });
  };
  try {
    await body({ server, home, said, get });
  } finally {
    Deno.removeSync(home, { recursive: true });
  }
}

function blobs(home: string): string[] {
  return [...Deno.readDirSync(`${home}/hub/models--someone--small-model/blobs`)].map((e) => e.name).sort();
}

const weightRanges = (server: HubServer): (string | null)[] =>
  server.requests.filter((r) => r.path.endsWith(WEIGHTS) && r.range !== "bytes=0-0").map((r) => r.range);

Deno.test("hub: a model is downloaded once, and is what the files are", () =>
  withHub(async ({ server, home, said, get }) => {
    const dir = await get();
    assertEquals(dir, `${home}/hub/models--someone--small-model/snapshots/${server.commit}`);
    assertEquals([...Deno.readDirSync(dir)].map((e) => e.name).sort(), [...WANTED].sort());
    for (const name of WANTED) {
      assertEquals(Deno.readFileSync(`${dir}/${name}`), server.files.get(name), name);
    }
    assertEquals(Deno.readTextFileSync(`${home}/hub/models--someone--small-model/refs/main`), server.commit);
    assert(said.some((line) => line.startsWith(`${HUB_MODEL}: ${WEIGHTS}, `)), said.join("\n"));
    const before = server.requests.length;
    assertEquals(await get(), dir);
    assertEquals(server.requests.slice(before).map((r) => r.path), [
      `/api/models/${HUB_MODEL}/revision/main`,
    ]);
  }));

Deno.test("hub: a connection that breaks is taken up where it broke", () =>
  withHub(async ({ server, get }) => {
    server.cut = { name: WEIGHTS, bytes: 50_000, times: 2 };
    const dir = await get(), size = server.files.get(WEIGHTS)!.length;
    assertEquals(Deno.readFileSync(`${dir}/${WEIGHTS}`), server.files.get(WEIGHTS));
    assertEquals(weightRanges(server), [null, `bytes=50000-${size - 1}`, `bytes=100000-${size - 1}`]);
  }));

Deno.test("hub: a run that ends in the middle of a download is gone on with by the next", () =>
  withHub(async ({ server, home, said, get }) => {
    server.cut = { name: WEIGHTS, bytes: 70_000, times: 1 };
    // The break, and then tries that bring nothing, as without a network.
    const whole = server.files.get(WEIGHTS)!;
    const first = get();
    await waitFor(() => server.cut!.times === 0);
    server.cut = { name: WEIGHTS, bytes: 0, times: 9 };
    const error = await assertRejects(() => first, CheckpointError, "what was downloaded is kept");
    assert(error.message.includes("--model DIR"), error.message);
    const part = blobs(home).find((name) => name.endsWith(".incomplete"))!;
    const at = `${home}/hub/models--someone--small-model/blobs/${part}`;
    assertEquals(Deno.readFileSync(at), whole.slice(0, 70_000));
    server.cut = null;
    const before = server.requests.length, dir = await get();
    assertEquals(Deno.readFileSync(`${dir}/${WEIGHTS}`), whole);
    const again = server.requests.slice(before).filter((r) =>
      r.path.includes("/resolve/") && r.range !== "bytes=0-0"
    );
    assertEquals(again.map((r) => r.range), [`bytes=70000-${whole.length - 1}`]);
    assert(said.some((line) => line.includes("going on after")), said.join("\n"));
    assertEquals(blobs(home).filter((name) => name.endsWith(".incomplete")), []);
  }));

async function waitFor(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    if (i > 2000) throw new Error("What was waited for did not happen.");
    await new Promise((resume) => setTimeout(resume, 5));
  }
}

Deno.test("hub: bytes that are not those of the file are found, and removed", () =>
  withHub(async ({ server, home, get }) => {
    await get();
    const [blob] = blobs(home).filter((name) => name.length === 64);
    const path = `${home}/hub/models--someone--small-model/blobs/${blob}`;
    Deno.removeSync(path);
    Deno.removeSync(`${home}/hub/models--someone--small-model/snapshots/${server.commit}/${WEIGHTS}`);
    Deno.writeFileSync(`${path}.incomplete`, new Uint8Array(1000).fill(7));
    await assertRejects(() => get(), CheckpointError, "has the digest");
    const dir = await get();
    assertEquals(Deno.readFileSync(`${dir}/${WEIGHTS}`), server.files.get(WEIGHTS));
  }));

Deno.test("hub: where only the configuration is needed, or all but the weights, only that is taken, and the rest later", () =>
  withHub(async ({ server, home, get }) => {
    const environment = (name: string) => ({ HF_ENDPOINT: server.endpoint, HF_HOME: home })[name];
    const dir = await modelDirectory(HUB_MODEL, { say: () => {}, environment, only: "config" });
    assertEquals([...Deno.readDirSync(dir)].map((e) => e.name), ["config.json"]);
    assertEquals(await modelDirectory(HUB_MODEL, { say: () => {}, environment, only: "tokenizer" }), dir);
    assertEquals(
      [...Deno.readDirSync(dir)].map((e) => e.name).sort(),
      WANTED.filter((n) => n !== WEIGHTS).sort(),
    );
    assertEquals(await get(), dir);
    assertEquals(Deno.readFileSync(`${dir}/${WEIGHTS}`), server.files.get(WEIGHTS));
  }));

Deno.test("hub: two at the same time download once", () =>
  withHub(async ({ server, get }) => {
    const [a, b] = await Promise.all([get(), get()]);
    assertEquals(a, b);
    assertEquals(Deno.readFileSync(`${a}/${WEIGHTS}`), server.files.get(WEIGHTS));
    assertEquals(weightRanges(server).length, 1);
  }));

Deno.test("hub: shards come with their index, and an index that leads elsewhere is refused", () =>
  withHub(async ({ server, get }) => {
    server.files.delete(WEIGHTS);
    const index = (file: string) =>
      new TextEncoder().encode(JSON.stringify({ weight_map: { a: "s-1.safetensors", b: file } }));
    server.files.set("s-1.safetensors", new Uint8Array(20_000).fill(1));
    server.files.set("s-2.safetensors", new Uint8Array(30_000).fill(2));
    server.files.set("model.safetensors.index.json", index("../s-2.safetensors"));
    await assertRejects(() => get(), CheckpointError, "no file beside it");
    server.commit = "abcdef0123".repeat(4);
    server.files.set("model.safetensors.index.json", index("s-3.safetensors"));
    await assertRejects(() => get(), CheckpointError, "has no s-3.safetensors, which its index names");
    server.commit = "0123abcdef".repeat(4);
    server.files.set("model.safetensors.index.json", index("s-2.safetensors"));
    const dir = await get();
    assertEquals(Deno.readFileSync(`${dir}/s-2.safetensors`), server.files.get("s-2.safetensors"));
  }));

Deno.test("hub: without a network a complete copy serves, and else the directory form is named", () =>
  withHub(async ({ server, said, get }) => {
    const dark = { HF_ENDPOINT: "http://127.0.0.1:9" };
    const error = await assertRejects(() => get(HUB_MODEL, dark), CheckpointError, "cannot be reached");
    assert(
      /give a directory with config.json, model.safetensors and tokenizer.json: --model DIR/.test(
        error.message,
      ),
    );
    await assertRejects(
      () => get(HUB_MODEL, { HF_HUB_OFFLINE: "1" }),
      CheckpointError,
      "has no complete copy",
    );
    const dir = await get(), before = server.requests.length;
    assertEquals(await get(HUB_MODEL, { HF_HUB_OFFLINE: "1" }), dir);
    assertEquals(server.requests.length, before);
    assertEquals(await get(HUB_MODEL, dark), dir);
    assert(said.at(-1)!.includes("may not be the newest"), said.at(-1));
  }));

Deno.test("hub: the token is sent, and what is refused says so", () =>
  withHub(async ({ server, get }) => {
    server.token = "hf_secret";
    await assertRejects(() => get(), CheckpointError, "set HF_TOKEN");
    const error = await assertRejects(
      () => get(HUB_MODEL, { HF_TOKEN: "hf_other" }),
      CheckpointError,
      "refuses it to HF_TOKEN",
    );
    assert(!error.message.includes("hf_other"), "the token is told");
    await get(HUB_MODEL, { HF_TOKEN: "hf_secret\n" });
    assert(server.requests.slice(-1)[0]!.token === "Bearer hf_secret");
    server.token = null;
    await assertRejects(() => get("someone/else"), CheckpointError, "knows no such model (404)");
  }));

Deno.test("hub: models without what Gyre needs are refused by name", () =>
  withHub(async ({ server, get }) => {
    server.files.delete(WEIGHTS);
    await assertRejects(() => get(), CheckpointError, "has no model.safetensors");
    server.files.set("pytorch_model.bin", new Uint8Array(4));
    await assertRejects(() => get(), CheckpointError, "pytorch_model.bin, a pickle");
    server.files.delete("tokenizer.json");
    await assertRejects(() => get(), CheckpointError, "has no tokenizer.json");
  }));

Deno.test("hub: directories are directories, ids have an owner", async () => {
  assertEquals(await modelDirectory(base, { say: () => {} }), base);
  await assertRejects(
    () => modelDirectory("no/such/dir", { say: () => {} }),
    CheckpointError,
    "--model no/such/dir: there is no such directory; give a directory with config.json",
  );
  assert(["a/b", "Qwen/Qwen2.5-0.5B", "meta-llama/Llama-3.2-1B"].every(isHubId));
  assert(!["gpt2", "a/b/c", "./b", "../b", "a/..", "/a/b", "a/b c", "", "a/"].some(isHubId));
});

Deno.test("hub: the cache is where the hub's own tools have theirs", () => {
  const at = (values: Readonly<Record<string, string>>) => hubCache((name) => values[name]);
  assertEquals(at({ HOME: "/h" }), "/h/.cache/huggingface/hub");
  assertEquals(at({ HOME: "/h", XDG_CACHE_HOME: "/x" }), "/x/huggingface/hub");
  assertEquals(at({ HOME: "/h", HF_HOME: "/f" }), "/f/hub");
  assertEquals(at({ HF_HOME: "/f", HF_HUB_CACHE: "/c" }), "/c");
});

Deno.test("hub: programs take an id for a model", async () => {
  await using server = serveHub(contents());
  const home = Deno.makeTempDirSync();
  const names = { HF_ENDPOINT: server.endpoint, HF_HOME: home };
  try {
    Object.entries(names).forEach(([name, value]) => Deno.env.set(name, value));
    const { checkpoint } = await loadModel({ model: HUB_MODEL, dtype: "f32" }, () => {});
    const here = await loadModel({ model: base, dtype: "f32" }, () => {});
    assertEquals(checkpoint.config, here.checkpoint.config);
    for (const [name, t] of here.checkpoint.weights) {
      assertEquals(checkpoint.weights.get(name)!.data, t.data, name);
    }
  } finally {
    Object.keys(names).forEach((name) => Deno.env.delete(name));
    Deno.removeSync(home, { recursive: true });
  }
});
