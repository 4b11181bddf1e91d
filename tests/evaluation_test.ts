/** Likelihoods, perplexity and GSM8K, and `evaluate.ts` from the outside. @module */
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { openCpu } from "../core/cpu/mod.ts";
import { aval, planBytes } from "../core/mod.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import type { Example } from "../train/data.ts";
import { DataError, OptionError } from "../train/errors.ts";
import { sampleOf } from "../train/exact_match.ts";
import { prepareGsm8k, solvedRows } from "../train/evaluation/gsm8k.ts";
import { GLUE_TASKS } from "../train/evaluation/glue_tasks.ts";
import { parseCompletions, parseProblems } from "../train/evaluation/humaneval_files.ts";
import { labelledRows } from "../train/evaluation/labelled_rows.ts";
import { parseAnswers, parseQuestions } from "../train/evaluation/mtbench_files.ts";
import { EVALUATE_FLAGS } from "../train/evaluation/flags.ts";
import { evaluateHelp, parseEvaluateFlags } from "../train/evaluation/options.ts";
import { preparePerplexity, windowsOf } from "../train/evaluation/perplexity.ts";
import type { Evaluation } from "../train/evaluation/run.ts";
import { continuationOf, logLikelihoods } from "../train/evaluation/score.ts";
import type { Examinee } from "../train/evaluation/task.ts";
import { openModel } from "../train/open_model.ts";
import { flagName } from "../train/parse_flags.ts";
import { tablesOf, weightShapes } from "../train/decoder.ts";
import { runnerOf } from "../train/runner.ts";
import type { HostTensor } from "../train/training.ts";
import { bindModel, firstPositions } from "../train/bind_model.ts";
import { rowLosses } from "../train/language_loss.ts";
import { openExamined, root, runProgramFile, sharedData } from "./evaluation_examinee.ts";

const BASE = `${root}examples/base`;

/** Log-likelihood of the trained tokens from the logits of the whole sequence, in float64. */
async function likelihoodByLogits(
  { session, vocabSize }: Pick<Examinee, "session"> & { readonly vocabSize: number },
  { ids, trained }: Example,
): Promise<number> {
  const logits = await session.logits(ids);
  let total = 0;
  for (let t = 1; t < ids.length; t++) {
    if (!trained[t]) continue;
    const row = [...logits.subarray((t - 1) * vocabSize, t * vocabSize)], most = Math.max(...row);
    total += row[ids[t]!]! - most - Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0));
  }
  return total;
}

Deno.test("evaluation: log-likelihoods are those of the logits, whatever is computed together", async () => {
  const examinee = await openExamined(BASE, 64);
  try {
    const examples = [
      "Tom has 38 balls.",
      "2+2=4\n#### 4",
      "Lily",
      "A much longer text, of more tokens than the others.",
    ]
      .map((text): Example => {
        const ids = examinee.tokenizer.encode(text);
        return { ids, trained: ids.map((_, i) => i % 3 !== 2), promptLength: 1, prompt: "" };
      });
    const expected: number[] = [];
    for (const example of examples) expected.push(await likelihoodByLogits(examinee, example));
    for (const batch of [1, 3, 8]) {
      const found = await logLikelihoods(examinee, examples, batch);
      found.forEach((value, i) => assertAlmostEquals(value, expected[i]!, 1e-4 * Math.abs(expected[i]!)));
    }
  } finally {
    await examinee.close();
  }
});

Deno.test("evaluation: rows lose the same however many logits there may be at a time, and need less memory", async () => {
  const { config, weights } = loadCheckpoint(BASE, { dtype: "f32", shapes: weightShapes });
  const rows = 3, t = 64;
  const host = new Map<string, HostTensor>([...weights, ...tablesOf(config, t)]);
  const at = aval([rows, t], "i32");
  const ids = Int32Array.from({ length: rows * t }, (_, i) => i * 37 % 500);
  const labels = ids.map((id, i) => i % 5 === 0 || i < t ? -100 : id * 3 % 500);
  const device = await openCpu({ threads: 1 });
  try {
    const arrays = new Map([...host].map(([name, w]) => [`weights.${name}`, device.upload(w.data, w.aval)]));
    arrays.set("batch.ids", device.upload(ids, at)).set("batch.labels", device.upload(labels, at));
    const avals = {
      weights: Object.fromEntries([...host].map(([name, w]) => [name, w.aval])),
      batch: { ids: at, labels: at },
    };
    const found = await Promise.all([2 ** 27, 2 ** 14, 2 ** 12].map(async (most) => {
      const run = await runnerOf(device, ({ weights, batch }) => {
        const model = bindModel({ config, classes: [] }, weights, new Map(), firstPositions(t));
        return { losses: rowLosses(model, batch, most) };
      }, avals);
      const losses = await device.download(run.run(arrays).get("losses")!);
      return { losses: [...losses], bytes: planBytes(run.compiled.plan).temporaries };
    }));
    const [whole, parts, small] = found as [typeof found[0], typeof found[0], typeof found[0]];
    assertEquals(whole!.losses[0], 0);
    assert(whole!.losses[1]! > 100);
    assertEquals([parts!.losses, small!.losses], [whole!.losses, whole!.losses]);
    assert(parts!.bytes < whole!.bytes && small!.bytes < whole!.bytes);
  } finally {
    await device.close();
  }
});

Deno.test("evaluation: rows of every family lose together what transformers computed", async () => {
  const device = await openCpu({ threads: 1 });
  try {
    for (const { name } of Deno.readDirSync(`${root}tests/fixtures/models`)) {
      const dir = `${root}tests/fixtures/models/${name}`;
      const { rows, length, ids, labels, loss } = JSON.parse(
        Deno.readTextFileSync(`${dir}/expected.json`),
      ) as {
        readonly rows: number;
        readonly length: number;
        readonly ids: number[];
        readonly labels: number[];
        readonly loss: number;
      };
      const checkpoint = loadCheckpoint(dir, { dtype: "f32", shapes: weightShapes });
      const session = await openModel(device, checkpoint, { adapter: null, seed: 0, maxLength: length });
      const found = await session.rowLosses({
        ids: Int32Array.from(ids),
        labels: Int32Array.from(labels),
        rows,
        length,
      });
      const tokens = labels.filter((label) => label >= 0).length;
      assertAlmostEquals(found.reduce((a, b) => a + b) / tokens, loss, 2e-5, name);
    }
  } finally {
    await device.close();
  }
});

for (const name of ["stories260K", "aidreams260K"]) {
  const dir = sharedData(`models/${name}`);
  Deno.test(
    { name: `evaluation: mean losses of ${name} are those of its reference`, ignore: dir === null },
    async () => {
      const { cases } = JSON.parse(Deno.readTextFileSync(`${dir}/reference.json`)) as {
        readonly cases: readonly { readonly input_ids: number[]; readonly prompt_mean_nll: number | null }[];
      };
      const examinee = await openExamined(dir!, 128);
      try {
        const asked = cases.filter((c) => c.prompt_mean_nll !== null && c.input_ids.length > 1);
        assert(asked.length > 0);
        const examples = asked.map(({ input_ids: ids }): Example => ({
          ids,
          trained: ids.map((_, i) => i > 0),
          promptLength: 1,
          prompt: "",
        }));
        const found = await logLikelihoods(examinee, examples, 4);
        asked.forEach(({ input_ids, prompt_mean_nll }, i) =>
          assertAlmostEquals(-found[i]! / (input_ids.length - 1), prompt_mean_nll!, 2e-6)
        );
      } finally {
        await examinee.close();
      }
    },
  );
}

Deno.test("evaluation: windows count each token once, in the context that they promise", () => {
  const sizes = fc.record({
    length: fc.integer({ min: 1, max: 60 }),
    seq: fc.integer({ min: 1, max: 20 }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  fc.assert(fc.property(sizes, ({ length, seq, share }) => {
    const stride = Math.max(1, Math.round(share * seq));
    const ids = Array.from({ length }, (_, i) => i);
    const windows = windowsOf({ ids, trained: ids.map((i) => i > 0), promptLength: 1, prompt: "" }, {
      seq,
      stride,
    });
    const counted: number[] = [];
    windows.forEach((w, k) => {
      assert(w.ids.length <= seq + 1 && w.ids.length === w.trained.length);
      w.trained.forEach((t, at) => {
        if (!t) return;
        counted.push(w.ids[at]!);
        assert(at > 0 && (k === 0 || at >= seq - stride + 1));
      });
    });
    assertEquals(counted, ids.slice(1));
  }));
});

Deno.test("evaluation: rows of a parquet file are measured as those of JSON lines", async () => {
  const dir = await Deno.makeTempDir(), examinee = await openExamined(BASE, 64);
  try {
    const rows = Array.from(
      { length: 30 },
      (_, i) => ({ question: `What is ${i} + ${i}?`, answer: `${2 * i}` }),
    );
    Deno.writeTextFileSync(`${dir}/rows.jsonl`, rows.map((row) => JSON.stringify(row)).join("\n"));
    const packed = new URL("fixtures/parquet/zstd.parquet", import.meta.url).pathname;
    const of = async (file: string) => {
      const asked = { files: [file], format: "auto", limit: 20, stride: null, batch: 8 } as const;
      return (await (await preparePerplexity(asked)).run(examinee, () => {})).metrics;
    };
    assertEquals(await of(packed), await of(`${dir}/rows.jsonl`));
  } finally {
    await examinee.close();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("evaluation: perplexity weighs tokens, not rows", async () => {
  const dir = await Deno.makeTempDir(), examinee = await openExamined(BASE, 32);
  try {
    const texts = [
      "Tom",
      "Tom has 38 balls. Finn has 19 fewer balls than Tom. How many balls do they have in all? ".repeat(3),
    ];
    Deno.writeTextFileSync(`${dir}/rows.jsonl`, texts.map((text) => JSON.stringify({ text })).join("\n"));
    const prepared = (stride: number | null) =>
      preparePerplexity({ files: [`${dir}/rows.jsonl`], format: "auto", limit: Infinity, stride, batch: 2 });
    const { metrics, items } = await (await prepared(null)).run(examinee, () => {});
    const rows = items as readonly { readonly loss: number; readonly tokens: number }[];
    const lengths = texts.map((text) => examinee.tokenizer.encode(text).length);
    assertEquals(rows.map((r) => r.tokens), lengths);
    const loss = (rows[0]!.loss + rows[1]!.loss) / (lengths[0]! + lengths[1]!);
    assertAlmostEquals(metrics["perplexity"]!, Math.exp(loss), 1e-6 * Math.exp(loss));
    assertAlmostEquals(
      metrics["bits_per_byte"]!,
      (rows[0]!.loss + rows[1]!.loss) / Math.LN2 / texts.join("").length,
      1e-9,
    );
    // The first token of the first row is given; windows of 32 leave each later token at least 24 before it.
    const overlapping = await (await prepared(8)).run(examinee, () => {});
    assertEquals(overlapping.metrics["tokens"], metrics["tokens"]);
    assert(overlapping.metrics["windows"]! > metrics["windows"]!);
    assert(overlapping.metrics["loss"] !== metrics["loss"]);
  } finally {
    await examinee.close();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("evaluation: a prompt too long loses its beginning, never the continuation", async () => {
  const { tokenizer, close } = await openExamined(BASE, 8);
  try {
    const asked = { prompt: "Tom has 38 balls and Finn has none:", completion: " yes", where: "here" };
    const whole = continuationOf(tokenizer, asked, 64), short = continuationOf(tokenizer, asked, 8);
    const counted = ({ example }: typeof whole) => example.ids.filter((_, i) => example.trained[i]);
    assertEquals([whole.cut, short.cut, short.example.ids.length], [false, true, 9]);
    assertEquals(tokenizer.decode(counted(whole)).trim(), "yes");
    assertEquals(counted(short), counted(whole));
    assertEquals(short.example.ids[0], whole.example.ids[0]);
    assertEquals(short.example.ids.slice(-3), whole.example.ids.slice(-3));
    assertThrows(() => continuationOf(tokenizer, asked, 2), DataError, "here");
    assertThrows(() => continuationOf(tokenizer, { ...asked, completion: "" }, 64), DataError, "takes 0 of");
  } finally {
    await close();
  }
});

Deno.test("evaluation: an answer is right by the number after its last ####", () => {
  const judged = (generated: string, expected: string) => sampleOf("", generated, expected).correct;
  assert(judged("2*3=6\n#### 6", "6") && judged("#### 5\n#### $1,234.00 \nmore", "1234"));
  assert(!judged("the answer is 6", "6") && !judged("#### 61", "6") && !judged("####", "6"));
});

Deno.test("evaluation: GSM8K asks what generate.ts answers, and writes each row", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const data = `${root}examples/data/eval.jsonl`;
    const [done, generated] = await Promise.all([
      runProgramFile(
        "evaluate.ts",
        "--task",
        "gsm8k",
        "--data",
        data,
        "--limit",
        "3",
        "--max-new",
        "24",
        "--json",
        "--out",
        `${dir}/rows`,
      ),
      runProgramFile("generate.ts", "--prompts", data, "--max-new", "24", "--json"),
    ]);
    assertEquals(done.code, 0, done.err);
    const { metrics, limit, model } = JSON.parse(done.out) as Evaluation;
    assertEquals([metrics["rows"], limit, model], [3, 3, BASE]);
    const lines = (text: string) =>
      text.trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
    const rows = lines(Deno.readTextFileSync(`${dir}/rows`));
    assertEquals(rows.map((r) => r["generated"]), lines(generated.out).slice(0, 3).map((r) => r["text"]));
    assertEquals(rows.filter((r) => r["correct"]).length, metrics["correct"]);
    assertEquals(rows[0]!["expected"], "57");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("evaluation: solved questions stand before each one, and an answer ends at an empty line", async () => {
  const examinee = await openExamined(BASE, 256);
  const data = `${root}examples/data/eval.jsonl`;
  try {
    const shots = await solvedRows(data, 2), settings = { maxNew: 24, stop: [], batch: 2, sampling: null };
    const asked = { files: [data], limit: 3, shots, settings };
    const { items } = await (await prepareGsm8k({ ...asked, chat: false })).run(examinee, () => {});
    const rows = items as readonly { readonly prompt: string; readonly generated: string }[];
    const [one, two] = shots.map((s) => `${s.question}${s.answer}\n\n`);
    assertEquals(rows[2]!.prompt, `${one}${two}${(await solvedRows(data, 3))[2]!.question}`);
    assert(rows.every((r) => !r.generated.includes("\n\n")));
    const chat = await (await prepareGsm8k({ ...asked, chat: true })).run(examinee, () => {});
    const prompt = (chat.items[2] as { readonly prompt: string }).prompt;
    assertEquals(prompt.split("assistant:").length, 4);
    assert(prompt.trimEnd().endsWith("assistant:"), prompt);
  } finally {
    await examinee.close();
  }
});

Deno.test("evaluation: what is wrong ends with one line and code 2", async () => {
  const data = `${root}examples/data/eval.jsonl`;
  const cases: [string[], string][] = [
    [["--task", "gsm8k", "--data", `${root}nowhere`], "nowhere: not found"],
    [["--task", "gsm8k", "--data", data, "--model", `${root}docs`], "config.json: not found"],
    [["--task", "perplexity", "--data", data, "--seq", "300"], "--seq 300: the model has 256 positions"],
    [["--task", "perplexity", "--data", data, "--adapter", `${root}docs`], "adapter_config.json"],
    [
      ["--task", "gsm8k", "--data", data, "--shots", "300", "--shots-from", data],
      "has 200 rows and --shots 300",
    ],
    [["--task", "perplexity", "--data", data, "--stride", "65", "--seq", "64"], "--stride 65"],
  ];
  await Promise.all(cases.map(async ([args, message]) => {
    const { code, out, err } = await runProgramFile("evaluate.ts", ...args);
    assertEquals([code, out], [2, ""], err);
    assertStringIncludes(err.trim().split("\n").at(-1)!, message);
    assert(!err.includes("    at "), err);
  }));
});

Deno.test("evaluation: whatever a file holds, the outcome is rows or an error of one line that names the file", () => {
  const keys = [
    "task_id",
    "prompt",
    "test",
    "entry_point",
    "completion",
    "question_id",
    "category",
    "turns",
    "choices",
  ];
  const value = fc.oneof(fc.string(), fc.integer(), fc.array(fc.string(), { maxLength: 3 }), fc.jsonValue());
  const row = fc.dictionary(fc.constantFrom(...keys, "sentence1", "sentence2", "label"), value).map((r) =>
    JSON.stringify(r)
  );
  const text = fc.array(fc.oneof({ weight: 4, arbitrary: row }, fc.string(), fc.json()), { maxLength: 4 })
    .map((lines) => lines.join("\n"));
  const readers: readonly ((text: string) => unknown)[] = [
    (t) => parseProblems(t, "f.jsonl"),
    (t) => parseCompletions(t, "f.jsonl", [{ id: "a", prompt: "", test: "", entry: "f" }]),
    (t) => parseQuestions(t, "f.jsonl"),
    (t) => parseAnswers(t, "f.jsonl"),
    (t) => labelledRows(t, "f.jsonl", GLUE_TASKS.rte),
    (t) => labelledRows(t, "f.tsv", GLUE_TASKS.cola),
  ];
  fc.assert(
    fc.property(text, fc.constantFrom(...readers), (text, read) => {
      try {
        read(text);
      } catch (error) {
        assert(error instanceof DataError, String(error));
        assert(error.message.startsWith("f.") && !error.message.includes("\n"), error.message);
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("evaluation: flags that do not go together are refused, and the help names all", () => {
  const parse = (...argv: string[]) => parseEvaluateFlags(argv, { root: "/gyre" });
  assertEquals(parse("--task", "perplexity", "--data", "a", "--data", "b").data, ["a", "b"]);
  const wrong: [string[], string][] = [
    [["--data", "x"], "There is nothing to evaluate: give --task, "],
    [["--task", "gsm8k"], "--task gsm8k needs its data: give --data FILE."],
    [["--task", "gsm8k", "--data", "x", "--shots", "3"], "give --shots-from too."],
    [["--task", "gsm8k", "--data", "x", "--stride", "3"], "--stride says nothing to --task gsm8k"],
    [["--task", "perplexity", "--data", "x", "--chat"], "--chat says nothing to --task perplexity"],
    [["--task", "perplexity", "--data", "x", "--temperature", "1"], "--temperature 1 says nothing"],
    [["--task", "gsm8k", "--data", "x", "--top-p", "0.5"], "--top-p 0.5 changes nothing at --temperature 0"],
  ];
  for (const [argv, message] of wrong) assertThrows(() => parse(...argv), OptionError, message);
  for (const key of Object.keys(EVALUATE_FLAGS)) assertStringIncludes(evaluateHelp(), `--${flagName(key)} `);
});
