/** Flags of `train.ts` on the model, the rows and where results go. @module */
import * as Either from "fp-ts/Either.js";
import { SETTING_READERS } from "../adapter_specs.ts";
import { LARGE, STREAMS } from "../data/open_rows.ts";
import { EVAL_FORMS } from "../evaluation/asked.ts";
import { GLUE_TASK_NAMES } from "../evaluation/glue_tasks.ts";
import { bundled, flag } from "../parse_flags.ts";
import { oneOf, text, whole } from "../readers.ts";
import { FORMAT_NAMES } from "../rows.ts";
import type { Table } from "../train_options.ts";

/** Files of the repository that are used where nothing is said. */
export const BASE = "examples/base";
const DATA = "examples/data/train.jsonl", EVAL = "examples/data/eval.jsonl";

/** In the order of the help. */
export const DATA_FLAGS = {
  model: {
    ...bundled("DIR", BASE, "model directory in the Hugging Face layout, or an id of its hub: owner/name"),
    shown: `what --adapter belongs to, else ${BASE}`,
    section: "Model and data",
  },
  data: bundled(
    "FILES",
    DATA,
    'rows to learn: a file, several with commas between, or a pattern as "rows-*.jsonl"; JSON lines, a JSON array, ' +
      'CSV or TSV, also packed by gzip, or parquet: {"question","answer"}, ' +
      '{"prompt","completion"}, {"text"}, {"messages"}, {"conversations"}, {"instruction","input","output"} or ' +
      '{"sentence","label"}',
  ),
  eval: {
    value: "FILE",
    read: (t) => Either.right(t === "none" ? null : t),
    join: (earlier, later) => [earlier, later].filter((t) => t !== null).join(",") || null,
    help:
      `rows to measure on before and after: a file, a pattern, a share of the data that is held out of it, as 5%, or none; tasks of evaluate.ts too, as ${EVAL_FORMS}; may be given several times`,
    absent: (get, { root }) => get("data") === `${root}/${DATA}` ? `${root}/${EVAL}` : null,
    shown: `${EVAL} with the default data, else none`,
  },
  format: flag(
    "NAME",
    oneOf("auto", ...FORMAT_NAMES),
    "auto",
    `what rows look like: ${
      FORMAT_NAMES.join(", ")
    }; auto: their fields say; otherwise fields too many are passed over`,
  ),
  evalEvery: flag(
    "N",
    whole(0),
    0,
    "steps between evaluations while training goes on; 0: only before and after",
  ),
  evalLimit: {
    value: "N",
    read: whole(1),
    help: "take the first N rows of each file of --eval",
    absent: () => null,
    shown: "all",
  },
  stream: flag(
    "NAME",
    oneOf(...STREAMS),
    "auto",
    `keep rows in a file of tokens in place of memory: always, never, or, with auto, above ${
      LARGE.text / 2 ** 20
    } MiB ` +
      `(${LARGE.packed / 2 ** 20} MiB of gzip or parquet)`,
  ),
  tokenCache: {
    value: "DIR",
    read: text,
    help: "directory for the tokens of large files, which may be removed when no run uses them",
    absent: () => null,
    shown: "tokens/ in GYRE_CACHE, by default ~/.cache/gyre",
  },
  task: {
    value: "NAME",
    read: oneOf(...GLUE_TASK_NAMES),
    help: `task of GLUE that an encoder (BERT, RoBERTa) with a head learns from its files: ${
      GLUE_TASK_NAMES.join(", ")
    }`,
    absent: () => null,
    shown: "none: a language model",
  },
  modelDropout: {
    value: "X",
    read: SETTING_READERS.dropout,
    help: "--task: share of hidden states, attention and the head's input that a step leaves out; 0: none",
    absent: () => null,
    shown: "what config.json says",
  },
  out: {
    value: "DIR",
    read: text,
    help: "directory for the adapter, the metrics and the settings",
    absent: (get, { now }) =>
      `runs/${now.toISOString().slice(0, 19).replace("T", "-").replaceAll(":", "")}-${get("method")}`,
    shown: "runs/<date>-<method>",
  },
} satisfies Partial<Table>;
