/** Paths and models that are mistyped: every program says in one line what it looked for, and what is like it. @module */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { nearbyPath } from "../train/nearby_path.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);

/** The line that a program ends with on standard error, run in `cwd`; its code must be 2. */
async function refusal(
  cwd: string,
  args: readonly string[],
  more: { readonly permissions?: readonly string[]; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<string> {
  const [program, ...flags] = args;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-check", "--no-prompt", ...more.permissions ?? ["-A"]],
      ...[`${ROOT}${program}.ts`, ...flags],
    ],
    cwd,
    env: { NO_COLOR: "1", ...more.env },
  }).output();
  const said = new TextDecoder().decode(stderr).trim();
  assertEquals(code, 2, said);
  assert(!/ at .*\.ts/.test(said), `a stack:\n${said}`);
  return said.split("\n").at(-1)!;
}

async function inDirectory(body: (dir: string) => Promise<void> | void): Promise<void> {
  const dir = Deno.makeTempDirSync();
  try {
    Deno.mkdirSync(`${dir}/models/tiny`, { recursive: true });
    Deno.mkdirSync(`${dir}/runs/first/adapter`, { recursive: true });
    Deno.writeTextFileSync(`${dir}/run.toml`, "steps = 1");
    Deno.writeTextFileSync(`${dir}/runs/first/config.json`, "{}");
    Deno.writeTextFileSync(`${dir}/runs/first/metrics.jsonl`, "");
    Deno.writeTextFileSync(`${dir}/rows.jsonl`, '{"text": "a"}\n');
    await body(dir);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

Deno.test("misspelt: the path that is near by, name by name", () =>
  inDirectory((dir) => {
    assertEquals(nearbyPath(`${dir}/modles/tny`), `${dir}/models/tiny`);
    assertEquals(nearbyPath(`${dir}/models/tiny`), null, "it is there");
    assertEquals(nearbyPath(`${dir}/models/tiny/`), null, "it is there");
    assertEquals(nearbyPath(`${dir}/models/quite-another`), null);
    assertEquals(nearbyPath(`${dir}/rows.jsonl/a`), null, "a file has no names in it");
    assertEquals(nearbyPath(`${dir}/rows.json`), `${dir}/rows.jsonl`);
    assertEquals(nearbyPath(""), null);
  }));

/** Programs that take a model, with what else they want. */
const PROGRAMS: readonly (readonly string[])[] = [
  ["train", "--steps", "1"],
  ["train", "--dry-run"],
  ["train", "--task", "rte", "--data", "rows.jsonl"],
  ["generate", "--prompt", "a"],
  ["evaluate", "--task", "perplexity", "--data", "rows.jsonl"],
  ["merge", "--adapter", "runs/first/adapter", "--out", "out"],
  ["plan", "--memory", "24"],
];

for (const [program, ...flags] of PROGRAMS) {
  Deno.test(`misspelt: ${[program, ...flags].join(" ")} names both readings of a model`, () =>
    inDirectory(async (dir) => {
      // Nobody listens there.
      const env = { HF_ENDPOINT: "http://127.0.0.1:9", HF_HOME: `${dir}/hub`, GYRE_CACHE: `${dir}/cache` };
      const said = await refusal(dir, [program!, ...flags, "--model", "models/tiyn"], { env });
      assertStringIncludes(
        said,
        "--model models/tiyn: as a path, there is no such directory (did you mean models/tiny?); " +
          "as an id of the hub, http://127.0.0.1:9 cannot be reached",
      );
      assert(!said.includes("expand="), said);
    }));
}

Deno.test("misspelt: what the hub answers is told beside the path", () =>
  inDirectory(async (dir) => {
    await using server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen: () => {} },
      () => new Response("{}", { status: 404 }),
    );
    const env = { HF_ENDPOINT: `http://127.0.0.1:${server.addr.port}`, HF_HOME: `${dir}/hub` };
    const said = await refusal(dir, ["generate", "--prompt", "a", "--model", "models/tiyn"], { env });
    assertStringIncludes(said, "did you mean models/tiny?");
    assertStringIncludes(said, "knows no such model (404)");
  }));

Deno.test("misspelt: without leave to look it up, a model's path is told all the same", () =>
  inDirectory(async (dir) => {
    const permissions = ["--allow-read", "--allow-write=runs"];
    const said = await refusal(dir, ["train", "--model", "models/tiyn"], { permissions });
    assertStringIncludes(said, "did you mean models/tiny?");
    assertStringIncludes(said, "it cannot be looked up without --allow-env and --allow-net");
  }));

const OTHERS: readonly (readonly [args: readonly string[], says: string])[] = [
  [
    ["train", "--model", "./modles/tiny"],
    "--model ./modles/tiny: there is no such directory (did you mean ./models/tiny?)",
  ],
  [["train", "--data", "rows.jsnl"], "rows.jsnl: not found (did you mean rows.jsonl?)"],
  [
    ["train", "--adapter", "runs/frist/adapter"],
    "runs/frist/adapter: not found (did you mean runs/first/adapter?)",
  ],
  [["generate", "--adapter", "runs/first/adaptr", "--prompt", "a"], "(did you mean runs/first/adapter?)"],
  [["generate", "--prompts", "row.jsonl"], "row.jsonl: not found (did you mean rows.jsonl?)"],
  [["merge", "--adapter", "runs/first/adaptr", "--out", "out"], "(did you mean runs/first/adapter?)"],
  [["report", "runs/fist"], "runs/fist/config.json: not found (did you mean runs/first/config.json?)"],
  [["train", "--config", "run.tolm"], "expected a name that ends in .json or .toml"],
  [["train", "--config", "rnu.toml"], "rnu.toml: not found (did you mean run.toml?)"],
  [["inspect", "runs/frist"], "runs/frist: not found (did you mean runs/first?)"],
  [
    ["evaluate", "--task", "perplexity", "--data", "rows.jsn"],
    "rows.jsn: not found (did you mean rows.jsonl?)",
  ],
  [["examples/corpus"], "give --kind pretrain, finetune or long"],
  [
    ["examples/corpus", "--kind", "long", "--split", "trian"],
    '--split is "trian": give one of train, eval; did you mean train?',
  ],
  // Found out before the model is loaded.
  [
    ["evaluate", "--task", "perplexity", "--data", "rows.jsonl", "--out", "none/rows.jsonl"],
    "--out none/rows.jsonl: cannot be written to (No such file or directory",
  ],
  [
    ["evaluate", "--task", "perplexity", "--data", "rows.jsonl", "--out", "runs"],
    "--out runs: is no file; give a file.",
  ],
  // A file where a directory should be, and the other way round.
  [["inspect", "rows.jsonl"], "rows.jsonl: is a file; give a directory or a .safetensors file"],
  [["report", "rows.jsonl"], "rows.jsonl: is a file; give the directory of a run"],
  [["train", "--adapter", "rows.jsonl"], "rows.jsonl: is no adapter; expected adapter.json"],
  [["merge", "--adapter", "rows.jsonl", "--out", "out"], "rows.jsonl: is no adapter; expected adapter.json"],
  [["train", "--resume", "--out", "rows.jsonl"], "--resume: rows.jsonl/checkpoints has no checkpoint"],
  [
    ["report", "runs/first", "--out", "none/a.html"],
    "A file cannot be read or written: No such file or directory",
  ],
  [["report", "runs/first", "--out", "runs"], "A file cannot be read or written: Is a directory"],
  [
    ["report", "runs/first", "--out", "rows.jsonl/a.html"],
    "A file cannot be read or written: Not a directory",
  ],
];

for (const [args, says] of OTHERS) {
  Deno.test(`misspelt: ${args.join(" ")}`, () =>
    inDirectory(async (dir) => {
      assertStringIncludes(await refusal(dir, args, { env: { GYRE_CACHE: `${dir}/cache` } }), says);
    }));
}
