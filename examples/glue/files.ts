/** Rows of a study on GLUE: parts of the benchmark's files, and the order in which a seed learns them. @module */
import {
  batches,
  GLUE_TASKS,
  type GlueTaskName,
  loadEncoderConfig,
  loadLabelled,
  loadSentenceTokenizer,
} from "../../train/mod.ts";
import { writeTextAtomically } from "../../train/atomic_file.ts";
import { readText } from "../../train/data/text_file.ts";
import type { GlueStudy } from "./options.ts";

/** Files of a task below GLUE's directory; several parts stand one after the other. */
const FILES: Readonly<Record<GlueTaskName, { readonly train: string; readonly dev: readonly string[] }>> = {
  cola: { train: "CoLA/in_domain_train.tsv", dev: ["CoLA/in_domain_dev.tsv", "CoLA/out_of_domain_dev.tsv"] },
  sst2: { train: "SST-2/train.tsv", dev: ["SST-2/dev.tsv"] },
  mrpc: { train: "MRPC/train.tsv", dev: ["MRPC/dev.tsv"] },
  stsb: { train: "STS-B/train.tsv", dev: ["STS-B/dev.tsv"] },
  qqp: { train: "QQP/train.tsv", dev: ["QQP/dev.tsv"] },
  mnli: { train: "MNLI/train.tsv", dev: ["MNLI/dev_matched.tsv"] },
  qnli: { train: "QNLI/train.tsv", dev: ["QNLI/dev.tsv"] },
  rte: { train: "RTE/train.tsv", dev: ["RTE/dev.tsv"] },
  wnli: { train: "WNLI/train.tsv", dev: ["WNLI/dev.tsv"] },
};

/** Files of rows that a study makes for a task. */
export interface TaskFiles {
  readonly train: string;
  readonly dev: string;
}

/** Write a task's parts of the benchmark's files into the study's directory. Throws DataError. */
export function writeTaskFiles({ data, out, rows, evalRows }: GlueStudy, name: GlueTaskName): TaskFiles {
  const { train, dev } = FILES[name], { named } = GLUE_TASKS[name];
  const to = { train: `${out}/data/${name}-train.tsv`, dev: `${out}/data/${name}-dev.tsv` };
  Deno.mkdirSync(`${out}/data`, { recursive: true });
  const write = (file: string, parts: readonly string[], most: number): void => {
    const texts = parts.map((part) => readText(`${data}/${part}`).split("\n").filter((line) => line !== ""));
    const head = named ? texts[0]!.slice(0, 1) : [];
    const body = texts.flatMap((lines) => lines.slice(named ? 1 : 0));
    writeTextAtomically(file, [...head, ...spread(body, most), ""].join("\n"));
  };
  write(to.train, [train], rows);
  write(to.dev, dev, evalRows);
  return to;
}

/** At most `most` items at even distances. */
export function spread<T>(items: readonly T[], most: number): T[] {
  const count = Math.min(most, items.length);
  return Array.from({ length: count }, (_, i) => items[Math.floor(i * items.length / count)]!);
}

/** Rows of a step, and the length that they are padded to. */
export interface PlannedBatch {
  readonly rows: readonly number[];
  readonly length: number;
}

/** The batches that a run of this seed takes, by number of row. */
export function plannedBatches(
  { model, batch, seq, steps }: GlueStudy,
  name: GlueTaskName,
  { train }: TaskFiles,
  seed: number,
): PlannedBatch[] {
  const tokenizer = loadSentenceTokenizer(model, loadEncoderConfig(model));
  const { examples } = loadLabelled(train, GLUE_TASKS[name], tokenizer, seq);
  const places = new Map(examples.map((example, i) => [example, i]));
  const planned: PlannedBatch[] = [];
  for (const { members, length } of batches(examples, { batch, seq, seed, epochs: Infinity })) {
    if (planned.length === steps) break;
    planned.push({ rows: members.map((m) => places.get(m)!), length });
  }
  return planned;
}
