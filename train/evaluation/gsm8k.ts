/** GSM8K: exact match of the number after `####`. arXiv:2110.14168. @module */
import { exampleOf } from "../data.ts";
import { readText } from "../data/text_file.ts";
import { DataError } from "../errors.ts";
import { exactMatch, finalAnswer, sampleOf } from "../exact_match.ts";
import { parseRows } from "../rows.ts";
import { askAll, askedPrompt, type AskSettings, roomNotes } from "./ask.ts";
import { asking, type PreparedTask } from "./task.ts";

/** What {@linkcode prepareGsm8k} reads. */
export interface Gsm8kOptions {
  readonly files: readonly string[];
  readonly limit: number;
  /** Ask through the model's chat template. */
  readonly chat: boolean;
  readonly settings: AskSettings;
}

/** Read questions and answers. Throws DataError naming the row for an answer without `####`. */
export function prepareGsm8k({ files, limit, chat, settings }: Gsm8kOptions): PreparedTask {
  const rows = files.flatMap((file) => parseRows(readText(file), file).slice(0, limit)).map((placed) => {
    const { row, where } = placed;
    const expected = row.kind === "prompt" ? finalAnswer(row.completion) : null;
    if (row.kind === "prompt" && expected !== null) return { ...placed, prompt: row.prompt, expected };
    throw new DataError(`${where}: the answer has no ####; expected {"question", "answer"} as in GSM8K.`, {
      where,
    });
  });
  return asking(async (examinee, follow) => {
    const { tokenizer, seq } = examinee;
    const prompts = rows.map((placed) => {
      if (chat) return askedPrompt(placed.prompt.trim(), true, tokenizer);
      // Tokens as in training, where question and answer are encoded together.
      const { ids, promptLength, prompt } = exampleOf(placed, tokenizer);
      return { text: prompt, ids: ids.slice(0, promptLength) };
    });
    const answers = await askAll(examinee, prompts, settings, follow);
    const samples = answers.map(({ text }, i) => sampleOf(prompts[i]!.text, text, rows[i]!.expected));
    return {
      metrics: {
        exact_match: exactMatch(samples),
        correct: samples.filter((s) => s.correct).length,
        rows: samples.length,
        without_answer: samples.filter((s) => finalAnswer(s.generated) === null).length,
      },
      parts: [],
      items: samples.map((s, i) => ({ where: rows[i]!.where, ...s, finish: answers[i]!.finish })),
      notes: roomNotes(answers, seq),
    };
  });
}
