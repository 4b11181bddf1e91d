/** The command line: defaults, every flag, and messages that say what to do. @module */
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { METHODS } from "../train/methods.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import * as fc from "fast-check";
import { OptionError, UserError } from "../train/errors.ts";
import { FLAGS } from "../train/flags.ts";
import { editDistance, nearest } from "../train/nearest.ts";
import { helpText, parseOptions, type TrainOptions } from "../train/options.ts";

const SITE = { root: "/gyre", now: new Date("2025-03-04T05:06:07Z") };

function parse(...argv: string[]): TrainOptions {
  return parseOptions(argv, SITE);
}

Deno.test("options: without flags the bundled example is trained with the hybrid", () => {
  const { epochs, batch, seq, lr, orthogonalLr, warmup, ...rest } = parse();
  assertEquals(rest, {
    model: "/gyre/examples/base",
    data: "/gyre/examples/data/train.jsonl",
    eval: "/gyre/examples/data/eval.jsonl",
    format: "auto",
    stream: "auto",
    tokenCache: null,
    task: null,
    out: "runs/2025-03-04-050607-hybrid",
    method: "hybrid",
    compose: null,
    saveModules: null,
    target: "all-linear",
    ...DEFAULT_SETTINGS,
    startBatches: 4,
    steps: null,
    accumulate: 1,
    pack: false,
    schedule: "cosine",
    clip: 1,
    seed: 0,
    device: "auto",
    dtype: "f32",
    lossScale: null,
    adapter: null,
    merge: false,
    resume: false,
    evalEvery: 0,
    modelDropout: null,
    evalLimit: null,
    keepBest: false,
    saveEvery: 100,
    keep: 2,
    config: null,
    tuneKernels: false,
    noCache: false,
    dryRun: false,
    json: false,
    help: false,
  });
  // What is tuned must be usable, whatever it is.
  const tuned = [`--epochs=${epochs}`, `--batch=${batch}`, `--seq=${seq}`, `--warmup=${warmup}`];
  assertEquals(parse(...tuned, `--lr=${lr}`, `--orthogonal-lr=${orthogonalLr}`), parse());
});

Deno.test("options: defaults follow the flags that they depend on, wherever these stand", () => {
  const o = parse("--lr=3e-4", "--rank", "4", "--method", "lora", "--data", "mine.jsonl");
  assertEquals([o.alpha, o.out, o.eval, o.lr], [8, "runs/2025-03-04-050607-lora", null, 3e-4]);
  assertEquals(parse("--eval", "none").eval, null);
  assertEquals(parse("--data", "mine.jsonl", "--eval", "e.jsonl").eval, "e.jsonl");
});

Deno.test("options: every flag reaches its option", () => {
  // An expression takes the place of a method, a task that of a format: see below.
  const given: Readonly<
    Record<Exclude<keyof TrainOptions, "compose" | "task" | "modelDropout">, readonly [string, unknown]>
  > = {
    model: ["m", "m"],
    data: ["d", "d"],
    eval: ["e", "e"],
    format: ["alpaca", "alpaca"],
    stream: ["always", "always"],
    tokenCache: ["c", "c"],
    out: ["o", "o"],
    method: ["oft", "oft"],
    target: ["q_proj,v_proj", "q_proj,v_proj"],
    rank: ["3", 3],
    alpha: ["1.5", 1.5],
    block: ["4", 4],
    factors: ["3", 3],
    layers: ["2", 2],
    gamma: ["64", 64],
    variant: ["peft", "peft"],
    startBatches: ["2", 2],
    rowScale: ["", true],
    dropout: ["0.1", 0.1],
    neumann: ["5", 5],
    space: ["delta", "delta"],
    scope: ["layer", "layer"],
    input: ["raw", "raw"],
    ema: ["0.5", 0.5],
    clamp: ["0.1", 0.1],
    saveModules: ["norm", "norm"],
    steps: ["77", 77],
    epochs: ["2.5", 2.5],
    batch: ["12", 12],
    accumulate: ["3", 3],
    seq: ["64", 64],
    pack: ["", true],
    lr: ["1e-5", 1e-5],
    orthogonalLr: ["2e-5", 2e-5],
    schedule: ["linear", "linear"],
    warmup: ["10", 10],
    clip: ["0", 0],
    seed: ["4294967295", 4294967295],
    device: ["cpu", "cpu"],
    dtype: ["f16", "f16"],
    lossScale: ["64", 64],
    adapter: ["a", "a"],
    merge: ["", true],
    resume: ["", true],
    evalEvery: ["10", 10],
    evalLimit: ["7", 7],
    keepBest: ["", true],
    saveEvery: ["50", 50],
    keep: ["3", 3],
    config: ["c.toml", "c.toml"],
    tuneKernels: ["", true],
    noCache: ["", true],
    dryRun: ["", true],
    json: ["", true],
    help: ["", true],
  };
  const name = (key: string): string => `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
  const entries = Object.entries(given);
  const expected: Readonly<Record<string, unknown>> = {
    ...Object.fromEntries(entries.map(([key, [, value]]) => [key, value])),
    compose: null,
    task: null,
    modelDropout: null,
  };
  assertEquals({
    ...parse(...entries.flatMap(([key, [text]]) => text === "" ? [name(key)] : [name(key), text])),
  }, expected);
  const joined = entries.map(([key, [text]]) => text === "" ? name(key) : `${name(key)}=${text}`);
  assertEquals<unknown>({ ...parse(...joined.reverse()) }, expected);
  assertEquals(parse("-h").help, true);
});

Deno.test("options: an expression takes the place of a method", () => {
  const o = parse("--compose", "compose(dora, boft(b=4))");
  assertEquals([o.method, o.compose], ["compose", "compose(dora, boft(b=4))"]);
  assertEquals([o.out, o.lr], ["runs/2025-03-04-050607-compose", parse("--method", "hybrid").lr]);
});

Deno.test("options: a task takes the place of a format", () => {
  assertEquals(parse("--task", "stsb").task, "stsb");
  assertEquals(parse("--task", "stsb", "--model-dropout", "0.2").modelDropout, 0.2);
});

const WRONG: readonly (readonly [argv: readonly string[], message: string])[] = [
  [["--rnak", "4"], "There is no flag --rnak: did you mean --rank?"],
  [["--orthogonal_lr=1"], "There is no flag --orthogonal_lr: did you mean --orthogonal-lr?"],
  [["--quantisation"], "There is no flag --quantisation: see --help."],
  [["-q"], "There is no flag -q: see --help."],
  [["train.jsonl"], `"train.jsonl" is not a flag: values follow their flag, see --help.`],
  [["--", "--rank", "4"], `"--rank" is not a flag: values follow their flag, see --help.`],
  [["--rank", "-4"], `--rank is "-4": give a whole number from 1 to 65536.`],
  [["--rank=2.5"], `--rank is "2.5": give a whole number from 1 to 65536.`],
  [
    ["--task", "sst3"],
    `--task is "sst3": give one of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli; did you mean sst2?`,
  ],
  [
    ["--task", "sst2", "--format", "text"],
    "--format text: --task sst2 says what rows look like; give one of the two.",
  ],
  [
    ["--task", "sst2", "--pack"],
    "--pack: sentences of a --task have rows of their own; leave it out.",
  ],
  [
    ["--model-dropout", "0.1"],
    "--model-dropout 0.1: is for the encoders of --task; language models train without, leave it out.",
  ],
  [["--rank"], "--rank needs a value: --rank N."],
  [["--rank", "--json"], "--rank needs a value: --rank N."],
  [["--rank="], "--rank needs a value: --rank N."],
  [
    ["--method", "botf"],
    `--method is "botf": give one of ${METHODS.join(", ")}; did you mean boft?`,
  ],
  [["--method", "galore"], `--method is "galore": give one of ${METHODS.join(", ")}.`],
  [["--method", "compose"], `--method is "compose": give one of ${METHODS.join(", ")}.`],
  [
    ["--method", "lora", "--compose", "boft"],
    "--compose takes the place of --method lora: give one of the two.",
  ],
  [
    ["--compose", "mix(lora(r=0), boft)"],
    '--compose: r is "0" at character 12: give a whole number from 1 to 65536.\n  mix(lora(r=0), boft)\n             ^',
  ],
  [
    ["--save-modules", "norm", "--method", "full"],
    "--save-modules norm is for adapters: --method full trains all weights, leave it out.",
  ],
  [
    ["--space", "generator", "--row-scale"],
    "--method hybrid: Cannot mix boft in generator space: its parameters cannot be scaled. " +
    'Use the space "update" or "delta".',
  ],
  [["--lr", "fast"], `--lr is "fast": give a number above 0.`],
  [["--lr", "0"], `--lr is "0": give a number above 0.`],
  [["--lr", "Infinity"], `--lr is "Infinity": give a number above 0.`],
  [["--clip", "-1"], `--clip is "-1": give a number from 0 on.`],
  [["--seed", "4294967296"], `--seed is "4294967296": give a whole number from 0 to 4294967295.`],
  [
    ["--batch", "10", "--accumulate", "4"],
    "--batch 10 cannot be cut into --accumulate 4 equal parts: give a multiple of 4.",
  ],
];

for (const [argv, message] of WRONG) {
  Deno.test(`options: ${argv.join(" ")} is refused`, () => {
    const error = assertThrows(() => parse(...argv), OptionError);
    assertEquals(error.message, message);
    assert(error instanceof UserError);
  });
}

Deno.test("options: whatever the arguments, the outcome is options or a message", () => {
  const names = Object.keys(FLAGS).map((key) => `--${key}`);
  const argument = fc.oneof(
    fc.constantFrom(...names, "--orthogonal-lr", "-h"),
    fc.string(),
    fc.double().map(String),
    fc.integer().map(String),
  );
  fc.assert(fc.property(fc.array(argument, { maxLength: 6 }), (argv) => {
    try {
      const o = parse(...argv);
      assert(o.rank >= 1 && Number.isSafeInteger(o.rank) && o.lr > 0 && o.batch % o.accumulate === 0);
    } catch (error) {
      assert(error instanceof OptionError, String(error));
      assertMatch(error.message, /^[^]{10,}([.?]|\n *\^)$/);
    }
  }));
});

Deno.test("options: the help names every flag, its value and its default", () => {
  const help = helpText();
  for (const [key, { value, help: text, shown }] of Object.entries(FLAGS)) {
    const name = key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
    const line = help.split("\n").find((l) => l.startsWith(`  --${name} `));
    assert(line !== undefined, `no line for --${name}`);
    assertStringIncludes(line, text);
    if (value !== null) {
      assertStringIncludes(line, `--${name} ${value}`);
      assertStringIncludes(line, `[${shown}]`);
    }
  }
  assertStringIncludes(help, "deno run -A train.ts");
});

Deno.test("nearest: one slip is forgiven, a stranger is not", () => {
  assertEquals(nearest("stepps", ["steps", "seq", "seed"]), "steps");
  assertEquals(nearest("xyzzy", ["steps", "seq", "seed"]), null);
  assertEquals(nearest("x", ["lr"]), null);
  fc.assert(fc.property(fc.string(), fc.string(), fc.string(), (a, b, c) => {
    assertEquals(editDistance(a, b), editDistance(b, a));
    assertEquals(editDistance(a, a), 0);
    assert(editDistance(a, c) <= editDistance(a, b) + editDistance(b, c));
  }));
});

Deno.test("parse-args: strings, booleans, lists, aliases and the rest", () => {
  const parsed = parseArgs([
    "--n",
    "4",
    "--v",
    "in.txt",
    "--tag=a",
    "--tag",
    "b",
    "--no-color",
    "-o",
    "x",
    "--",
    "--n",
    "12",
  ], {
    string: ["n", "tag", "out"],
    boolean: ["v", "color", "quiet"],
    negatable: ["color"],
    collect: ["tag"],
    alias: { out: "o" },
    default: { color: true, m: "dflt" },
  });
  assertEquals({ ...parsed }, {
    n: "4",
    v: true,
    tag: ["a", "b"],
    color: false,
    out: "x",
    o: "x",
    quiet: false,
    m: "dflt",
    _: ["in.txt", "--n", 12],
  });
});
