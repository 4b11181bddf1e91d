/** The study: its arithmetic, the rows that it tunes on, its records; and bases of other sizes. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { longTaskRows, type TaskRow, taskRows } from "../examples/corpus.ts";
import { parseStudy, runOptions } from "../examples/study/options.ts";
import { markdownOf, replaceSection, tableOf } from "../examples/study/report.ts";
import type { RunRecord } from "../examples/study/runs.ts";
import { statOf, stepsTo, stepTime, summarise, trailingMean } from "../examples/study/summary.ts";
import { choose, nextRates, writeTaskRows, writeTuneRows } from "../examples/study/tune.ts";
import { loadCheckpoint, loadTokenizer, UserError, weightShapes } from "../train/mod.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");

async function program(
  script: string,
  args: readonly string[],
): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `${root}/examples/${script}`, ...args],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code, out: decode(stdout), err: decode(stderr) };
}

const SIZES = ["--layers", "1", "--hidden", "32", "--heads", "2", "--kv-heads", "1"];
const PRETRAIN = [...SIZES, "--batch", "4", "--seq", "32", "--device", "cpu", "--lr", "1e-2"];

let small: Promise<string> | null = null;

/** A base of one layer, pretrained for thirty steps when it is first asked for. */
function smallBase(): Promise<string> {
  return small ??= (async () => {
    const out = await Deno.makeTempDir();
    const run = await program("pretrain.ts", [...PRETRAIN, "--out", out, "--steps", "30"]);
    assertEquals(run.code, 0, run.err);
    return out;
  })();
}

Deno.test.afterAll(async () => {
  if (small) await Deno.remove(await small, { recursive: true });
});

Deno.test("statistics: mean, sample deviation, trailing means", () => {
  assertEquals(statOf([2, 4, 6]), { mean: 4, sd: 2, low: 2, high: 6, n: 3 });
  assertEquals(statOf([5])!.sd, 0);
  assertEquals(statOf([]), null);
  assertEquals(trailingMean([4, 2, 3, 7], 2), [4, 3, 2.5, 5]);
});

Deno.test("the time of a step leaves out what was compiled on the way", () => {
  const steady = Array.from({ length: 41 }, (_, i) => 0.1 * i);
  assert(Math.abs(stepTime(steady)! - 0.1) < 1e-9);
  // Five seconds at step 10, for a batch of a new shape.
  assert(Math.abs(stepTime(steady.map((s, i) => i >= 10 ? s + 5 : s))! - 0.1) < 1e-9);
  assert(Math.abs(stepTime([0, 0.2, 0.4])! - 0.2) < 1e-9);
  assertEquals(stepTime([0]), null);
});

Deno.test("steps to a loss: the first whole window at or below it", () => {
  const losses = Array.from({ length: 20 }, (_, i) => 20 - i);
  // Windows of two: after step k the mean is 21.5 − k.
  assertEquals(stepsTo(losses, 10), 12);
  assertEquals(stepsTo(losses, 20), 2);
  assertEquals(stepsTo(losses, 1), null);
});

const BYTES = { weights: 0, trained: 4, optimiser: 8, temporaries: 88, total: 100 };

function record(losses: readonly number[], perStep: number, exact: number | null): RunRecord {
  const result = exact === null ? null : {
    ...{ method: "", device: "cpu" as const, adapter_name: "CPU", steps: losses.length, out: "" },
    ...{ loss_before: losses[0]!, loss_after: losses.at(-1)!, eval_before: 3, eval_after: losses.at(-1)! },
    ...{
      exact_before: 0,
      exact_after: exact,
      tokens_per_s: 1,
      peak_bytes: 300,
      step_bytes: BYTES,
      trainable: 7,
    },
  };
  return {
    settings: { lr: 0.01, orthogonalLr: 0.02 },
    result,
    losses,
    seconds: losses.map((_, i) => i * perStep),
    wall: 9,
  };
}

Deno.test("a summary compares with full fine-tuning of the same seed, and leaves failed runs out of means", () => {
  const falling = (to: number): number[] => Array.from({ length: 10 }, (_, i) => to + 9 - i);
  const [full, lora] = summarise([
    { method: "full", seed: 0, record: record(falling(1), 2, 0.5) },
    { method: "full", seed: 1, record: record(falling(2), 2, 0.7) },
    { method: "lora", seed: 0, record: record(falling(0), 1, 0.6) },
    { method: "lora", seed: 1, record: record(falling(3), 1, 0.6) },
    { method: "lora", seed: 2, record: record([5, NaN], 1, null) },
  ]);
  assertEquals(full!.reach, {
    ...{ reached: 2, of: 2 },
    steps: { mean: 10, sd: 0, low: 10, high: 10, n: 2 },
    seconds: { mean: 20, sd: 0, low: 20, high: 20, n: 2 },
    ratio: { mean: 1, sd: 0, low: 1, high: 1, n: 2 },
  });
  // lora passes 1 at step 9 with seed 0 and never comes down to 2 with seed 1; full never ran with seed 2.
  assertEquals([lora!.reach!.reached, lora!.reach!.of, lora!.reach!.seconds!.mean], [1, 2, 9]);
  assertEquals([lora!.failed, lora!.exact!.n, lora!.curve.length], [[2], 2, 10]);
  assertEquals(lora!.curve[0], { x: 1, mean: 10.5, low: 9, high: 12 });
  const [, , row] = tableOf([full!, lora!]);
  const [steps, relative, reached, after] = [row![5], row![6], row![7], row![10]];
  assertEquals([steps, relative, reached, after], ["1000 ± 0", "0.50×", "1 of 2", "0.45×"]);
  const terms = {
    ...{ model: "m", parameters: 9, layers: 1, hidden: 2, task: "t", rows: "r", device: "CPU", steps: 10 },
    ...{ batch: 1, seq: 8, seeds: [0, 1, 2], givenRates: [], tuned: [], missing: ["boft (seed 0)"] },
  };
  const text = markdownOf([full!, lora!], terms);
  assertStringIncludes(
    text,
    "Gave up because gradients were not finite, left out of the means: lora (seed 2).",
  );
  assertStringIncludes(text, "Not run yet: boft (seed 0).");
});

Deno.test("a rate is chosen by held-out loss; the edge and divergence are told", () => {
  const tried = [{ lr: 2, loss: 0.3 }, { lr: 1, loss: 0.5 }, { lr: 4, loss: null }];
  assertEquals([choose("lora", tried).chosen, choose("lora", tried).atEdge], [2, false]);
  assertEquals(choose("lora", tried.slice(0, 2)).atEdge, true);
  assertThrows(() => choose("lora", [{ lr: 1, loss: null }]), UserError, "finite");
});

Deno.test("more rates are tried while the best is at an edge, three at most", () => {
  const trials = (...losses: (number | null)[]) => losses.map((loss, i) => ({ lr: 2 ** i, loss }));
  assertEquals(nextRates(0.01, [0.5, 1, 2], []), [0.005, 0.01, 0.02]);
  assertEquals(nextRates(1, [1, 2, 4], trials(3, 2, 1)), [8]);
  assertEquals(nextRates(1, [1, 2, 4], trials(1, 2, 3)), [0.5]);
  assertEquals(nextRates(1, [1, 2, 4], trials(3, 1, 2)), []);
  assertEquals(nextRates(1, [1, 2, 4], trials(3, 2, null)), []);
  assertEquals(nextRates(1, [1, 2, 4], trials(null, null, null)), [0.25]);
  assertEquals(nextRates(1, [1, 2, 4], trials(6, 5, 4, 3, 2, 1)), []);
  assertEquals(nextRates(1, [1], trials(1)), []);
});

Deno.test("rows to tune on share no question with the study, and no problem with its held-out rows", () => {
  const out = Deno.makeTempDirSync();
  try {
    for (const [task, make] of [["two-step", taskRows], ["long", longTaskRows]] as const) {
      const study = parseStudy(["--task", task, "--out", `${out}/${task}`], root);
      writeTaskRows(study);
      const rows = (file: string): TaskRow[] =>
        Deno.readTextFileSync(file).trimEnd().split("\n").map((line) => JSON.parse(line));
      const files = writeTuneRows(study);
      const [train, held] = [rows(files.data), rows(files.eval)];
      assertEquals([train.length, held.length], [4000, 200]);
      const questions = new Set([...rows(study.data), ...rows(study.eval)].map((r) => r.question));
      const problems = new Set(train.map((r) => r.answer));
      for (const row of [...train, ...held]) assert(!questions.has(row.question), row.question);
      for (const row of held) assert(!problems.has(row.answer), row.answer);
      // The generator's two parts never share a problem; the study's held-out rows are of the other part.
      assertEquals(rows(study.eval), make("eval", 1, 200));
    }
  } finally {
    Deno.removeSync(out, { recursive: true });
  }
});

Deno.test("the flags of a study: passed on, checked, and refused in one line", () => {
  const study = parseStudy([
    "--methods",
    "lora,boft",
    "--steps",
    "7",
    "--lr",
    "lora=0.5,boft=0.5/2",
    "--",
    "--rank",
    "3",
  ], root);
  const options = runOptions(study, root, {
    method: "lora",
    seed: 4,
    out: "x",
    rates: study.rates.get("lora"),
  });
  assertEquals([options.steps, options.rank, options.seed, options.lr], [7, 3, 4, 0.5]);
  const boft = runOptions(study, root, { method: "boft", seed: 4, out: "x", rates: study.rates.get("boft") });
  assertEquals([boft.lr, boft.orthogonalLr], [0.5, 2]);
  const refused: readonly [readonly string[], string][] = [
    [["--stepz", "3"], "--stepz"],
    [["--task", "hard"], "two-step or long"],
    [["--data", "a.jsonl"], "--eval"],
    [["--lr", "lora"], "method=rate"],
    [["--lr", "lora=1/x"], "method=rate"],
    [["--tune-orthogonal", "1,2"], "--tune"],
    [["--lr", "boft=1", "--methods", "lora"], "boft"],
    [["--seeds", "a"], "--seeds"],
    [["--methods", ","], "--methods"],
    [["--page", "x.md"], "FILE#NAME"],
  ];
  for (const [args, expected] of refused) assertThrows(() => parseStudy(args, root), UserError, expected);
  assertThrows(
    () => runOptions(parseStudy([], root), root, { method: "lorra", seed: 0, out: "x" }),
    UserError,
    "did you mean lora?",
  );
});

Deno.test("a section of a page is replaced, and only that", () => {
  const page = "# A\n\n<!-- study one -->\n\nold\n\n<!-- end -->\n\nkept\n";
  const once = replaceSection(page, "one", "| new |\n");
  assertEquals(once, "# A\n\n<!-- study one -->\n\n| new |\n\n<!-- end -->\n\nkept\n");
  assertEquals(replaceSection(once, "one", "| new |\n"), once);
  assertThrows(() => replaceSection(page, "two", ""), UserError, "<!-- study two -->");
});

Deno.test("a study runs each method with each seed once, goes on where it was, and refuses other settings", async () => {
  const dir = await Deno.makeTempDir(), out = `${dir}/study`;
  try {
    const rows = taskRows("train", 5, 12).map((row) => JSON.stringify(row));
    await Deno.writeTextFile(`${dir}/train.jsonl`, rows.slice(0, 10).join("\n"));
    await Deno.writeTextFile(`${dir}/eval.jsonl`, rows.slice(10).join("\n"));
    const model = await smallBase();
    const args = (steps: number): string[] => [
      ...["--data", `${dir}/train.jsonl`, "--eval", `${dir}/eval.jsonl`, "--methods", "full,hybrid"],
      ...["--seeds", "0,1", "--steps", String(steps), "--batch", "2", "--seq", "80", "--device", "cpu"],
      ...["--out", out, "--model", model],
    ];
    const first = await program("study.ts", args(3));
    assertEquals(first.code, 0, first.err);
    const names = (path: string): string[] => [...Deno.readDirSync(path)].map((entry) => entry.name).sort();
    const files = ["full-0.json", "full-1.json", "hybrid-0.json", "hybrid-1.json"];
    assertEquals(names(`${out}/runs`), files);
    assertEquals(names(out), [
      ...["exact_match.svg", "lambda-hybrid.svg", "loss.svg", "memory.svg", "runs", "step_time.svg"],
      ...["study.json", "study.md"],
    ]);
    const read = (name: string): string => Deno.readTextFileSync(`${out}/runs/${name}`);
    const record = JSON.parse(read("hybrid-1.json")) as RunRecord;
    assertEquals([record.losses.length, record.seconds.length, record.settings.seed], [3, 3, 1]);
    assert(record.result!.step_bytes!.total < record.result!.peak_bytes);
    assert(/^full .* 2 of 2 /m.test(first.out) && /^hybrid .* [012] of 2 /m.test(first.out), first.out);
    const page = Deno.readTextFileSync(`${out}/study.md`);
    for (const method of ["full", "hybrid"]) assert(page.includes(`\n| ${method} `), page);

    // One run was never finished: what it left is swept away, and it alone is made again.
    const kept = files.map(read);
    Deno.removeSync(`${out}/runs/full-1.json`);
    const left = `${out}/work`;
    Deno.mkdirSync(`${left}/adapter`, { recursive: true });
    Deno.writeTextFileSync(`${left}/adapter/adapter.safetensors`, "half a run");
    const second = await program("study.ts", args(3));
    assertEquals(second.code, 0, second.err);
    const made = second.err.split("\n").filter((line) => /^runs\//.test(line));
    assertEquals(made, ["runs/full-1: full, seed 1, learning rate 0.0005"]);
    for (const i of [0, 2, 3]) assertEquals(read(files[i]!), kept[i]);
    assertEquals(JSON.parse(read(files[1]!)).losses, JSON.parse(kept[1]!).losses);

    Deno.removeSync(`${out}/runs/hybrid-1.json`);
    Deno.writeTextFileSync(`${dir}/page.md`, "# A\n\n<!-- study small -->\n\n<!-- end -->\n\nkept\n");
    const late = await program("study.ts", [...args(3), "--minutes", "0", "--page", `${dir}/page.md#small`]);
    assertEquals(late.code, 0, late.err);
    assertStringIncludes(late.err, "not run yet: hybrid (seed 1)");
    const text = Deno.readTextFileSync(`${dir}/page.md`);
    assertStringIncludes(text, "Not run yet: hybrid (seed 1).");
    assert(text.startsWith("# A\n") && text.endsWith("\nkept\n"), text);
    const formatted = await new Deno.Command(Deno.execPath(), {
      args: ["fmt", "--check", "--config", `${root}/deno.json`, `${dir}/page.md`],
    }).output();
    assert(formatted.success, `the formatter would change the page:\n${text}`);

    const other = await program("study.ts", args(4));
    assertEquals(other.code, 2);
    assertStringIncludes(other.err, "full-0.json is of a study with steps 3, not 4");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("a study and a run leave directories with files of others alone", async () => {
  const dir = await Deno.makeTempDir(), out = `${dir}/mine`, work = `${out}/work`;
  try {
    Deno.mkdirSync(work, { recursive: true });
    Deno.writeTextFileSync(`${work}/thesis.txt`, "mine");
    const study = await program("study.ts", ["--out", out, "--methods", "lora"]);
    assertEquals([study.code, study.err.trim()], [
      2,
      `--out ${out}: ${work} is there, and not of a study; give a new or empty directory.`,
    ]);
    // What an interrupted study leaves before its first record.
    Deno.writeTextFileSync(`${work}/metrics.jsonl`, "");
    const late = await program("study.ts", ["--out", out, "--methods", "lora", "--minutes", "0"]);
    assertEquals(late.code, 0, late.err);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("a run whose gradients are not finite is recorded as such and not repeated", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const rows = taskRows("train", 5, 12).map((row) => JSON.stringify(row));
    await Deno.writeTextFile(`${dir}/rows.jsonl`, rows.join("\n"));
    const args = [
      ...["--data", `${dir}/rows.jsonl`, "--eval", `${dir}/rows.jsonl`, "--methods", "full", "--seeds", "0"],
      ...["--steps", "24", "--batch", "1", "--seq", "80", "--device", "cpu", "--out", `${dir}/study`],
      ...["--model", await smallBase(), "--lr", "full=1e30", "--", "--warmup", "0"],
    ];
    for (const made of [1, 0]) {
      const run = await program("study.ts", args);
      assertEquals(run.code, 0, run.err);
      assertEquals(run.err.split("\n").filter((line) => /^runs\//.test(line)).length, made);
    }
    const record = JSON.parse(Deno.readTextFileSync(`${dir}/study/runs/full-0.json`)) as RunRecord;
    assertEquals([record.result, record.losses.length], [null, 24]);
    assertStringIncludes(
      Deno.readTextFileSync(`${dir}/study/study.md`),
      "left out of the means: full (seed 0)",
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("a base of another size is pretrained into a directory that loads, by steps or by the clock", async () => {
  const out = await smallBase();
  const { config, weights } = loadCheckpoint(out, { dtype: "f32", shapes: weightShapes });
  assertEquals([config.layers, config.hiddenSize, config.kvHeads, config.vocabSize], [1, 32, 1, 512]);
  assertEquals(weights.size, weightShapes(config).size);
  assertEquals(loadTokenizer(out).vocabSize, 512);
  const log = (
    dir: string,
  ): { readonly parameters: number; readonly loss: number; readonly steps: number }[] =>
    Deno.readTextFileSync(`${dir}/pretrain.jsonl`).trimEnd().split("\n").map((line) => JSON.parse(line));
  const lines = log(out);
  // Embedding, q and o, k and v, three matrices of the MLP, three norms.
  const parameters = 512 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 128 * 32 + 3 * 32;
  assertEquals([lines[0]!.parameters, lines.at(-1)!.steps], [parameters, 30]);
  assert(lines.at(-2)!.loss < lines[1]!.loss - 0.5, `losses ${lines.map((l) => l.loss).join(" ")}`);

  const other = await Deno.makeTempDir();
  try {
    const timed = await program("pretrain.ts", [...PRETRAIN, "--out", other, "--seconds", "1"]);
    assertEquals(timed.code, 0, timed.err);
    // Without the clock it would be a million.
    const { steps } = log(other).at(-1)!;
    assert(steps > 1 && steps < 1e5, `${steps} steps`);
    const wrong = await program("pretrain.ts", [...PRETRAIN, "--out", other, "--heads", "5"]);
    const message = "--heads 5: --hidden 32 has no 5 equal parts of even size.";
    assertEquals([wrong.code, wrong.err.trim()], [2, message]);
  } finally {
    await Deno.remove(other, { recursive: true });
  }
});
