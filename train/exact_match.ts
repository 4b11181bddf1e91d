/** Exact match: whether a generated answer is the one in the data. @module */
import type { Example } from "./data.ts";
import type { Session } from "./session.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A held-out question with the model's answer. */
export interface Sample {
  readonly prompt: string;
  readonly generated: string;
  /** The answer in the data, where there is one. */
  readonly expected: string | null;
  readonly correct: boolean;
}

/** What stands after the last `####` of a text, commas and spaces left out; null without `####`. */
export function finalAnswer(text: string): string | null {
  const parts = text.split("####");
  return parts.length < 2
    ? null
    : normalise(parts.at(-1)!.split("\n").find((line) => line.trim() !== "") ?? "");
}

function normalise(answer: string): string {
  return answer.replace(/[,\s$]/g, "").replace(/\.0*$/, "");
}

/** A question with a generated answer, judged; `expected` is null where the data has no answer. */
export function sampleOf(prompt: string, generated: string, expected: string | null): Sample {
  const found = finalAnswer(generated);
  const correct = expected !== null && found !== null && found === normalise(expected);
  return { prompt, generated, expected, correct };
}

/** Options of {@linkcode answerAll}. */
export interface AnswerOptions {
  /** Longest sequence, prompt and answer together. */
  readonly maxLength: number;
  /** Rows generated at once. */
  readonly rows?: number;
}

/** Rows that are answered at once. */
export const AT_ONCE = 64;

/** Whether an example's prompt, in tokens, leaves room for an answer within `maxLength`. */
export function hasRoom({ promptLength }: Example, maxLength: number): boolean {
  return promptLength > 0 && promptLength < maxLength;
}

/** Says how many of the asked prompts have no room within `seq` tokens. */
export function noRoomNote(without: number, asked: number, seq: number): string {
  return `${without} of ${asked} prompts leave no room within --seq ${seq}; they count as not answered`;
}

/**
 * Answer every example greedily. Answers stop at the end token or the length limit; where a prompt leaves no room
 * the answer is empty.
 */
export async function answerAll(
  session: Session,
  tokenizer: Tokenizer,
  examples: readonly Example[],
  { maxLength, rows = AT_ONCE }: AnswerOptions,
): Promise<Sample[]> {
  const answers = new Map<Example, string>();
  const asked = examples.filter((e) => hasRoom(e, maxLength));
  for (let at = 0; at < asked.length; at += rows) {
    const group = asked.slice(at, at + rows);
    const prompts = group.map((e) => e.ids.slice(0, e.promptLength));
    // Groups of one size share a plan: the last one is filled up with its own first prompt.
    const filled = Array.from(
      { length: Math.min(rows, asked.length) },
      (_, i) => prompts[i] ?? prompts[0]!,
    );
    const longest = Math.max(...filled.map((p) => p.length));
    const generated = await session.generate(filled, maxLength - longest, tokenizer.eosId);
    group.forEach((example, i) => answers.set(example, tokenizer.decode(generated[i]!)));
  }
  return examples.map((e) => sampleOf(e.prompt, answers.get(e) ?? "", e.answer ?? null));
}

/** Share of correct answers among samples with an expected one; null without any. */
export function exactMatch(samples: readonly Sample[]): number | null {
  const asked = samples.filter((s) => s.expected !== null);
  return asked.length === 0 ? null : asked.filter((s) => s.correct).length / asked.length;
}
