/** The examples run as documented and say what they promise. @module */
import { assert, assertEquals, assertLess, assertStringIncludes, assertThrows } from "@std/assert";
import { rowsFor, type TextRow } from "../examples/corpus.ts";
import { parsePretrainFlags } from "../examples/pretrain/options.ts";
import { OptionError, UserError } from "../train/mod.ts";
import { inTempDir, root } from "./runs.ts";

/** What an example came to. */
interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function example(name: string, ...args: readonly string[]): Promise<Ended> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `${root}/examples/${name}.ts`, ...args],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, out: out!, err: err! };
}

Deno.test("examples list their flags, and say in one line what is wrong", () =>
  inTempDir(async (dir) => {
    const flags = {
      pretrain: ["--out DIR", "--seconds X", "--kv-heads N", "Examples:"],
      corpus: ["--kind NAME", "--chars N"],
      bpe: ["--out DIR", "--vocab N"],
      study: ["--methods LIST", "--tune LIST"],
      paper: ["--suite NAME", "--makers LIST"],
    };
    for (const [name, lines] of Object.entries(flags)) {
      const { code, out, err } = await example(name, "-h");
      assertEquals([code, err], [0, ""], name);
      for (const line of lines) assertStringIncludes(out, line);
    }
    Deno.mkdirSync(`${dir}/model`);
    Deno.writeTextFileSync(`${dir}/model/config.json`, "{}");
    const wrong: readonly (readonly [readonly string[], string])[] = [
      [["pretrain"], "There is no place for the model: give --out DIR."],
      [["pretrain", "--step", "3"], "There is no flag --step: did you mean --steps?"],
      [["pretrain", "--out", dir, "--batch", "2.5"], '--batch is "2.5": give a whole number from 1 on.'],
      [
        ["pretrain", "--out", `${dir}/model`, "--layers", "2"],
        `--out ${dir}/model: ${dir}/model/config.json is there, of another model; give a new directory, or leave out ` +
        "the sizes to train that one.",
      ],
      [
        ["pretrain", "--out", `${dir}/new`, "--layers=1", "--positions=64"],
        "--seq 128: the model has 64 positions; use at most that many.",
      ],
      [["corpus", "--kind", "long", "--splitt", "eval"], "There is no flag --splitt: did you mean --split?"],
      [["bpe"], "There is no place for the tokenizer: give --out DIR."],
      [
        ["bpe", "--out", `${dir}/bpe`, "--vocab", "259"],
        '--vocab is "259": give a whole number from 260 on.',
      ],
      [
        ["bpe", "--out", `${dir}/bpe`, "--chars", "10"],
        "--vocab 512: The texts fill a vocabulary of only ",
      ],
    ];
    for (const [[name, ...args], says] of wrong) {
      const { code, out, err } = await example(name!, ...args);
      assertEquals([code, out, err.trim().split("\n").length], [2, "", 1], err);
      assertEquals(err.trim().slice(0, says.length), says);
    }
    assertEquals([...Deno.readDirSync(dir)].map((entry) => entry.name), ["model"]);
  }));

Deno.test("examples/pretrain.ts: sizes follow from each other, steps from the clock", () => {
  const parse = (...argv: string[]) => parsePretrainFlags(["--out=o", ...argv], { root })!;
  const plain = parse();
  assertEquals([plain.sizes, plain.steps, plain.tokenizer], [null, 3000, `${root}/examples/base`]);
  assertEquals(parse("--seconds", "9").steps, 1_000_000);
  assertEquals(parse("--hidden", "128", "--seq", "512").sizes, {
    ...{ layers: 8, hidden: 128, intermediate: 384, heads: 2, kvHeads: 2, positions: 512 },
  });
  assertThrows(() => parse("--heads=6", "--kv-heads=4"), UserError, "--kv-heads 4 does not divide --heads 6");
});

Deno.test("examples/corpus.ts: what a kind cannot use is refused", () => {
  const [first] = rowsFor(["--kind", "pretrain", "--chars", "1"])!;
  assert((first as TextRow).text.length > 0);
  assertEquals([...rowsFor(["--kind=finetune", "--split=eval", "--rows=3"])!].length, 3);
  for (
    const [argv, says] of [
      [["--kind=pretrain", "--rows=3"], "--rows 3: is not for --kind pretrain; leave it out."],
      [["--kind=long", "--split=eval", "--chars=3"], "--chars 3: is not for --kind long; leave it out."],
      [["--kind=long"], "--kind long needs --split train or --split eval."],
      [[], "There is nothing to make: give --kind pretrain, finetune or long."],
    ] as const
  ) assertEquals(assertThrows(() => rowsFor(argv), OptionError).message, says);
});

Deno.test("examples/new_adapter.ts learns, and its adapter obeys the laws", async () => {
  const path = new URL("../examples/new_adapter.ts", import.meta.url);
  const source = await Deno.readTextFile(path);
  assert(source.trimEnd().split("\n").length < 40, "the example is no longer under 40 lines.");
  assertEquals(/ as (?!const)/.test(source), false, "the example casts.");
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", path.pathname],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  });
  const { code, stdout, stderr } = await command.output();
  const text = new TextDecoder().decode(stdout);
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const losses = [...text.matchAll(/loss (\S+)/g)].map((m) => Number(m[1]));
  assert(losses.length >= 4, `losses are missing in:\n${text}`);
  losses.slice(1).forEach((loss, i) => assertLess(loss, losses[i]!));
  assertLess(losses.at(-1)!, 1e-3 * losses[0]!);
  for (const law of ["identity", "merge law"]) {
    const found = new RegExp(`^${law} (\\S+)$`, "m").exec(text);
    assert(found, `${law} is missing in:\n${text}`);
    assertLess(Number(found[1]), 1e-20);
  }
});
