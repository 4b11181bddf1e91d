/** Prompts of a task answered by the model that is examined. @module */
import { type Answer, answerPrompts, type AnswerSettings } from "../answer.ts";
import { noRoomNote } from "../exact_match.ts";
import { type Prompt, promptOf } from "../prompts.ts";
import type { Message, Tokenizer } from "../tokenizer.ts";
import type { Examinee, Follow } from "./task.ts";

/** An answer, or that the prompt leaves no room for one. */
export type TaskAnswer = Omit<Answer, "finish"> & { readonly finish: Answer["finish"] | "no room" };

/** How a task's prompts are answered. */
export type AskSettings = Omit<AnswerSettings, "maxPositions" | "follow">;

/** The prompt of a chat, by the model's template. */
export function chatPrompt(messages: readonly Message[], tokenizer: Tokenizer): Prompt {
  const text = tokenizer.renderChat(messages, true);
  return { text, ids: tokenizer.encodeChat(text) };
}

/** The prompt of a text: as it is, or as a user's message. */
export function askedPrompt(text: string, chat: boolean, tokenizer: Tokenizer): Prompt {
  return chat ? chatPrompt([{ role: "user", content: text }], tokenizer) : promptOf(text, tokenizer);
}

/** Answers in the prompts' order; they are computed in the order of their lengths, so that few steps are wasted. */
export async function askAll(
  { session, tokenizer, seq }: Examinee,
  prompts: readonly Prompt[],
  settings: AskSettings,
  follow: Follow,
): Promise<TaskAnswer[]> {
  const answers = prompts.map((): TaskAnswer => ({ text: "", tokens: 0, finish: "no room" }));
  const order = prompts.map((_, i) => i).filter((i) =>
    prompts[i]!.ids.length > 0 && prompts[i]!.ids.length < seq
  );
  order.sort((i, j) => prompts[i]!.ids.length - prompts[j]!.ids.length);
  let done = 0;
  for await (
    const answer of answerPrompts(session, tokenizer, order.map((i) => prompts[i]!), {
      ...settings,
      maxPositions: seq,
    })
  ) {
    answers[order[done]!] = answer;
    follow(++done, order.length);
  }
  return answers;
}

/** Says how many prompts left no room; nothing where all did. */
export function roomNotes(answers: readonly TaskAnswer[], seq: number): string[] {
  const without = answers.filter((a) => a.finish === "no room").length;
  return without === 0 ? [] : [noRoomNote(without, answers.length, seq)];
}
