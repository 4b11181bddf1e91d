/**
 * The text of the bundled example, made by rule: pretraining documents and the rows of the fine-tuning task.
 *
 * ```sh
 * deno run -A examples/corpus.ts --kind pretrain --seed 1 --chars 1000000 > pretrain.jsonl
 * deno run -A examples/corpus.ts --kind finetune --split train --rows 4000 --seed 1 > examples/data/train.jsonl
 * deno run -A examples/corpus.ts --kind finetune --split eval --rows 200 --seed 1 > examples/data/eval.jsonl
 * deno run -A examples/corpus.ts --kind long --split train --rows 4000 --seed 1 > long.jsonl
 * ```
 * `--help` lists the flags. Exit codes: 0 done, 2 something given to it is wrong.
 * @module
 */
import { helpOf, OptionError, parseFlags, runProgram, type TableOf } from "../train/mod.ts";
import { flag, optional, toggle } from "../train/parse_flags.ts";
import { oneOf, whole } from "../train/readers.ts";
import { longTaskRows } from "./corpus/long_task.ts";
import { pretrainDocuments } from "./corpus/pretrain.ts";
import { type Split, type TaskRow, taskRows } from "./corpus/task.ts";

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

interface CorpusFlags {
  readonly kind: "pretrain" | "finetune" | "long" | null;
  readonly split: Split | null;
  readonly rows: number | null;
  readonly chars: number | null;
  readonly seed: number;
  readonly help: boolean;
}

const FLAGS: TableOf<CorpusFlags, { readonly root: string }> = {
  kind: optional(
    "NAME",
    oneOf("pretrain", "finetune", "long"),
    "needed",
    "pretrain: documents; finetune: problems of two steps; long: of three and four",
  ),
  split: optional(
    "NAME",
    oneOf("train", "eval"),
    "needed",
    "finetune, long: problems to learn (train) or held out (eval)",
  ),
  rows: optional("N", whole(1), "200", "finetune, long: problems"),
  chars: optional("N", whole(1), "1000000", "pretrain: characters, rounded up to whole documents"),
  seed: flag("N", whole(0, 2 ** 32 - 1), 1, "decides the text"),
  help: toggle("show this text"),
};

/** The rows that a command line asks for; null: help is wanted. Throws OptionError. */
export function rowsFor(argv: readonly string[]): Iterable<TextRow | TaskRow> | null {
  const { kind, split, rows, chars, seed, help } = parseFlags(FLAGS, argv, { root: "" });
  if (help) return null;
  if (kind === null) {
    throw new OptionError("There is nothing to make: give --kind pretrain, finetune or long.");
  }
  const vain = kind === "pretrain" ? { split, rows } : { chars };
  for (const [name, value] of Object.entries(vain)) {
    if (value !== null) {
      throw new OptionError(`--${name} ${value}: is not for --kind ${kind}; leave it out.`, { name });
    }
  }
  if (kind === "pretrain") return pretrainRows(seed, chars ?? 1_000_000);
  if (split === null) throw new OptionError(`--kind ${kind} needs --split train or --split eval.`);
  return (kind === "long" ? longTaskRows : taskRows)(split, seed, rows ?? 200);
}

if (import.meta.main) {
  await runProgram((args) => {
    const rows = rowsFor(args);
    if (rows === null) {
      console.log(
        helpOf("Text made by rule, as JSON lines: deno run -A examples/corpus.ts --kind NAME [flags]", FLAGS),
      );
    } else for (const row of rows) console.log(JSON.stringify(row));
    return Promise.resolve(0);
  });
}
