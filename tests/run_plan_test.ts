/** `plan.ts`: the same bytes as a run, sizes of published models, layers that follow from others, messages. @module */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import {
  adamW,
  type HostBatch,
  loadCheckpoint,
  methodClasses,
  openSession,
  OptionError,
  parsePlanCommandLine,
  parsePlanFlags,
  planHelp,
  planRun,
  type RunPlan,
  showRunPlan,
  UserError,
  weightShapes,
} from "../train/mod.ts";
import { inTempDir } from "./runs.ts";
import { bucketLengths } from "../train/batches.ts";
import { MODEL_SHAPES } from "../train/run_plan/shapes.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");
const site = { root, now: new Date() };
const plan = (...argv: string[]): Promise<RunPlan> => planRun(parsePlanFlags(argv, site)!);

Deno.test("plans: published models have as many parameters as is published", () => {
  const parameters = (name: string): number =>
    [...weightShapes(MODEL_SHAPES[name]!).values()].reduce(
      (n, { shape }) => n + shape.reduce((a, b) => a * b, 1),
      0,
    );
  for (
    const [name, expected] of [
      ["SmolLM2-135M", 134_515_008],
      ["Llama-3.2-1B", 1_235_814_400],
      ["Llama-2-7B", 6_738_415_616],
      ["Llama-3.1-8B", 8_030_261_248],
      ["Llama-3.1-70B", 70_553_706_496],
      ["Llama-3.1-405B", 405_853_388_800],
    ] as const
  ) assertEquals(parameters(name), expected, name);
});

const MODELS = [`${root}/examples/base`, `${root}/tests/fixtures/models/qwen3`];

for (const model of MODELS) {
  for (const method of ["full", "lora", "lora-ga", "hra", "hybrid"]) {
    Deno.test(`plans: ${method} on ${model.split("/").at(-1)} needs what is measured: a step, and a whole run with its start, evaluation and answers`, async () => {
      const rows = 8, seq = 64;
      const sizes = `--rank 4 --batch ${rows} --seq ${seq} --device cpu --start-batches 1 --eval-limit 4`
        .split(" ");
      const argv = ["--model", model, "--method", method, ...sizes];
      const { train } = parsePlanFlags(argv, site)!, planned = await plan(...argv);
      const { config, weights } = loadCheckpoint(model, { dtype: "f32", shapes: weightShapes });
      const batchOf = (length: number): HostBatch => {
        const ids = Int32Array.from({ length: rows * length }, (_, i) => 3 + i % 90);
        return { ids, labels: ids, rows, length };
      };
      const device = await openCpu({ threads: 1 });
      try {
        const session = await openSession({
          ...{ device, subject: { config, classes: methodClasses(train, config) }, weights },
          ...{
            optimiser: adamW({ clip: train.clip }),
            accumulate: 1,
            seed: 0,
            maxLength: Math.min(config.maxPositions, 2 * seq),
          },
          startBatches: [batchOf(seq)],
        });
        const peakAfter = async (length: number): Promise<number> => {
          await session.step(batchOf(length), { plain: 1e-3, orthogonal: 1e-3 });
          return device.memory().peakBytes;
        };
        const start = device.memory().peakBytes;
        const one = await peakAfter(seq);
        const { weights: frozen, trained, optimiser, temporaries, total } = planned.step;
        assertEquals(session.stats().step, { weights: frozen, trained, optimiser, temporaries, total });
        const lengths = bucketLengths(seq);
        assertEquals(lengths.length, 4);
        let all = one;
        await session.evaluate(lengths.map(batchOf));
        await session.generate(Array.from({ length: 4 }, () => [3]), seq - 1, 0);
        for (const length of lengths) all = await peakAfter(length);
        const { run } = planned;
        const pairs = [[start, run.start], [Math.max(start, one), Math.max(run.start, total)], [
          all,
          run.peak,
        ]];
        for (const [measured, expected] of pairs as [number, number][]) {
          assert(Math.abs(expected / measured - 1) < 0.1, `planned ${expected}, measured ${measured}`);
        }
      } finally {
        await device.close();
      }
    });
  }
}

Deno.test("plans: many layers follow from few", async () => {
  const dir = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(
      `${dir}/config.json`,
      JSON.stringify({
        ...{
          model_type: "llama",
          vocab_size: 2048,
          hidden_size: 128,
          intermediate_size: 384,
          num_hidden_layers: 34,
        },
        ...{ num_attention_heads: 4, num_key_value_heads: 2, tie_word_embeddings: true },
      }),
    );
    for (
      const [method, device, within] of [["lora", "gpu", 1e-3], ["full", "cpu", 1e-3], [
        "hybrid",
        "gpu",
        0.03,
      ]] as const
    ) {
      const argv = ["--model", dir, "--method", method, "--batch", "4", "--seq", "64", "--device", device];
      const few = await plan(...argv), all = await plan(...argv, "--exact");
      for (const key of ["start", "staying", "steps", "answers", "peak"] as const) {
        const gap = Math.abs(few.run[key] / all.run[key] - 1);
        assert(gap < 0.04, `${method} ${device} ${key}: ${few.run[key]}, ${all.run[key]}`);
      }
      assertEquals([few.planned_layers, all.planned_layers], [[4, 8], null]);
      for (const key of ["weights", "trained", "optimiser", "trainable"] as const) {
        assertEquals(few.step[key], all.step[key], key);
      }
      for (const key of ["temporaries", "total", "seconds", "operations", "traffic", "kernels"] as const) {
        assert(
          Math.abs(few.step[key] / all.step[key] - 1) < within,
          `${method} ${device} ${key}: ${few.step[key]}, ${all.step[key]}`,
        );
      }
      assertAlmostEquals(
        few.step.weights + few.step.trained + few.step.optimiser + few.step.temporaries,
        few.step.total,
        1,
      );
    }
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

Deno.test("plans: what does not fit is said, with what would help", async () => {
  const argv = ["--batch", "32", "--seq", "64", "--method", "full", "--device", "cpu"];
  const large = await plan(...argv), small = await plan(...argv, "--memory", "0.2");
  assert(large.fits && large.problems.length === 0 && large.advice.length === 0);
  assertEquals([small.fits, small.step.total], [false, large.step.total]);
  assert(small.problems[0]!.includes("the device has 204.8 MiB"));
  const fitting = small.advice.filter((a) => a.fits);
  assert(fitting.length > 0);
  for (const { flags, total } of fitting) {
    const changed = await plan(...argv, "--memory", "0.2", ...flags.split(" "));
    assertEquals([changed.fits, changed.run.peak], [true, total], flags);
  }
  const bound = await plan(...argv, "--buffer", "0.001");
  assertStringIncludes(bound.problems[0]!, "a kernel can bind 1.0 MiB");
  const shown = showRunPlan(small);
  for (const says of ["DOES NOT FIT", "each alone would come to", "one step", "optimiser", "fits"]) {
    assertStringIncludes(shown, says);
  }
  // Twice as fast a device takes half the time, but for the starts of kernels.
  const [slow, fast] = await Promise.all(
    [["1", "10"], ["2", "20"]].map(async ([t, b]) =>
      (await plan(...argv, "--tflops", t!, "--bandwidth", b!)).step
    ),
  );
  const starts = 5e-6 * slow!.kernels;
  assertAlmostEquals(slow!.seconds - starts, 2 * (fast!.seconds - starts), 1e-9);
});

Deno.test("plans: a file of flags stands, those of the command line win", () =>
  inTempDir(async (dir) => {
    const file = `${dir}/run.toml`, asked = ["--shape", "Llama-3.1-8B", "--config", file];
    const parse = async (...argv: string[]) => (await parsePlanCommandLine([...asked, ...argv], site))!;
    await assertRejects(() => parse(), OptionError, `${file}: not found`);
    Deno.writeTextFileSync(file, 'method = "lora"\nrank = 4\nbatch = 8\n');
    const { train, shape } = await parse("--batch", "2");
    assertEquals([train.method, train.rank, train.batch, shape], ["lora", 4, 2, "Llama-3.1-8B"]);
    assertEquals((await parse("--compose", "dora")).train.method, "compose");
    assertEquals(await parsePlanCommandLine([...asked, "--help"], site), null);
  }));

Deno.test("plans: flags of train.ts stand beside those of the plan; mistakes are named", async () => {
  const options = parsePlanFlags([
    "--rank",
    "4",
    "--memory=24",
    "--compose",
    "on(attn, lora)",
    "--tflops",
    "80",
  ], site)!;
  assertEquals([options.train.rank, options.train.compose, options.memory], [
    4,
    "on(attn, lora)",
    24 * 2 ** 30,
  ]);
  assertEquals(options.speed.operations, 80e12);
  assertEquals(parsePlanFlags(["--shape", "Llama-3.1-8B", "-h"], site), null);
  for (
    const argv of [["--shape", "Lama"], ["--memory", "-1"], ["--memory"], ["--methd", "lora"], [
      "--batch",
      "3",
      "--accumulate",
      "2",
    ]]
  ) {
    assertThrows(() => parsePlanFlags(argv, site), OptionError);
  }
  await assertRejects(() => plan("--adapter", "runs/a/adapter"), UserError, "--adapter runs/a/adapter");
  await assertRejects(() => plan("--resume"), UserError, "--resume: a plan is of a whole run");
  for (const says of ["--shape NAME", "Llama-3.1-405B", "Examples:"]) assertStringIncludes(planHelp(), says);
});

Deno.test("the program: exit codes tell whether it fits", async () => {
  const run = async (...args: string[]): Promise<[number, string, string]> => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "--allow-read", `${root}/plan.ts`, ...args],
    }).output();
    return [code, new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)];
  };
  const [[fits, out], [unfit, table], [wrong, , message], [odd, , shapes]] = await Promise.all([
    run("--json", "--method", "lora"),
    run("--method", "lora", "--memory", "0.001"),
    run("--model", "/no/such/model"),
    run("--method", "boft", "--block", "6"),
  ]);
  assertEquals([fits, unfit, wrong, odd], [0, 1, 2, 2]);
  assertEquals(JSON.parse(out).fits, true);
  assertStringIncludes(table, "DOES NOT FIT");
  assertEquals(message.trim().split("\n").length, 1, message);
  assertEquals(shapes.trim().split("\n").length, 1, shapes);
});
