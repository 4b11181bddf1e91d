/** GSM8K: exact match of the number after `####`. arXiv:2110.14168. @module */
import { exampleOf } from "../data.ts";
import { readRows } from "../data.ts";
import { DataError } from "../errors.ts";
import { exactMatch, finalAnswer, sampleOf } from "../exact_match.ts";
import { promptOf } from "../prompts.ts";
import type { PlacedRow } from "../rows.ts";
import type { Message } from "../tokenizer.ts";
import { askAll, type AskSettings, chatPrompt, roomNotes } from "./ask.ts";
import { asking, type PreparedTask } from "./task.ts";

/** What {@linkcode prepareGsm8k} reads. */
export interface Gsm8kOptions {
  readonly files: readonly string[];
  readonly limit: number;
  /** Ask through the model's chat template. */
  readonly chat: boolean;
  /** Solved questions put before each one; empty: none. */
  readonly shots: readonly SolvedRow[];
  readonly settings: AskSettings;
}

/** A question with its answer. */
export interface SolvedRow {
  readonly placed: PlacedRow;
  /** With the line break at its end. */
  readonly question: string;
  readonly answer: string;
  /** The number after `####`. */
  readonly expected: string;
}

/** Questions with answers, the first `limit` of a file. Throws DataError naming the row for an answer without `####`. */
export async function solvedRows(file: string, limit: number): Promise<SolvedRow[]> {
  return (await readRows(file)).slice(0, limit).map((placed) => {
    const { row, where } = placed, expected = row.kind === "prompt" ? finalAnswer(row.completion) : null;
    if (row.kind === "prompt" && expected !== null) {
      return { placed, question: row.prompt, answer: row.completion, expected };
    }
    throw new DataError(`${where}: the answer has no ####; expected {"question", "answer"} as in GSM8K.`, {
      where,
    });
  });
}

/** What stands between a solved question and the next. */
const BETWEEN = "\n\n";

/** Read questions and answers. Throws DataError as {@linkcode solvedRows} does. */
export async function prepareGsm8k(
  { files, limit, chat, shots, settings }: Gsm8kOptions,
): Promise<PreparedTask> {
  const rows = (await Promise.all(files.map((file) => solvedRows(file, limit)))).flat();
  const before = shots.map(({ question, answer }) => `${question}${answer.trimEnd()}${BETWEEN}`).join("");
  return asking(async (examinee, follow) => {
    const { tokenizer, seq } = examinee;
    const prompts = rows.map(({ placed, question }) => {
      if (chat) {
        const said = shots.flatMap((shot): Message[] => [
          { role: "user", content: shot.question.trim() },
          { role: "assistant", content: shot.answer },
        ]);
        return chatPrompt([...said, { role: "user", content: question.trim() }], tokenizer);
      }
      if (shots.length > 0) return promptOf(before + question, tokenizer);
      // Tokens as in training, where question and answer are encoded together.
      const { ids, promptLength, prompt } = exampleOf(placed, tokenizer);
      return { text: prompt, ids: ids.slice(0, promptLength) };
    });
    const stop = chat || shots.length === 0 ? [] : [BETWEEN];
    const answers = await askAll(examinee, prompts, { ...settings, stop }, follow);
    const samples = answers.map(({ text }, i) => sampleOf(prompts[i]!.text, text, rows[i]!.expected));
    return {
      metrics: {
        exact_match: exactMatch(samples),
        correct: samples.filter((s) => s.correct).length,
        rows: samples.length,
        without_answer: samples.filter((s) => finalAnswer(s.generated) === null).length,
      },
      parts: [],
      items: samples.map((s, i) => ({ where: rows[i]!.placed.where, ...s, finish: answers[i]!.finish })),
      notes: roomNotes(answers, seq),
    };
  });
}
