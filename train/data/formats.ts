/** What rows may look like: formats, recognised by their fields, and what each asks to learn. @module */
import type { Row } from "../rows.ts";
import type { Message } from "../tokenizer.ts";

/** Name of a format, as `--format` takes it. */
export type FormatName = "question" | "prompt" | "text" | "chat" | "sharegpt" | "alpaca" | "classify";

/** A row's fields, checked when they are asked for: they throw DataError. */
export interface Fields {
  readonly text: (key: string) => string;
  /** A text, or "" where the field is absent. */
  readonly optional: (key: string) => string;
  /** A text that is not empty, a number or a truth value, as a text. */
  readonly label: (key: string) => string;
  /** A list of messages whose role and text stand under these keys. */
  readonly messages: (key: string, role: string, content: string) => readonly Message[];
}

/** Fields by which rows are recognised. */
export interface Format {
  readonly name: FormatName;
  readonly keys: readonly string[];
  /** Fields that are read where they are there, and fields that say nothing to a model. */
  readonly optional?: readonly string[];
  readonly ignored?: readonly string[];
  readonly read: (fields: Fields) => Row;
}

/** Columns of the sentence pairs and single sentences of GLUE and XNLI, and those of their labels. */
const SENTENCES = [
  ["sentence"],
  ["text"],
  ["sentence1", "sentence2"],
  ["question1", "question2"],
  ["question", "sentence"],
  ["premise", "hypothesis"],
] as const;
const LABELS = ["label", "gold_label", "is_duplicate", "score"] as const;
/** Columns of these files that number a row or tell where it came from. */
const BOOKKEEPING = [
  ...["index", "idx", "id", "qid1", "qid2"],
  ...["genre", "filename", "year", "old_index", "source1", "source2"],
];

/** All formats, the first that fits wins. */
export const FORMATS: readonly Format[] = [
  {
    name: "question",
    keys: ["question", "answer"],
    // A line break stands between the two.
    read: (f) => ({ kind: "prompt", prompt: `${f.text("question")}\n`, completion: f.text("answer") }),
  },
  {
    name: "prompt",
    keys: ["prompt", "completion"],
    read: (f) => ({ kind: "prompt", prompt: f.text("prompt"), completion: f.text("completion") }),
  },
  { name: "text", keys: ["text"], read: (f) => ({ kind: "text", text: f.text("text") }) },
  {
    name: "chat",
    keys: ["messages"],
    read: (f) => ({ kind: "chat", messages: f.messages("messages", "role", "content") }),
  },
  {
    name: "sharegpt",
    keys: ["conversations"],
    optional: ["system"],
    ignored: ["id"],
    read: (f) => {
      const system = f.optional("system");
      const said = f.messages("conversations", "from", "value").map(({ role, content }) => ({
        role: SPEAKERS.get(role) ?? role,
        content,
      }));
      return {
        kind: "chat",
        messages: system === "" ? said : [{ role: "system", content: system }, ...said],
      };
    },
  },
  {
    name: "alpaca",
    keys: ["instruction", "output"],
    optional: ["input"],
    read: (f) => ({
      kind: "prompt",
      prompt: instructionPrompt(f.text("instruction"), f.optional("input")),
      completion: f.text("output"),
    }),
  },
  ...SENTENCES.flatMap((inputs) =>
    LABELS.map((label): Format => ({
      name: "classify",
      keys: [...inputs, label],
      ignored: BOOKKEEPING,
      read: (f) => ({
        kind: "prompt",
        prompt: labelPrompt(inputs.map((key) => [key, f.text(key)]), label),
        completion: ` ${f.label(label).trim()}`,
      }),
    }))
  ),
];

/** Named texts and what is asked of them, a line each: the prompt before a label. */
export function labelPrompt(
  inputs: readonly (readonly [name: string, text: string])[],
  label: string,
): string {
  return `${inputs.map(([name, text]) => `${name}: ${text.trim()}\n`).join("")}${label}:`;
}

/** Who speaks in ShareGPT, in the words of chat templates; others stay as they are, for the template to judge. */
const SPEAKERS: ReadonlyMap<string, string> = new Map([["human", "user"], ["gpt", "assistant"]]);

/** Names of all formats, each once. */
export const FORMAT_NAMES: readonly FormatName[] = [...new Set(FORMATS.map((f) => f.name))];

/** An instruction, and what it is about where there is something, in Alpaca's sections. */
function instructionPrompt(instruction: string, input: string): string {
  const about = input === "" ? "" : `### Input:\n${input}\n\n`;
  return `### Instruction:\n${instruction}\n\n${about}### Response:\n`;
}

/** Field names as an object: `{"prompt", "completion"}`. */
export function showKeys(keys: readonly string[]): string {
  return `{${keys.map((k) => JSON.stringify(k)).join(", ")}}`;
}
