/** Flags in files: what they may say, and that a run's own file repeats the run. @module */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { OptionError, parseCommandLine, type TrainOptions } from "../train/mod.ts";
import { fineTuned, inTempDir, root } from "./runs.ts";

const SITE = { root, now: new Date("2025-03-04T05:06:07Z") };

/** The options of a command line that reads a file with this text. */
function parsed(name: string, text: string, ...argv: string[]): Promise<TrainOptions> {
  return inTempDir(async (dir) => {
    Deno.writeTextFileSync(`${dir}/${name}`, text);
    return await parseCommandLine([...argv, "--config", `${dir}/${name}`], SITE);
  });
}

async function refusal(name: string, text: string, ...argv: string[]): Promise<string> {
  const error = await assertRejects(() => parsed(name, text, ...argv), OptionError);
  return error.message.replace(/^.*\//, "");
}

Deno.test("config: JSON and TOML say the same as the command line, in any spelling of the names", async () => {
  const argv = [
    ...["--method", "lora", "--rank", "4", "--orthogonal-lr", "1e-7", "--target", "q_proj,v_proj", "--merge"],
    ...["--eval", "none", "--save-every", "0", "--out", "o"],
  ];
  const expected = await parseCommandLine(argv, SITE);
  const toml = [
    '# a comment\nmethod = "lora"\nrank = 4\northogonal-lr = 1e-7',
    'target = ["q_proj", "v_proj"]\nmerge = true\neval = "none"\nsave_every = 0\nout = "o"\njson = false\n',
  ].join("\n");
  const json = {
    ...{ method: "lora", rank: 4, orthogonalLr: 1e-7, target: "q_proj,v_proj", merge: true, eval: null },
    ...{ saveEvery: 0, out: "o", steps: null, adapter_name: "some processor" },
  };
  for (const [name, text] of [["run.toml", toml], ["run.json", JSON.stringify(json)]] as const) {
    const { config, ...rest } = await parsed(name, text);
    assertStringIncludes(config!, name);
    assertEquals({ ...rest, config: null }, expected);
  }
});

Deno.test("config: flags of the command line win, also over those that they take the place of", async () => {
  const base = { method: "lora", rank: 4, steps: 30, seed: 7 };
  const { rank, seed, steps, epochs } = await parsed(
    "a.json",
    JSON.stringify(base),
    ...["--rank=16", "--epochs", "2"],
  );
  assertEquals([rank, seed, steps, epochs], [16, 7, null, 2]);
  const composed = await parsed("a.json", JSON.stringify(base), "--compose", "on(attn, dora)");
  assertEquals([composed.method, composed.compose], ["compose", "on(attn, dora)"]);
  const plain = await parsed(
    "a.json",
    JSON.stringify({ method: "compose", compose: "on(attn, dora)" }),
    ...["--method", "oft"],
  );
  assertEquals([plain.method, plain.compose], ["oft", null]);
});

Deno.test("config: what is wrong in a file is named, with the file", async () => {
  assertEquals(await refusal("a.json", '{"rnak": 4}'), 'a.json: there is no flag "rnak"; did you mean rank?');
  assertEquals(
    await refusal("a.toml", "[training]\nrank = 4"),
    'a.toml: there is no flag "training"; see --help.',
  );
  assertStringIncludes(await refusal("a.toml", "[rank]\nx = 4"), "rank is a section; expected flags without");
  assertStringIncludes(await refusal("a.toml", "rank = 4\nlr = ="), "a.toml:2: not TOML");
  assertEquals(
    await refusal("a.json", '{"merge": "yes"}'),
    'a.json: merge is "yes"; expected true or false.',
  );
  assertStringIncludes(await refusal("a.json", '{"rank": true}'), "rank is true; expected a value");
  assertStringIncludes(await refusal("a.json", '{"rank": "x"}'), '--rank is "x": give a whole number');
  assertStringIncludes(await refusal("a.json", '{"save-every": 1, "saveEvery": 1}'), "is there twice");
  assertStringIncludes(
    await refusal("a.json", '{"config": "b.json"}'),
    '"config" is for the command line alone',
  );
  assertStringIncludes(await refusal("a.json", "[]"), "expected an object of flags");
  assertStringIncludes(await refusal("a.yaml", "rank: 4"), "expected a name that ends in .json or .toml");
  const missing = await assertRejects(() => parseCommandLine(["--config", "/no/x.json"], SITE), OptionError);
  assertStringIncludes(missing.message, "/no/x.json: not found; give a JSON or TOML file of flags");
});

Deno.test("config: the file that a run leaves repeats the run to the bit", () =>
  inTempDir(async (dir) => {
    const tiny = ["--device", "cpu", "--eval", "none", "--seq", "32", "--batch", "4", "--steps", "4"];
    const runs: readonly (readonly [string, readonly string[]])[] = [
      ["hybrid", ["--target", "q_proj,up_proj", "--dropout", "0.3", "--seed", "5", "--warmup", "2"]],
      ["composed", ["--compose", "on(attn, lora(r=2)) + on(mlp, oft(b=4))", "--accumulate", "2"]],
    ];
    for (const [name, argv] of runs) {
      const first = await fineTuned(`${dir}/${name}`, [...tiny, ...argv]);
      const again = await fineTuned(`${dir}/${name}-again`, ["--config", `${dir}/${name}/config.json`]);
      assert("steps" in first.result && "steps" in again.result, String(again.result));
      const of = (run: string): readonly [unknown[], Uint8Array] => [
        Deno.readTextFileSync(`${dir}/${run}/metrics.jsonl`).trimEnd().split("\n").map((line) => {
          const { loss, grad_norm, lr, lambda } = JSON.parse(line);
          return { loss, grad_norm, lr, lambda };
        }),
        Deno.readFileSync(`${dir}/${run}/adapter/adapter.safetensors`),
      ];
      assertEquals(of(`${name}-again`), of(name));
      const settings = (run: string): unknown => ({
        ...JSON.parse(Deno.readTextFileSync(`${dir}/${run}/config.json`)),
        out: "",
      });
      assertEquals(settings(`${name}-again`), settings(name));
    }
  }));

Deno.test("config: --resume reads its --out from a file too, and the run's flags stand behind it", () =>
  inTempDir(async (dir) => {
    const tiny = ["--device", "cpu", "--eval", "none", "--seq", "32", "--batch", "4", "--steps", "2"];
    await fineTuned(`${dir}/a`, [...tiny, "--target", "q_proj"]);
    Deno.writeTextFileSync(`${dir}/c.toml`, `out = "${dir}/a"\nsteps = 3\n`);
    const options = await parseCommandLine(["--resume", "--config", `${dir}/c.toml`], SITE);
    assertEquals([options.steps, options.target, options.seq], [3, "q_proj", 32]);
  }));
