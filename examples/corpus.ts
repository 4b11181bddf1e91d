/**
 * The text of the bundled example, made by rule: pretraining documents and the rows of the fine-tuning task.
 *
 * ```sh
 * deno run -A examples/corpus.ts --kind pretrain --seed 1 --chars 1000000 > pretrain.jsonl
 * deno run -A examples/corpus.ts --kind finetune --split train --rows 4000 --seed 1 > examples/data/train.jsonl
 * deno run -A examples/corpus.ts --kind finetune --split eval --rows 200 --seed 1 > examples/data/eval.jsonl
 * deno run -A examples/corpus.ts --kind long --split train --rows 4000 --seed 1 > long.jsonl
 * ```
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { runProgram, UserError } from "../train/mod.ts";
import { longTaskRows } from "./corpus/long_task.ts";
import { pretrainDocuments } from "./corpus/pretrain.ts";
import { type TaskRow, taskRows } from "./corpus/task.ts";

export { pretrainDocuments } from "./corpus/pretrain.ts";
export { longTaskRows } from "./corpus/long_task.ts";
export { type Split, type TaskRow, taskRows } from "./corpus/task.ts";

/** A row of pretraining text: one document. */
export interface TextRow {
  readonly text: string;
}

/** The documents of `seed` in order until together they hold at least `chars` characters. */
export function* pretrainRows(seed: number, chars: number): Generator<TextRow> {
  let made = 0;
  for (const text of pretrainDocuments(seed)) {
    if (made >= chars) return;
    made += text.length;
    yield { text };
  }
}

function whole(name: string, value: string): number {
  if (/^\d+$/.test(value)) return Number(value);
  throw new UserError(`--${name} is "${value}": give a whole number.`);
}

function rowsFor(argv: readonly string[]): Iterable<TextRow | TaskRow> {
  const flags = parseArgs([...argv], {
    string: ["kind", "split", "seed", "chars", "rows"],
    default: { kind: "", split: "", seed: "1", chars: "1000000", rows: "200" },
  });
  const seed = whole("seed", flags.seed);
  if (flags.kind === "pretrain") return pretrainRows(seed, whole("chars", flags.chars));
  if (flags.kind !== "finetune" && flags.kind !== "long") {
    throw new UserError(
      flags.kind === ""
        ? "Give --kind pretrain, finetune or long; the head of examples/corpus.ts has examples."
        : `--kind is "${flags.kind}": give pretrain, finetune or long.`,
    );
  }
  if (flags.split !== "train" && flags.split !== "eval") {
    throw new UserError(`--split is "${flags.split}": give train or eval.`);
  }
  const rows = flags.kind === "long" ? longTaskRows : taskRows;
  return rows(flags.split, seed, whole("rows", flags.rows));
}

if (import.meta.main) {
  await runProgram((args) => {
    for (const row of rowsFor(args)) console.log(JSON.stringify(row));
    return Promise.resolve(0);
  });
}
