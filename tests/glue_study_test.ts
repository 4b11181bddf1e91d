/** The study on GLUE: rows, the order of a seed, its table, and what it refuses. Runs themselves are in glue_train_test. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { plannedBatches, spread, writeTaskFiles } from "../examples/glue/files.ts";
import { type GlueStudy, parseGlueStudy, ratesOf } from "../examples/glue/options.ts";
import { canMake, readRecord, recordFile, type RunRecord, settingsOf } from "../examples/glue/runs.ts";
import { glueTable, meanAndDeviation } from "../examples/glue/table.ts";
import { METHODS, OptionError, UserError } from "../train/mod.ts";

const fixtures = decodeURIComponent(new URL("fixtures/encoders", import.meta.url).pathname);

async function inTempDir(use: (dir: string) => void | Promise<void>): Promise<void> {
  const dir = Deno.makeTempDirSync();
  try {
    await use(dir);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

function studyOf(dir: string, ...argv: readonly string[]): GlueStudy {
  return parseGlueStudy([`--model=${dir}/model`, `--data=${dir}/glue`, `--out=${dir}/study`, ...argv]);
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

Deno.test("parts of CoLA's files without names, of SST-2's with theirs; a seed's batches by number of row", async () => {
  await inTempDir((dir) => {
    for (const name of ["CoLA", "SST-2"]) Deno.mkdirSync(`${dir}/glue/${name}`, { recursive: true });
    const cola = (from: number, count: number): string =>
      Array.from({ length: count }, (_, i) => `gj04\t${i % 2}\t\tthe cat ${from + i}\n`).join("");
    Deno.writeTextFileSync(`${dir}/glue/CoLA/in_domain_train.tsv`, cola(0, 10));
    Deno.writeTextFileSync(`${dir}/glue/CoLA/in_domain_dev.tsv`, cola(20, 3));
    Deno.writeTextFileSync(`${dir}/glue/CoLA/out_of_domain_dev.tsv`, cola(30, 3));
    Deno.writeTextFileSync(`${dir}/glue/SST-2/train.tsv`, "sentence\tlabel\ngood\t1\nbad\t0\n");
    Deno.writeTextFileSync(`${dir}/glue/SST-2/dev.tsv`, "sentence\tlabel\nfine\t1\n");
    Deno.mkdirSync(`${dir}/model`);
    Deno.copyFileSync(`${fixtures}/bert/config.json`, `${dir}/model/config.json`);
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      Deno.copyFileSync(`${fixtures}/bert_tokenizer/${name}`, `${dir}/model/${name}`);
    }
    const study = studyOf(dir, "--rows=5", "--eval-rows=4", "--steps=4", "--batch=3", "--seq=12");
    const files = writeTaskFiles(study, "cola");
    const ends = (file: string): string[] =>
      Deno.readTextFileSync(file).trimEnd().split("\n").map((line) => line.split(" ").at(-1)!);
    assertEquals([ends(files.train), ends(files.dev)], [["0", "2", "4", "6", "8"], ["20", "21", "30", "31"]]);
    assertEquals(
      Deno.readTextFileSync(writeTaskFiles(study, "sst2").train),
      "sentence\tlabel\ngood\t1\nbad\t0\n",
    );
    const planned = plannedBatches(study, "cola", files, 1);
    assertEquals(planned.map(({ rows }) => rows.length), [3, 2, 3, 2]);
    assertEquals([...planned[0]!.rows, ...planned[1]!.rows].sort(), [0, 1, 2, 3, 4]);
    assertEquals(plannedBatches(study, "cola", files, 1), planned);
  });
});

Deno.test("every method has rates; those given win; PEFT makes what it has", () => {
  const study = studyOf("/x", "--rates", "lora=7e-3,boft=2");
  for (const method of METHODS) {
    const { lr, orthogonalLr } = ratesOf(study, method);
    assert(lr > 0 && orthogonalLr > 0);
    assert(canMake("Gyre", method));
  }
  assertEquals(ratesOf(study, "lora"), { lr: 7e-3, orthogonalLr: 3.5e-3 });
  assertEquals([canMake("PEFT", "dora"), canMake("PEFT", "unitary")], [true, false]);
  assertThrows(() => studyOf("/x", "--rates", "lara=1"), OptionError, "--rates");
  assertThrows(() => studyOf("/x", "--tasks", "sst2,sst"), OptionError, "--tasks");
});

function record(study: GlueStudy, more: Partial<RunRecord>): RunRecord {
  const method = more.method ?? "lora";
  return {
    maker: "Gyre",
    task: "sst2",
    method,
    seed: 0,
    settings: settingsOf(study, method),
    metrics: { accuracy: 0.5 },
    score: 0.5,
    trainable: 1234,
    secondsPerStep: 0.25,
    peakBytes: 3 * 2 ** 20,
    ...more,
  };
}

Deno.test("mean and deviation, and the table: two makers, seeds that lack, tasks that lack", () => {
  assertEquals(meanAndDeviation([0.5]), { mean: 0.5, deviation: null });
  assertEquals(meanAndDeviation([1, 2, 3]), { mean: 2, deviation: 1 });
  const study = studyOf("/x", "--tasks=sst2,stsb", "--seeds=0,1");
  const rows = glueTable(study, [
    record(study, { score: 0.8 }),
    record(study, { score: 0.9, seed: 1 }),
    record(study, { task: "stsb", score: 0.25, secondsPerStep: 0.75, peakBytes: 5 * 2 ** 20 }),
    record(study, { maker: "PEFT", peakBytes: null }),
  ]).split("\n").filter((line) => line.startsWith("| lora"));
  assertEquals(rows, [
    "| lora | Gyre | 1,234 | 85.0 ± 7.1 | 25.0 (1) | 500 | 5 |",
    "| lora | PEFT | 1,234 | 50.0 (1) | – | – | – |",
  ]);
});

Deno.test("records are read again, and those of other settings are refused", async () => {
  await inTempDir((dir) => {
    const study = studyOf(dir), choice = { maker: "PEFT", task: "rte", method: "oft", seed: 2 } as const;
    assertEquals(readRecord(study, choice), null);
    const made = record(study, choice), file = recordFile(study, choice);
    Deno.mkdirSync(`${dir}/study/runs`, { recursive: true });
    Deno.writeTextFileSync(file, JSON.stringify(made));
    assertEquals(readRecord(study, choice), made);
    const error = assertThrows(() => readRecord(studyOf(dir, "--steps=9"), choice), UserError);
    assertStringIncludes(error.message, "was made with steps 40, this study has 9");
    Deno.writeTextFileSync(file, "{");
    assertThrows(() => readRecord(study, choice), UserError, "not JSON");
  });
});
