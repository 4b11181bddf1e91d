/** Runs that go on: an adapter that a run left, Gyre's own or PEFT's form of it, is the same adapter. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import * as Effect from "effect/Effect";
import { fineTune, parseOptions, type RunResult, type TrainOptions, UserError } from "../train/mod.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");

function optionsOf(...argv: readonly string[]): TrainOptions {
  const common = [
    "--device",
    "cpu",
    "--eval",
    "none",
    "--batch",
    "4",
    "--seq",
    "64",
    "--schedule",
    "constant",
  ];
  const rest = ["--warmup", "0", "--lr", "1e-3", "--start-batches", "2"];
  return parseOptions([...common, ...rest, ...argv], { root, now: new Date(0) });
}

async function run(...argv: readonly string[]): Promise<RunResult> {
  const result = await Effect.runPromise(
    Effect.match(fineTune(optionsOf(...argv), { say: () => {}, stopped: () => false }), {
      onFailure: (error) => error,
      onSuccess: (value) => value,
    }),
  );
  if (result instanceof UserError) throw result;
  return result;
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

async function withDir(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = Deno.makeTempDirSync();
  try {
    await use(dir);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

/** The loss of the first step of a run that goes on with an adapter: before it learns anything more. */
async function lossOf(adapter: string, out: string): Promise<number> {
  return (await run("--adapter", adapter, "--steps", "1", "--out", out)).loss_before!;
}

const METHODS = [
  { argv: ["--method", "lora"], peft: true },
  { argv: ["--method", "lora-ga"], peft: true },
  { argv: ["--method", "dora"], peft: true },
  { argv: ["--method", "boft", "--row-scale"], peft: true },
  { argv: ["--method", "oft"], peft: true },
  { argv: ["--method", "hra"], peft: true },
  { argv: ["--method", "hybrid"], peft: true },
  { argv: ["--compose", "compose(dora(r=4), boft(b=8, m=2))"], peft: true },
  { argv: ["--method", "lora", "--save-modules", "norm"], peft: true },
  { argv: ["--method", "unitary", "--target", "q_proj"], peft: false },
  { argv: ["--method", "full"], peft: false },
];

for (const { argv, peft } of METHODS) {
  Deno.test(`${argv.join(" ")}: what a run leaves goes on where it was`, async () => {
    await withDir(async (dir) => {
      const { trainable } = await run(...argv, "--steps", "3", "--out", `${dir}/first`);
      assert(trainable > 0);
      const own = await lossOf(`${dir}/first/adapter`, `${dir}/own`);
      const fresh = (await run(...argv, "--steps", "1", "--out", `${dir}/fresh`)).loss_before!;
      assert(Math.abs(own - fresh) > 1e-3, `the loss is ${own}, that of a fresh adapter ${fresh}.`);
      assertEquals(exists(`${dir}/first/peft`), peft);
      if (!peft) return;
      const other = await lossOf(`${dir}/first/peft`, `${dir}/other`);
      assert(Math.abs(other / own - 1) < 1e-5, `PEFT's form starts at ${other}, Gyre's at ${own}.`);
      // And what went on from PEFT's form is written in it once more.
      const again = await lossOf(`${dir}/other/adapter`, `${dir}/again`);
      assert(Number.isFinite(again) && !exists(`${dir}/other/peft`));
    });
  });
}

Deno.test("several places of an expression leave a directory of PEFT each", async () => {
  await withDir(async (dir) => {
    await run("--compose", "on(attn, hybrid) + on(mlp, hra(r=4))", "--steps", "1", "--out", dir);
    assert(exists(`${dir}/peft-1`) && exists(`${dir}/peft-2`) && !exists(`${dir}/peft`));
  });
});

Deno.test("an adapter that is damaged, or of another model, is refused before anything is written", async () => {
  await withDir(async (dir) => {
    await run("--method", "lora", "--target", "q_proj", "--steps", "1", "--out", `${dir}/a`);
    const file = `${dir}/a/adapter/adapter.json`, text = Deno.readTextFileSync(file);
    const cases: readonly (readonly [string, string])[] = [
      [text.replace('"lora"', '"lorra"'), "method"],
      [text.replace('"rank": 8', '"rank": "eight"'), "rank"],
      [text.replace('"rank": 8', '"rank": 4'), "a"],
      ["{", "not JSON"],
    ];
    for (const [broken, names] of cases) {
      Deno.writeTextFileSync(file, broken);
      const error = await assertRejects(
        () => run("--adapter", `${dir}/a/adapter`, "--out", `${dir}/b`),
        UserError,
      );
      assert(error.message.includes(names), error.message);
    }
    await assertRejects(() => run("--adapter", `${dir}/nowhere`, "--out", `${dir}/b`), UserError, "nowhere");
    assert(!exists(`${dir}/b`));
  });
});
