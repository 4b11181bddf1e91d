/** Labels by likelihood (GLUE, XNLI) and translation between files of sentences (FLORES). @module */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { parseRow } from "../train/rows.ts";
import { readText } from "../train/data/text_file.ts";
import { DataError, OptionError } from "../train/errors.ts";
import { bleu } from "../train/evaluation/bleu.ts";
import { chrf } from "../train/evaluation/chrf.ts";
import { expectation, labelLikelihoods, largest } from "../train/evaluation/choose.ts";
import { languageIn, prepareGlue, prepareXnli } from "../train/evaluation/classify.ts";
import { languageName, parsePairs, prepareFlores, translationPrompt } from "../train/evaluation/flores.ts";
import { GLUE_TASK_NAMES, GLUE_TASKS } from "../train/evaluation/glue_tasks.ts";
import { labelQuestion } from "../train/evaluation/label_prompts.ts";
import { labelledRows } from "../train/evaluation/labelled_rows.ts";
import { loadPieces } from "../train/evaluation/pieces.ts";
import { tokenize13a } from "../train/evaluation/tokenize_13a.ts";
import { continuationOf, logLikelihoods } from "../train/evaluation/score.ts";
import type { Evaluation } from "../train/evaluation/run.ts";
import { openExamined, root, runProgramFile, sharedData } from "./evaluation_examinee.ts";

const BASE = `${root}examples/base`;

Deno.test("evaluation: rows are put before a model as training puts them", () => {
  for (const name of GLUE_TASK_NAMES) {
    const task = GLUE_TASKS[name];
    const columns = task.sentences.map((c) => typeof c === "string" ? c : "sentence");
    // Training does not know the file of MRPC, whose columns have names of their own.
    if (name === "mrpc") continue;
    const label = typeof task.label === "string" ? task.label : "label";
    const texts = ["It  rains. ", "Is it wet?"].slice(0, columns.length);
    const question = labelQuestion(task, texts, "rows");
    const classes = task.target.kind === "classes"
      ? task.target.labels
      : ["0.000", "1.000", "2.000", "3.000", "4.000", "5.000"];
    assertEquals(question.labels.length, classes.length);
    classes.forEach((value, i) => {
      const cells = Object.fromEntries([...columns.map((c, at) => [c, texts[at]]), [label, value]]);
      const row = parseRow(cells, "here");
      assertEquals(row, { kind: "prompt", prompt: question.prompt, completion: question.labels[i]! }, name);
    });
    const words = labelQuestion(task, texts, "words");
    assert(texts.every((t) => words.prompt.includes(t)) && words.labels.length === classes.length, name);
    assertEquals(new Set(words.labels).size, classes.length);
  }
});

Deno.test("evaluation: labels are weighed by their own texts alone", async () => {
  const examinee = await openExamined(BASE, 64);
  try {
    const questions = [
      { prompt: "2+2=", labels: ["4", "5", "17"], where: "a" },
      { prompt: "Tom has 38 balls. Finn has 19 fewer balls than Tom.", labels: [" yes", " no"], where: "b" },
    ];
    const { likelihoods, cut } = await labelLikelihoods(examinee, questions, 4, () => {});
    assertEquals([cut, likelihoods.map((l) => l.length)], [0, [3, 2]]);
    for (const [i, { prompt, labels, where }] of questions.entries()) {
      for (const [j, completion] of labels.entries()) {
        const { example } = continuationOf(examinee.tokenizer, { prompt, completion, where }, 64);
        const [alone] = await logLikelihoods(examinee, [example], 1);
        assertAlmostEquals(likelihoods[i]![j]!, alone!, 1e-4);
        assert(alone! < 0);
      }
    }
  } finally {
    await examinee.close();
  }
  assertEquals([largest([-3, -1, -2]), largest([-1, -1])], [1, 0]);
  assertAlmostEquals(expectation([0, 5], [-1000, -1000]), 2.5, 1e-12);
  assertAlmostEquals(expectation([0, 1, 2], [Math.log(0.2), Math.log(0.2), Math.log(0.6)]), 1.4, 1e-12);
});

Deno.test("evaluation: broken labelled rows are named", () => {
  const cases: [string, string, "rte" | "cola" | "stsb", string][] = [
    [
      "f.tsv",
      "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tmaybe",
      "rte",
      `f.tsv:2: "label" is "maybe"; expected one of entailment, not_entailment.`,
    ],
    [
      "f.tsv",
      "index\tsentence1\tlabel\n0\ta\tentailment",
      "rte",
      `f.tsv:2: "sentence2" is empty or not there; rows of rte have it.`,
    ],
    ["f.tsv", "gj04\t1\tfine", "cola", "f.tsv:1: has 3 cells; files of cola have 4, and no line of names."],
    [
      "f.jsonl",
      `{"sentence1":"a","sentence2":"b","score":"6"}`,
      "stsb",
      `f.jsonl:1: "score" is "6"; expected a number from 0 to 5.`,
    ],
    [
      "f.jsonl",
      `{"sentence1":"a","sentence2":"b","score":"x"}`,
      "stsb",
      `f.jsonl:1: "score" is "x"; expected a number from 0 to 5.`,
    ],
    ["f.tsv", "", "cola", "f.tsv: has no rows; expected labelled rows of cola."],
  ];
  for (const [file, text, task, message] of cases) {
    assertEquals(assertThrows(() => labelledRows(text, file, GLUE_TASKS[task]), DataError).message, message);
  }
});

const PUBLISHED: readonly [
  string,
  "cola" | "sst2" | "rte" | "wnli" | "stsb" | "qnli" | "qqp" | "mnli",
  number,
][] = [
  ["glue/CoLA/in_domain_dev.tsv", "cola", 527],
  ["glue/CoLA/out_of_domain_dev.tsv", "cola", 516],
  ["glue/SST-2/dev.tsv", "sst2", 872],
  ["glue/RTE/dev.tsv", "rte", 277],
  ["glue/WNLI/dev.tsv", "wnli", 71],
  ["glue/STS-B/dev.tsv", "stsb", 1500],
  ["glue/QNLI/dev.tsv", "qnli", 5463],
  ["glue/QQP/subset.tsv", "qqp", 23496],
  ["xnli/test-sw.tsv", "mnli", 5010],
];
for (const [path, task, count] of PUBLISHED) {
  const file = sharedData(path);
  Deno.test({ name: `evaluation: ${path} is read whole`, ignore: file === null }, () => {
    assertEquals(labelledRows(readText(file!), file!, GLUE_TASKS[task]).length, count);
  });
}

Deno.test("evaluation: GLUE and XNLI count what they weighed, file by file and language by language", async () => {
  const dir = await Deno.makeTempDir(), examinee = await openExamined(BASE, 128);
  try {
    const rows = ["entailment", "neutral", "contradiction", "neutral"].map((l, i) =>
      `Tom has ${i} eggs.\tTom has eggs.\t${l}`
    );
    const write = (name: string, lines: readonly string[]): string => {
      Deno.writeTextFileSync(`${dir}/${name}`, lines.join("\n"));
      return `${dir}/${name}`;
    };
    const head = "sentence1\tsentence2\tgold_label";
    const files = [write("dev-en.tsv", [head, ...rows]), write("dev-sw.tsv", [head, ...rows.slice(0, 3)])];
    const both = write("all.tsv", [
      `language\t${head}`,
      ...rows.map((r, i) => `${i < 2 ? "fr" : "de"}\t${r}`),
    ]);
    const options = { limit: Infinity, style: "rows", batch: 4 } as const;
    const { metrics, parts, items } = await (await prepareXnli({ ...options, files: [...files, both] })).run(
      examinee,
      () => {},
    );
    assertEquals(parts.map((p) => p.name), ["en", "sw", "fr", "de"]);
    assertEquals(parts.map((p) => p.metrics["rows"]), [4, 3, 2, 2]);
    const judged = items as readonly {
      readonly group: string;
      readonly likelihoods: number[];
      readonly predicted: number;
      readonly target: number;
    }[];
    assert(
      judged.every((i) =>
        i.likelihoods.length === 3 && i.likelihoods[i.predicted] === Math.max(...i.likelihoods)
      ),
    );
    const shares = parts.map(({ name }) => {
      const own = judged.filter((i) => i.group === name);
      return own.filter((i) => i.predicted === i.target).length / own.length;
    });
    assertEquals(parts.map((p) => p.metrics["accuracy"]), shares);
    assertAlmostEquals(metrics["accuracy"]!, shares.reduce((a, b) => a + b) / 4, 1e-12);

    const cola = write("dev.tsv", ["x\t1\t\tTom has eggs.", "x\t0\t*\tTom eggs has.", "x\t1\t\tFinn runs."]);
    const glue = await (await prepareGlue("cola", { ...options, files: [cola] })).run(examinee, () => {});
    assertEquals([Object.keys(glue.metrics), glue.metrics["rows"], glue.parts], [
      ["matthews", "score", "majority", "rows"],
      3,
      [],
    ]);
    assertAlmostEquals(glue.metrics["majority"]!, 2 / 3, 1e-12);
    await assertRejects(() => prepareGlue("rte", { ...options, files: [cola] }), DataError, "dev.tsv");
  } finally {
    await examinee.close();
    await Deno.remove(dir, { recursive: true });
  }
  assertEquals(
    ["x/dev-sw.tsv", "xnli.test.zh.tsv.gz", "xnli/th/test-00000-of-00001.parquet", "other"].map(languageIn),
    [
      ...["sw", "zh", "th", "other"],
    ],
  );
});

Deno.test("evaluation: FLORES takes line n of each file for the same sentence, and scores pairs", async () => {
  const dir = await Deno.makeTempDir(), examinee = await openExamined(BASE, 64);
  try {
    const write = (name: string, lines: readonly string[]): string => {
      Deno.writeTextFileSync(`${dir}/${name}`, `${lines.join("\n")}\n`);
      return `${dir}/${name}`;
    };
    const files = [
      write("eng_Latn.dev", ["One egg.", "Two eggs."]),
      write("deu_Latn.dev", ["Ein Ei.", "Zwei Eier."]),
    ];
    const settings = { maxNew: 12, stop: [], batch: 2, sampling: null };
    const options = {
      limit: Infinity,
      pairs: null,
      template: null,
      spm: `${BASE}/tokenizer.json`,
      chat: false,
      settings,
    };
    const pairs = "deu_Latn-eng_Latn,eng_Latn-deu_Latn";
    const { metrics, parts, items } = await (await prepareFlores({ ...options, files, pairs })).run(
      examinee,
      () => {},
    );
    const rows = items as readonly {
      readonly pair: string;
      readonly prompt: string;
      readonly reference: string;
      readonly translation: string;
    }[];
    assertEquals(rows.map((r) => r.reference), ["One egg.", "Two eggs.", "Ein Ei.", "Zwei Eier."]);
    assertEquals(rows[3]!.prompt, "English: Two eggs.\nGerman:");
    assert(rows.every((r) => !r.translation.includes("\n")));
    const cut = loadPieces(options.spm);
    for (const { name, metrics } of parts) {
      const own = rows.filter((r) => r.pair === name);
      const [found, expected] = [own.map((r) => r.translation), own.map((r) => r.reference)];
      assertEquals(metrics, {
        "chrf++": chrf(found, expected),
        bleu: bleu(found.map(tokenize13a), expected.map(tokenize13a)),
        spbleu: bleu(found.map(cut), expected.map(cut)),
        rows: 2,
      });
    }
    assertAlmostEquals(
      metrics["chrf++"]!,
      (parts[0]!.metrics["chrf++"]! + parts[1]!.metrics["chrf++"]!) / 2,
      1e-12,
    );
    const prepare = (more: object) => () => prepareFlores({ ...options, files, ...more });
    const short = write("hau_Latn.dev", ["Kwai daya."]);
    await assertRejects(prepare({ files: [...files, short] }), DataError, "hau_Latn.dev: has 1 lines and");
    await assertRejects(
      prepare({ files: [files[0], files[0]] }),
      DataError,
      "two files have the same language",
    );
    await assertRejects(
      prepare({ pairs: "eng_Latn-fra_Latn" }),
      OptionError,
      `"eng_Latn-fra_Latn" is no pair; give two of eng_Latn, deu_Latn`,
    );
    await assertRejects(prepare({ template: "Translate" }), OptionError, "--template has no {source}");
  } finally {
    await examinee.close();
    await Deno.remove(dir, { recursive: true });
  }
  assertEquals(["deu", "npi_Deva", "zho_Hans", "quy_Latn", "xyz", "not a code"].map(languageName), [
    "German",
    "Nepali",
    "Simplified Chinese",
    "Ayacucho Quechua",
    "xyz",
    "not a code",
  ]);
  assertEquals(parsePairs(null, ["a", "b", "c"]), [{ source: "a", target: "b" }, {
    source: "a",
    target: "c",
  }]);
  assertThrows(() => parsePairs(null, ["a"]), OptionError, "files of two languages");
  assertEquals(
    translationPrompt("{source} {target_language}", { source: "eng", target: "deu" }, "{source} $&"),
    "{source} $& German",
  );
});

Deno.test("evaluation: the program weighs labels, and says what its tasks need", async () => {
  const dir = await Deno.makeTempDir();
  try {
    Deno.writeTextFileSync(`${dir}/dev.tsv`, "sentence\tlabel\nTom is glad.\t1\nTom is sad.\t0\n");
    const asked = ["--task", "glue", "--data", `${dir}/dev.tsv`];
    const [done, without, strange] = await Promise.all([
      runProgramFile("evaluate.ts", ...asked, "--subset", "sst2", "--prompts", "words", "--json"),
      runProgramFile("evaluate.ts", ...asked),
      runProgramFile("evaluate.ts", ...asked, "--subset", "sst2", "--pairs", "a-b"),
    ]);
    assertEquals(done.code, 0, done.err);
    const { metrics, task } = JSON.parse(done.out) as Evaluation;
    assertEquals([task, metrics["rows"], metrics["accuracy"], metrics["majority"]], ["glue", 2, 0.5, 0.5]);
    assertEquals([without.code, strange.code], [2, 2]);
    assertStringIncludes(without.err, "--task glue needs its part: give --subset, cola, ");
    assertStringIncludes(strange.err, "--pairs says nothing to --task glue");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
