/** The comparison of the paper's suites: rows, the order of a seed, results and their tables, what it refuses. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import {
  examplesOf,
  plannedBatches,
  writeEvenRows,
  writeHeldOut,
  writeTaskFiles,
} from "../examples/paper/files.ts";
import { canMake } from "../examples/paper/makers.ts";
import { type PaperOptions, parsePaperFlags, tasksOf } from "../examples/paper/options.ts";
import { choicesOf } from "../examples/paper/prepared.ts";
import { requireFiles } from "../examples/paper/published.ts";
import { chosenRates, ratesOf, triedRates, usualRates } from "../examples/paper/rates.ts";
import {
  addRecord,
  type FailRecord,
  type PaperRecord,
  readRecords,
  recordOf,
  resultsFile,
  type ScoreRecord,
  type TimeRecord,
  type TuneRecord,
} from "../examples/paper/records.ts";
import { spread } from "../examples/paper/spread.ts";
import { paperTable } from "../examples/paper/table.ts";
import { bucketLengths, DataError, METHODS, OptionError, positions, UserError } from "../train/mod.ts";
import { inTempDir } from "./runs.ts";

const fixtures = decodeURIComponent(new URL("fixtures/encoders", import.meta.url).pathname);

function optionsOf(dir: string, ...argv: readonly string[]): PaperOptions {
  return parsePaperFlags([`--model=${dir}/model`, `--data=${dir}/glue`, `--out=${dir}/study`, ...argv]);
}

Deno.test("rows at even distances: the first is among them, none twice, in their order", () => {
  fc.assert(fc.property(fc.nat(50), fc.integer({ min: 1, max: 60 }), (count, most) => {
    const found = spread(Array.from({ length: count }, (_, i) => i), most);
    assertEquals(found.length, Math.min(count, most));
    const gaps = found.slice(1).map((x, i) => x - found[i]!);
    assert(gaps.every((gap) => gap >= 1));
    assert(gaps.length === 0 || Math.max(...gaps) - Math.min(...gaps) <= 1);
    if (found.length > 0) assertEquals(found[0], 0);
  }));
});

Deno.test("parts of files without names, of files with theirs; a seed's batches; rows of one length", async () => {
  await inTempDir(async (dir) => {
    for (const name of ["CoLA", "SST-2"]) Deno.mkdirSync(`${dir}/glue/${name}`, { recursive: true });
    const cola = (from: number, count: number): string =>
      Array.from({ length: count }, (_, i) => `gj04\t${i % 2}\t\tthe cat ${from + i}\n`).join("");
    Deno.writeTextFileSync(`${dir}/glue/CoLA/in_domain_train.tsv`, cola(0, 10));
    Deno.writeTextFileSync(`${dir}/glue/CoLA/in_domain_dev.tsv`, cola(20, 3));
    Deno.writeTextFileSync(`${dir}/glue/CoLA/out_of_domain_dev.tsv`, cola(30, 3));
    const long = "the cat sat on the mat and the cat sat on the mat";
    Deno.writeTextFileSync(`${dir}/glue/SST-2/train.tsv`, `sentence\tlabel\ngood\t1\n${long}\t0\nbad\t0\n`);
    Deno.writeTextFileSync(`${dir}/glue/SST-2/dev.tsv`, "sentence\tlabel\nfine\t1\n");
    Deno.mkdirSync(`${dir}/model`);
    Deno.copyFileSync(`${fixtures}/bert/config.json`, `${dir}/model/config.json`);
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      Deno.copyFileSync(`${fixtures}/bert_tokenizer/${name}`, `${dir}/model/${name}`);
    }
    const options = optionsOf(
      dir,
      ...["--tasks=cola,sst2", "--rows=5", "--eval-rows=4", "--steps=4", "--batch=3", "--seq=24"],
    );
    const [colaTask, sst2] = tasksOf(options) as [never, never];
    const files = await writeTaskFiles(options, colaTask);
    const ends = (file: string): string[] =>
      Deno.readTextFileSync(file).trimEnd().split("\n").map((line) => line.split(" ").at(-1)!);
    assertEquals([ends(files.train), files.dev.flatMap(ends)], [["0", "2", "4", "6", "8"], [
      "20",
      "21",
      "30",
      "31",
    ]]);
    const other = await writeTaskFiles(options, sst2);
    assertStringIncludes(Deno.readTextFileSync(other.train), "sentence\tlabel\ngood\t1\n");
    const examples = await examplesOf(options.model, colaTask, files.train);
    const planned = plannedBatches(examples, { steps: 4, batch: 3, seq: 24 }, 1);
    assertEquals(planned.map(({ rows }) => rows.length), [3, 2, 3, 2]);
    assertEquals([...planned[0]!.rows, ...planned[1]!.rows].sort(), [0, 1, 2, 3, 4]);
    assertEquals(plannedBatches(examples, { steps: 4, batch: 3, seq: 24 }, 1), planned);
    const even = await writeEvenRows(options.model, sst2, other);
    const found = await examplesOf(options.model, sst2, even.file);
    assert(bucketLengths(24).includes(even.length) && found.length > 0);
    assert(
      found.every((e) => bucketLengths(24).find((length) => length >= positions(e)) === even.length),
    );
    const parts = writeHeldOut(colaTask, files);
    assertEquals([ends(parts.train), parts.dev.flatMap(ends)], [["0", "2", "4", "6"], ["8"]]);
    requireFiles(options.data, tasksOf(options));
    const error = assertThrows(() => requireFiles(options.data, tasksOf(optionsOf(dir))), DataError);
    assertStringIncludes(error.message, "has no RTE/train.tsv, RTE/dev.tsv, STS-B/train.tsv");
  });
});

Deno.test("files of parquet stand for those of the same name", async () => {
  const hub = decodeURIComponent(new URL("fixtures/parquet/hub", import.meta.url).pathname);
  await inTempDir(async (dir) => {
    const put = (from: string, to: string): void => {
      Deno.mkdirSync(`${dir}/glue/${to}`.replace(/[^/]*$/, ""), { recursive: true });
      Deno.copyFileSync(`${hub}/${from}.parquet`, `${dir}/glue/${to}.parquet`);
    };
    for (const part of ["train", "dev"]) put("rte", `RTE/${part}`);
    for (const part of ["in_domain_train", "in_domain_dev", "out_of_domain_dev"]) put("cola", `CoLA/${part}`);
    const glue = tasksOf(optionsOf(dir, "--tasks=rte,cola"));
    requireFiles(`${dir}/glue`, glue);
    const made = await Promise.all(glue.map((task) => writeTaskFiles(optionsOf(dir, "--eval-rows=3"), task)));
    assertEquals(
      made.flatMap(({ train, dev }) => [train, ...dev]).map((file) => Deno.readTextFileSync(file)),
      [
        "sentence1\tsentence2\tlabel\nIt is a fine day.\tThe sea is calm.\tnot_entailment\n" +
        "The rain has stopped.\tThe rain has stopped.\tentailment\n",
        "sentence1\tsentence2\tlabel\nIt is a fine day.\tThe sea is calm.\tnot_entailment\n" +
        "The rain has stopped.\tThe rain has stopped.\tentailment\n",
        "\t1\t\tIt is a fine day.\n\t0\t\tRain the stopped has.\n",
        "\t1\t\tIt is a fine day.\n\t0\t\tRain the stopped has.\n\t1\t\tIt is a fine day.\n",
      ],
    );
    for (const part of ["dev-en", "test-en"]) put("mnli", `xnli/${part}`);
    const [xnli] = tasksOf(optionsOf(dir, "--suite=small", "--tasks=xnli")) as [never];
    const texts = await writeTaskFiles(optionsOf(dir, "--suite=small", "--eval-rows=1"), xnli);
    const rows = [texts.train, ...texts.dev].map((file) => Deno.readTextFileSync(file).trimEnd().split("\n"));
    assertEquals([texts.dev[0]!.split("/").at(-1), rows[0]!.length], ["test-en.jsonl", 3]);
    assertEquals(rows[1]!.map((row) => JSON.parse(row)), [
      { premise: "It is a fine day.", hypothesis: "It is a fine day.", label: 0, idx: 0 },
    ]);
  });
});

const SOURCE = { rates: new Map(), tuned: new Map(), model: "/x", root: "/" };

Deno.test("every method has rates; those given win, then those chosen; orthogonal ones leave the head's alone", () => {
  const { rates } = optionsOf("/x", "--rates", "lora=7e-3,boft=2");
  for (const method of METHODS) {
    assert(canMake("Gyre", method));
    for (const kind of ["sentences", "text"] as const) {
      const usual = ratesOf(SOURCE, method, kind);
      assert(usual.lr > 0 && usual.orthogonalLr > 0);
      assertEquals(triedRates(usual, method, [1]), [usual]);
    }
  }
  const tuned = new Map([["sentences lora", { lr: 1, orthogonalLr: 2 }]]);
  assertEquals(ratesOf({ ...SOURCE, tuned }, "lora", "sentences"), { lr: 1, orthogonalLr: 2 });
  assertEquals(ratesOf({ ...SOURCE, tuned, rates }, "lora", "sentences"), { lr: 7e-3, orthogonalLr: 3.5e-3 });
  const boft = usualRates(SOURCE, "boft", "sentences");
  assertEquals(ratesOf({ ...SOURCE, rates }, "boft", "sentences"), { lr: boft.lr, orthogonalLr: 2 });
  assertEquals(triedRates({ lr: 1, orthogonalLr: 4 }, "hybrid", [0.5]), [{ lr: 0.5, orthogonalLr: 2 }]);
  assertEquals(triedRates({ lr: 1, orthogonalLr: 4 }, "hra", [0.5]), [{ lr: 1, orthogonalLr: 2 }]);
  assertEquals([canMake("PEFT", "dora"), canMake("PEFT", "unitary")], [true, false]);
});

Deno.test("the choice of a rate: the least loss over tasks, each as a multiple of its least; what lacks is out", () => {
  const trial = (task: string, lr: number, loss: number | null): TuneRecord => ({
    ...{ kind: "tune", maker: "Gyre", task, method: "lora", seed: 0, rates: { lr, orthogonalLr: lr } },
    ...{ settings: {}, processor: "CPU", loss },
  });
  const choose = (...trials: readonly TuneRecord[]) =>
    chosenRates(trials, () => "sentences").get("sentences lora")?.lr;
  // 1: 1 + 2, 2: 1.5 + 1, 3: 1.1 + null.
  const all = [
    ...[trial("a", 1, 10), trial("a", 2, 15), trial("a", 3, 11)],
    ...[trial("b", 1, 0.2), trial("b", 2, 0.1), trial("b", 3, null)],
  ];
  assertEquals(choose(...all), 2);
  assertEquals(choose(...all.slice(0, 3)), 1);
  assertEquals(choose(trial("a", 1, null)), undefined);
  assertEquals(choose(...all.slice(0, 5)), 2);
});

Deno.test("all runs of a seed come before the next; PEFT is asked for what it has", () => {
  const options = optionsOf("/x", "--methods=lora,unitary", "--seeds=2");
  const tasks = tasksOf(options).slice(0, 2);
  assertEquals(choicesOf(options, tasks, "PEFT").map((c) => `${c.task} ${c.method} ${c.seed}`), [
    "sst2 lora 0",
    "cola lora 0",
    "sst2 lora 1",
    "cola lora 1",
  ]);
  assertEquals(choicesOf(options, tasks, "Gyre").length, 8);
  const texts = tasksOf(optionsOf("/x", "--suite=small"));
  assertEquals([choicesOf(options, texts, "Gyre").length, choicesOf(options, texts, "PEFT").length], [8, 0]);
});

Deno.test("what cannot be is refused", () => {
  for (
    const [flags, says] of [
      [["--tasks=sst2,gsm"], "--tasks has gsm"],
      [["--makers=PEFT"], "--python"],
      [["--timing-steps=3"], "from 12 on"],
      [["--suite=glu"], "did you mean glue?"],
      [["--device=gpuu"], "did you mean gpu?"],
      [["--page=docs/PAPER.md"], "give a file and the name of its section"],
    ] as const
  ) {
    const error = assertThrows(() => optionsOf("/x", ...flags), OptionError);
    assertStringIncludes(error.message, says);
  }
  assertThrows(() => parsePaperFlags([]), OptionError, "Give --model");
});

const SETTINGS = { model: "m 00", rows: 9, evalRows: 4, rank: 8, steps: 3, batch: 2, seq: 24, device: "cpu" };

function score(more: Partial<ScoreRecord>): ScoreRecord {
  return {
    ...{ kind: "score", maker: "Gyre", task: "sst2", method: "lora", seed: 0, settings: SETTINGS },
    ...{ processor: "CPU", metrics: { accuracy: 0.5 }, score: 0.5, trainable: 1234, loss: 1, wall: 2 },
    ...more,
  };
}

function time(more: Partial<TimeRecord>): TimeRecord {
  const settings = { model: "m 00", rank: 8, device: "cpu", task: "sst2", length: 24, batch: 2, steps: 16 };
  return {
    ...{ kind: "time", maker: "Gyre", method: "lora", settings, processor: "CPU" },
    ...{ secondsPerStep: 0.25, deviceBytes: null, processBytes: 3 * 2 ** 20 },
    ...more,
  };
}

function tune(method: TuneRecord["method"]): TuneRecord {
  return {
    ...{ kind: "tune", maker: "Gyre", task: "cola", method, seed: 0, rates: { lr: 1, orthogonalLr: 1 } },
    ...{ settings: SETTINGS, processor: "CPU", loss: 1 },
  };
}

Deno.test("the table: two makers, seeds and tasks that lack, runs that were not finite, ratios to full", () => {
  const rows = paperTable([
    score({ score: 0.8 }),
    score({ score: 0.9, seed: 1 }),
    score({ task: "stsb", score: 0.25 }),
    score({ task: "stsb", score: null, metrics: null, seed: 1 }),
    score({ maker: "PEFT" }),
    time({}),
    time({ method: "full", secondsPerStep: 0.5, processBytes: 2 ** 20 }),
    tune("full"),
  ]).split("\n").filter((line) => line.startsWith("| "));
  assertEquals(rows, [
    "| method | by | trained | SST-2 (accuracy) | STS-B (pearson/spearman) | mean | ms a step | ÷ full | peak MiB | ÷ full |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    "| full | Gyre | – | – | – | – | 500 | 1.00× | 1 | 1.00× |",
    "| lora | Gyre | 1,234 | 85.0 ± 7.1 | 25.0 (1 not finite) | 55.0 | 250 | 0.50× | 3 | 3.00× |",
    "| lora | PEFT | 1,234 | 50.0 (1) | – | – | – | – | – | – |",
  ]);
});

Deno.test("the table says how rates were chosen, and where the choice was at an end of what was tried", () => {
  const rated = (lr: number) => ({ settings: { ...SETTINGS, lr, orthogonalLr: lr / 2 } });
  const trials = [3, 1, 2].map((lr): TuneRecord => ({ ...tune("lora"), ...rated(lr) }));
  const lines = (...records: readonly PaperRecord[]): string => paperTable(records).split("\n").at(-1)!;
  const rates = "Learning rates (of orthogonal parameters after the stroke): lora 2 / 1.";
  const chosen =
    "They were chosen with Gyre among 3 of each method by the loss on a fifth of the rows to learn of CoLA, " +
    "which were held out for that";
  assertEquals(lines(score(rated(2))), rates);
  assertEquals(lines(score(rated(2)), ...trials), `${rates} ${chosen}.`);
  const edge = [score(rated(3)), { ...score(rated(3)), method: "boft" as const }, ...trials];
  assertEquals(
    lines(...edge).split(". ").at(-1),
    `${chosen}; it was the greatest for lora.`,
  );
});

Deno.test("failures are in the table until the run is made, and what was not as it was asked for", () => {
  const failure: FailRecord = {
    ...{ kind: "failed", of: "score", maker: "PEFT", task: "sst2", method: "boft", seed: 1 },
    ...{ settings: SETTINGS, reason: "no\n memory" },
  };
  const time: FailRecord = { ...failure, of: "time", seed: 0 };
  const noted = score({ maker: "PEFT", note: "one factor" });
  const end = paperTable([score({}), noted, noted, failure, failure, time]).split("\n\n").slice(-3);
  assertEquals(end, [
    "PEFT's lora: one factor.",
    "Runs that failed, which the same command tries again:",
    "- PEFT's boft on SST-2, seed 1; time of PEFT's boft: no memory",
  ]);
  const made = score({ maker: "PEFT", method: "boft", seed: 1 });
  assert(!paperTable([score({}), failure, made]).includes("failed"));
  assert(paperTable([score({}), failure, { ...made, seed: 0 }]).includes("failed"));
});

Deno.test("results are there when they are added; a torn line is taken away; those of other settings are refused", async () => {
  await inTempDir((dir) => {
    const records: PaperRecord[] = [score({}), time({}), score({ maker: "PEFT", seed: 2 })];
    for (const record of records) addRecord(dir, record);
    assertEquals(readRecords(dir), records);
    const file = resultsFile(dir, "Gyre"), whole = Deno.readTextFileSync(file);
    const line = JSON.stringify(score({ seed: 1 }));
    for (let cut = 1; cut <= line.length; cut += 37) {
      Deno.writeTextFileSync(file, whole + line.slice(0, cut));
      assertEquals(readRecords(dir), records);
      assertEquals(Deno.readTextFileSync(file), whole);
    }
    addRecord(dir, score({ seed: 1 }));
    assertEquals(readRecords(dir, ["Gyre"]).length, 3);
    const wanted = { kind: "score", maker: "Gyre", method: "lora", seed: 1, task: "sst2" } as const;
    assertEquals(recordOf<ScoreRecord>(records, { ...wanted, settings: SETTINGS }), undefined);
    const first = { ...wanted, seed: 0 };
    assertEquals(recordOf<ScoreRecord>(records, { ...first, settings: SETTINGS }), score({}));
    const error = assertThrows(
      () => recordOf<ScoreRecord>(records, { ...first, settings: { ...SETTINGS, steps: 9 } }),
      UserError,
    );
    assertStringIncludes(error.message, "steps 3, not 9");
    Deno.writeTextFileSync(file, "{\n");
    assertThrows(() => readRecords(dir), UserError, "gyre.jsonl:1: not JSON");
  });
});
