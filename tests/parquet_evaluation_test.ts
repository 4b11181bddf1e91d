/** Parquet files of the hub's releases of GLUE, XNLI and FLORES (tests/fixtures/make_parquet.py) as what is trained on and measured. @module */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { openDataset } from "../train/data.ts";
import { prepareXnli } from "../train/evaluation/classify.ts";
import { prepareFlores } from "../train/evaluation/flores.ts";
import { loadTexts } from "../train/evaluation/flores_files.ts";
import { GLUE_TASK_NAMES, GLUE_TASKS, type GlueTaskName } from "../train/evaluation/glue_tasks.ts";
import { labelQuestion } from "../train/evaluation/label_prompts.ts";
import { labelledIn, type LabelledRow, labelledRows } from "../train/evaluation/labelled_rows.ts";
import { DataError, OptionError } from "../train/mod.ts";
import { openExamined } from "./evaluation_examinee.ts";
import { root } from "./runs.ts";

const HUB = `${root}/tests/fixtures/parquet/hub`;
const BASE = `${root}/examples/base`;

/** The same rows as the benchmark publishes them. */
const PUBLISHED: Readonly<Record<GlueTaskName, readonly string[]>> = {
  sst2: ["sentence\tlabel", "It is a fine day.\t1", "The rain has stopped.\t0", "The sea is calm.\t1"],
  cola: ["x\t1\t\tIt is a fine day.", "x\t0\t*\tRain the stopped has."],
  mrpc: [
    "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "0\t1\t2\tIt is a fine day.\tThe sea is calm.",
    "1\t3\t4\tThe rain has stopped.\tThe rain has stopped.",
  ],
  stsb: [
    "sentence1\tsentence2\tscore",
    "It is a fine day.\tThe sea is calm.\t1.500",
    "The rain has stopped.\tThe rain has stopped.\t5.000",
  ],
  qqp: ["question1\tquestion2\tis_duplicate", "Why?\tWhy not?\t0", "Who?\tWho?\t1"],
  mnli: [
    "sentence1\tsentence2\tgold_label",
    "It is a fine day.\tIt is a fine day.\tentailment",
    "The rain has stopped.\tThe sea is calm.\tneutral",
    "The sea is calm.\tIt is a fine day.\tcontradiction",
  ],
  qnli: [
    "question\tsentence\tlabel",
    "Is it?\tIt is a fine day.\tentailment",
    "Does it?\tThe rain has stopped.\tnot_entailment",
  ],
  rte: [
    "sentence1\tsentence2\tlabel",
    "It is a fine day.\tThe sea is calm.\tnot_entailment",
    "The rain has stopped.\tThe rain has stopped.\tentailment",
  ],
  wnli: [
    "sentence1\tsentence2\tlabel",
    "It is a fine day.\tThe sea is calm.\t1",
    "The rain has stopped.\tThe rain has stopped.\t0",
  ],
};

const said = ({ sentences, target }: LabelledRow): unknown => [sentences, target];

for (const name of GLUE_TASK_NAMES) {
  Deno.test(`parquet: ${name} of the hub has the rows of the published file, and is asked for as it is trained on`, async () => {
    const file = `${HUB}/${name}.parquet`, task = GLUE_TASKS[name];
    const rows = await labelledIn(file, task);
    const published = labelledRows(PUBLISHED[name].join("\n"), `${name}.tsv`, task);
    assertEquals(rows.map(said), published.map(said));
    assertEquals(rows[1]!.where, `${file}: row 2`);
    const lines = rows.map(({ form: { sentences, label }, sentences: texts }, i) =>
      JSON.stringify({
        ...Object.fromEntries(sentences.map((c, k) => [c, texts[k]])),
        [label]: published[i]!.target,
      })
    );
    assertEquals(labelledRows(lines.join("\n"), "rows.jsonl", task).map(said), published.map(said));
    const { tokenizer } = examinee;
    const { examples } = await openDataset(file, tokenizer, 64);
    rows.forEach(({ sentences, form, target }, i) => {
      const { prompt, labels } = labelQuestion(task, sentences, "rows", form);
      const { ids, promptLength } = examples[i]!;
      assertEquals(examples[i]!.prompt, prompt);
      // Numbers between the scale's steps are no text of its own.
      if (!Number.isInteger(target)) return;
      assertEquals(tokenizer.decode(ids.slice(promptLength)).trim(), labels[target]!.trim());
    });
  });
}

const examinee = await openExamined(BASE, 128);
globalThis.addEventListener("unload", () => void examinee.close());

Deno.test("parquet: labels that are not published are refused, and columns that are not there", async () => {
  const hidden = await assertRejects(() => labelledIn(`${HUB}/rte_test.parquet`, GLUE_TASKS.rte), DataError);
  assertEquals(
    hidden.message,
    `${HUB}/rte_test.parquet: row 1: "label" is "-1"; expected one of entailment, not_entailment (−1 stands for what ` +
      "is not published: take the validation rows).",
  );
  const other = await assertRejects(() => labelledIn(`${HUB}/sst2.parquet`, GLUE_TASKS.qqp), DataError);
  assertStringIncludes(other.message, `row 1: "question1" is empty or not there; rows of qqp have it`);
});

Deno.test("parquet: XNLI's language is that of the directory", async () => {
  const files = [`${HUB}/sw/test-00000-of-00001.parquet`, `${HUB}/mnli.parquet`];
  const prepared = await prepareXnli({ files, limit: Infinity, style: "rows", batch: 4 });
  const { parts, items } = await prepared.run(examinee, () => {});
  assertEquals(parts.map((p) => [p.name, p.metrics["rows"]]), [["sw", 2], ["mnli.parquet", 3]]);
  assertEquals(
    (items as readonly { readonly prompt: string }[])[0]!.prompt,
    "premise: Mvua imeisha.\nhypothesis: Mvua.\nlabel:",
  );
});

Deno.test("parquet: FLORES's languages are in columns, or one in each file", async () => {
  const pair = await loadTexts([`${HUB}/flores/pair.parquet`], false);
  assertEquals([...pair], [
    ["eng_Latn", ["The sea is calm.", "The rain has stopped."]],
    ["deu_Latn", ["Das Meer ist still.", "Der Regen ist vorbei."]],
  ]);
  const files = ["eng_Latn", "deu_Latn"].map((name) => `${HUB}/flores/${name}.parquet`);
  assertEquals(await loadTexts(files, false), pair);
  assertEquals([...(await loadTexts([`${HUB}/flores/all.parquet`], true)).keys()], [
    "deu_Latn",
    "eng_Latn",
    "swh_Latn",
  ]);
  const many = await assertRejects(() => loadTexts([`${HUB}/flores/all.parquet`], false), OptionError);
  assertStringIncludes(many.message, "all.parquet: has 3 languages; say with --pairs");
  await assertRejects(
    () => loadTexts([...files, `${HUB}/flores/pair.parquet`], false),
    DataError,
    "the same language, eng_Latn",
  );
  await assertRejects(
    () => loadTexts([`${HUB}/sst2.parquet`, `${HUB}/rte.parquet`], false),
    DataError,
    "rte.parquet: has no sentences",
  );
  const settings = { maxNew: 4, stop: [], batch: 2, sampling: null };
  const options = { limit: 1, pairs: "swh_Latn-eng_Latn", template: null, spm: null, chat: false, settings };
  const prepared = await prepareFlores({ ...options, files: [`${HUB}/flores/all.parquet`] });
  const { items } = await prepared.run(examinee, () => {});
  const [item] = items as readonly { readonly prompt: string; readonly reference: string }[];
  assertEquals([item!.prompt, item!.reference], [
    "Swahili: Bahari ni tulivu.\nEnglish:",
    "The sea is calm.",
  ]);
});
