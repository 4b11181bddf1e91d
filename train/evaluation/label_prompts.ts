/** Prompts of labelled sentences, after which labels are weighed: as training sees rows, or in words. @module */
import { labelPrompt } from "../data/formats.ts";
import type { GlueTask, GlueTaskName } from "./glue_tasks.ts";
import type { RowForm } from "./labelled_rows.ts";

/** How sentences are put before a model. */
export const PROMPT_STYLES = ["rows", "words"] as const;
/** `rows`: as `train.ts` shows the same rows, for models that were trained on them; `words`: in English, for others. */
export type PromptStyle = typeof PROMPT_STYLES[number];

/** The words of a task: what is asked of its sentences, and its labels as texts, in the order of the classes. */
interface Wording {
  readonly ask: (sentences: readonly string[]) => string;
  readonly labels: readonly string[];
}

const NO_YES = ["no", "yes"], YES_NO = ["yes", "no"];

/** Two sentences and a question about them. */
function pair(first: string, second: string, question: string): Wording["ask"] {
  return ([a, b]) => `${first}: ${a}\n${second}: ${b}\n${question} Answer:`;
}

const SAME = pair("First", "Second", "Do both mean the same?");
const FOLLOWS = pair("Text", "Claim", "Does it follow from the text that the claim is true?");

const WORDINGS: Readonly<Record<GlueTaskName, Wording>> = {
  cola: { ask: ([s]) => `Sentence: ${s}\nIs this sentence good English? Answer:`, labels: NO_YES },
  sst2: { ask: ([s]) => `Review: ${s}\nIs this review favourable? Answer:`, labels: NO_YES },
  mrpc: { ask: SAME, labels: NO_YES },
  qqp: { ask: SAME, labels: NO_YES },
  stsb: {
    ask: pair(
      "First",
      "Second",
      "From 0 (nothing in common) to 5 (the same), how alike are both in meaning?",
    ),
    labels: ["0", "1", "2", "3", "4", "5"],
  },
  mnli: { ask: FOLLOWS, labels: ["yes", "maybe", "no"] },
  qnli: { ask: pair("Question", "Text", "Does the text answer the question?"), labels: YES_NO },
  rte: { ask: FOLLOWS, labels: YES_NO },
  wnli: { ask: FOLLOWS, labels: NO_YES },
};

/** Numbers whose likelihoods stand for a whole scale, from its least to its most. */
export function scaleSteps({ least, most }: { readonly least: number; readonly most: number }): number[] {
  return Array.from({ length: most - least + 1 }, (_, i) => least + i);
}

/**
 * The prompt of a row, and the texts that may follow it: one for each class, or each step of the scale. `form`: how the
 * file has the row; default: as the benchmark's own files do.
 */
export function labelQuestion(
  { name, target, ...published }: GlueTask,
  sentences: readonly string[],
  style: PromptStyle,
  { sentences: columns, label, numbered }: RowForm = { ...published, numbered: false },
): { readonly prompt: string; readonly labels: readonly string[] } {
  if (style === "words") {
    const { ask, labels } = WORDINGS[name];
    return { prompt: ask(sentences), labels: labels.map((text) => ` ${text}`) };
  }
  // Files that name no columns get the names that rows of one sentence have.
  const named = columns.map((column) => typeof column === "string" ? column : "sentence");
  const values = target.kind === "classes"
    ? target.labels.map((text, i) => numbered ? `${i}` : text)
    : scaleSteps(target).map((step) => numbered ? `${step}` : step.toFixed(3));
  return {
    prompt: labelPrompt(
      named.map((column, i) => [column, sentences[i]!] as const),
      typeof label === "string" ? label : "label",
    ),
    labels: values.map((value) => ` ${value}`),
  };
}
